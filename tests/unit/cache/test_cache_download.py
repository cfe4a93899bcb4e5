"""Downloads against a server that does everything wrong."""

from __future__ import annotations

import contextlib
import email.utils
import gzip
import json
import multiprocessing
import random
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache import transport
from ohmykube.cache.download import Downloader
from ohmykube.cache.store import Store
from ohmykube.cache.transport import BrokenTransfer, StatusError, Timing, Transport
from ohmykube.errors import IntegrityError, Interrupted, NetworkError, ResourceError
from ohmykube.kit import digest as digests
from ohmykube.kit import interrupt
from ohmykube.progress import ItemProgress, NullReporter, Status
from tests.fault_server import Answer, FaultServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ohmykube.progress import Event

BODY = random.Random(7).randbytes(3_000_000)
DIGEST = digests.of_bytes(BODY)
OTHER = BODY[:-1] + bytes([BODY[-1] ^ 1])
QUICK = Timing(connect=2, read=2, attempts=3, pause=0.01, longest=1)


class Clock:
    """Does not sleep, and remembers for how long it should have."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with FaultServer() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def downloader(tmp_path: Path, clock: Clock, recorder: Recorder) -> Downloader:
    return Downloader(Store(tmp_path / "cache"), recorder, Transport(QUICK, clock))


def clean(downloader: Downloader) -> bool:
    return list(downloader.store.ingest.iterdir()) == []


def test_a_file_is_fetched_once(
    downloader: Downloader, server: FaultServer, recorder: Recorder
) -> None:
    url = server.on("/kubelet", Answer(BODY))
    assert downloader.fetch(url, DIGEST).read_bytes() == BODY
    assert downloader.fetch(url, DIGEST) == downloader.store.path(DIGEST)
    assert server.count["/kubelet"] == 1
    assert clean(downloader)
    items = [event for event in recorder.events if isinstance(event, ItemProgress)]
    assert {event.item for event in items} == {"kubelet"}
    assert (items[-2].done, items[-2].total, items[-2].unit) == (len(BODY), len(BODY), "bytes")
    assert items[-1].status is Status.OK
    assert 3 <= len(items) <= 6


@pytest.mark.parametrize("chunked", [True, False])
def test_a_reset_in_mid_body_is_resumed(
    downloader: Downloader, server: FaultServer, *, chunked: bool
) -> None:
    url = server.on("/f", Answer(BODY, cut=1_000_000, chunked=chunked), Answer(BODY))
    assert downloader.fetch(url, DIGEST).read_bytes() == BODY
    again = server.headers_of("/f")[1]
    if "Range" in again:  # a reset may throw away everything that was under way
        assert again["If-Range"] == '"one"'
        assert int(again["Range"].removeprefix("bytes=").rstrip("-")) > 0


def test_breaks_are_forgiven_as_long_as_bytes_come(
    downloader: Downloader, server: FaultServer
) -> None:
    shorts = [Answer(BODY[: n * 500_000], length=len(BODY)) for n in (1, 2, 3, 4, 5)]
    for number, short in enumerate(shorts):
        # Each gives the next half megabyte only, and promises all.
        short.length = len(BODY) - number * 500_000
    url = server.on("/f", *shorts, Answer(BODY))
    assert downloader.fetch(url, DIGEST).read_bytes() == BODY
    asked = [headers.get("Range", "") for headers in server.headers_of("/f")]
    assert asked == ["", *(f"bytes={n * 500_000}-" for n in (1, 2, 3, 4, 5))]


def test_a_transfer_that_never_gets_on_is_given_up_and_kept(
    downloader: Downloader, server: FaultServer, recorder: Recorder
) -> None:
    empty = Answer(b"", 206, {"Content-Range": "bytes 700000-2999999/3000000"}, length=9)
    url = server.on("/f", Answer(BODY[:700_000], length=len(BODY)), empty)
    with pytest.raises(NetworkError, match="/f broke off") as caught:
        downloader.fetch(url, DIGEST)
    assert caught.value.id == "OMK-I-233"
    assert "curl" in (caught.value.hint or "")
    part = downloader.store.ingest / f"{DIGEST[7:]}.part"
    assert part.stat().st_size == 700_000
    assert isinstance(recorder.events[-1], ItemProgress)
    assert recorder.events[-1].status is Status.FAILED
    server.on("/f", Answer(BODY))
    before = len(server.seen)
    assert downloader.fetch(url, DIGEST).read_bytes() == BODY
    assert [h["Range"] for _, _, h in server.seen[before:]] == ["bytes=700000-"]
    assert clean(downloader)


def test_a_stall_is_noticed(tmp_path: Path, server: FaultServer, clock: Clock) -> None:
    url = server.on("/f", Answer(BODY, stall=500_000), Answer(BODY))
    quick = Timing(connect=2, read=1, attempts=2, pause=0.01)
    one = Downloader(Store(tmp_path / "cache"), NullReporter(), Transport(quick, clock))
    assert one.fetch(url, DIGEST).read_bytes() == BODY
    assert server.headers_of("/f")[1]["Range"] == "bytes=500000-"


def leave_part(
    downloader: Downloader, url: str, data: bytes, etag: str = '"one"', name: str = DIGEST
) -> None:
    downloader.store.put_bytes(b"makes the directories")
    part = downloader.store.ingest / f"{name[7:]}.part"
    part.write_bytes(data)
    part.with_suffix(".json").write_text(json.dumps({"url": url, "etag": etag}))


def test_200_for_206_starts_again(downloader: Downloader, server: FaultServer) -> None:
    url = server.on("/f", Answer(BODY, ranges=False))
    leave_part(downloader, url, BODY[:1000])
    assert downloader.fetch(url, DIGEST).read_bytes() == BODY
    assert server.headers_of("/f")[0]["Range"] == "bytes=1000-"
    assert server.count["/f"] == 1


def test_a_changed_etag_starts_again(downloader: Downloader, server: FaultServer) -> None:
    url = server.on("/f", Answer(BODY, etag='"two"'))
    leave_part(downloader, url, OTHER[:1000])
    assert downloader.fetch(url, DIGEST).read_bytes() == BODY
    assert server.count["/f"] == 1


@pytest.mark.parametrize("etag", ["", 'W/"one"'])
def test_without_a_strong_etag_the_digest_alone_decides(
    downloader: Downloader, server: FaultServer, etag: str
) -> None:
    url = server.on("/f", Answer(BODY, etag=etag))
    leave_part(downloader, url, b"x" * 1000, etag)
    assert downloader.fetch(url, DIGEST).read_bytes() == BODY
    first, second = server.headers_of("/f")
    assert (first["Range"], "If-Range" in first) == ("bytes=1000-", False)
    assert "Range" not in second


def test_the_part_of_another_url_is_not_continued(
    downloader: Downloader, server: FaultServer
) -> None:
    url = server.on("/f", Answer(BODY))
    leave_part(downloader, "http://elsewhere.test/f", BODY[:1000])
    assert downloader.fetch(url, DIGEST).read_bytes() == BODY
    assert "Range" not in server.headers_of("/f")[0]


def test_a_torn_note_is_no_trouble(downloader: Downloader, server: FaultServer) -> None:
    url = server.on("/f", Answer(BODY))
    leave_part(downloader, url, BODY[:1000])
    (downloader.store.ingest / f"{DIGEST[7:]}.json").write_text("{")
    assert downloader.fetch(url, DIGEST).read_bytes() == BODY


def test_a_part_that_is_whole_needs_no_byte(downloader: Downloader, server: FaultServer) -> None:
    url = server.on("/f", Answer(BODY))
    leave_part(downloader, url, BODY)
    assert downloader.fetch(url, DIGEST).read_bytes() == BODY
    assert server.count["/f"] == 1


def test_a_part_longer_than_the_file_is_thrown_away(
    downloader: Downloader, server: FaultServer
) -> None:
    url = server.on("/f", Answer(BODY))
    leave_part(downloader, url, BODY + b"more")
    assert downloader.fetch(url, DIGEST).read_bytes() == BODY


def test_a_206_for_another_place_starts_again(downloader: Downloader, server: FaultServer) -> None:
    lie = Answer(BODY, headers={"Content-Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"})
    url = server.on("/f", lie, Answer(BODY))
    leave_part(downloader, url, BODY[:1000])
    assert downloader.fetch(url, DIGEST).read_bytes() == BODY
    assert not downloader.store.quarantine.exists()  # found out before the bytes were taken


@pytest.mark.parametrize(
    "lie", ["bytes 1000-999/3000000", "bytes 1000-2999999/5", "bytes=1000-2999999", "items 1-2/3"]
)
def test_a_content_range_that_cannot_be_starts_again(
    downloader: Downloader, server: FaultServer, lie: str
) -> None:
    url = server.on("/f", Answer(BODY, headers={"Content-Range": lie}), Answer(BODY))
    leave_part(downloader, url, BODY[:1000])
    assert downloader.fetch(url, DIGEST).read_bytes() == BODY
    assert "Range" not in server.headers_of("/f")[1]
    assert not downloader.store.quarantine.exists()


def test_a_part_of_what_was_asked_for_is_continued(
    downloader: Downloader, server: FaultServer
) -> None:
    """A server may give less than the range, and a length that fits the little it gives."""
    pieces = [
        Answer(
            BODY[at : at + 1_000_000],
            206,
            {"Content-Range": f"bytes {at}-{at + 999_999}/{len(BODY)}"},
        )
        for at in (0, 1_000_000, 2_000_000)
    ]
    url = server.on("/f", *pieces)
    assert downloader.fetch(url, DIGEST).read_bytes() == BODY
    asked = [headers.get("Range", "") for headers in server.headers_of("/f")]
    assert asked == ["", "bytes=1000000-", "bytes=2000000-"]


def test_an_unknown_whole_size_is_no_trouble(downloader: Downloader, server: FaultServer) -> None:
    rest = Answer(BODY[1000:], 206, {"Content-Range": f"bytes 1000-{len(BODY) - 1}/*"})
    url = server.on("/f", rest)
    leave_part(downloader, url, BODY[:1000])
    assert downloader.fetch(url, DIGEST).read_bytes() == BODY


def test_a_range_is_refused_that_was_not_asked_for(
    downloader: Downloader, server: FaultServer
) -> None:
    url = server.on("/f", Answer(b"", 416))
    with pytest.raises(NetworkError, match="is shorter than") as caught:
        downloader.fetch(url, DIGEST)
    assert caught.value.id == "OMK-I-233"
    assert server.count["/f"] == QUICK.attempts


def test_a_length_that_is_too_small_is_found_by_the_digest(
    downloader: Downloader, server: FaultServer
) -> None:
    url = server.on("/f", Answer(BODY, length=len(BODY) - 7))
    with pytest.raises(IntegrityError, match="/f is not the file") as caught:
        downloader.fetch(url, DIGEST)
    assert digests.of_bytes(BODY[:-7]) in (caught.value.why or "")
    assert downloader.store.digests() == ()


def test_an_encoding_that_was_not_asked_for_is_named(
    downloader: Downloader, server: FaultServer
) -> None:
    packed = gzip.compress(BODY, 1)
    url = server.on("/f", Answer(packed, headers={"Content-Encoding": "gzip"}))
    with pytest.raises(IntegrityError, match="/f is not the file") as caught:
        downloader.fetch(url, DIGEST)
    assert "Content-Encoding: gzip, which was not asked for" in (caught.value.why or "")
    assert server.headers_of("/f")[0]["Accept-Encoding"] == "identity"
    # Some servers say so of every .tar.gz they have; the digest is that of the file.
    assert downloader.fetch(url, digests.of_bytes(packed)).read_bytes() == packed


def test_a_redirect_into_a_stall_is_resumed_from_the_first_address(
    tmp_path: Path, server: FaultServer, clock: Clock
) -> None:
    """An address that a server signs lives for some minutes: it is asked for again."""
    server.on("/signed-1", Answer(BODY, stall=800_000))
    server.on("/signed-2", Answer(BODY))
    url = server.on(
        "/f",
        Answer(status=307, headers={"Location": "/signed-1"}),
        Answer(status=307, headers={"Location": "/signed-2"}),
    )
    quick = Timing(connect=2, read=1, attempts=2, pause=0.01)
    one = Downloader(Store(tmp_path / "cache"), NullReporter(), Transport(quick, clock))
    assert one.fetch(url, DIGEST).read_bytes() == BODY
    assert server.headers_of("/signed-2")[0]["Range"] == "bytes=800000-"
    assert server.headers_of("/signed-2")[0]["If-Range"] == '"one"'


def test_a_lying_server_is_asked_twice_and_refused(
    downloader: Downloader, server: FaultServer
) -> None:
    url = server.on("/f", Answer(OTHER))
    with pytest.raises(IntegrityError, match="/f is not the file") as caught:
        downloader.fetch(url, DIGEST)
    assert caught.value.id == "OMK-I-237"
    assert digests.of_bytes(OTHER) in (caught.value.why or "")
    assert server.count["/f"] == 2
    assert all("Range" not in headers for headers in server.headers_of("/f"))
    assert downloader.store.digests() == ()
    assert clean(downloader)


@pytest.mark.parametrize("chunked", [True, False])
def test_the_size_is_bounded(downloader: Downloader, server: FaultServer, *, chunked: bool) -> None:
    url = server.on("/f", Answer(BODY, chunked=chunked))
    with pytest.raises(NetworkError, match="larger") as caught:
        downloader.fetch(url, DIGEST, max_bytes=len(BODY) - 1)
    assert caught.value.id == "OMK-I-235"


@pytest.mark.parametrize(
    ("status", "requests"), [(404, 1), (403, 1), (204, 1), (500, 3), (503, 3), (429, 3)]
)
def test_statuses(
    downloader: Downloader, server: FaultServer, clock: Clock, status: int, requests: int
) -> None:
    url = server.on("/f", Answer(b"no", status=status))
    with pytest.raises(StatusError) as caught:
        downloader.fetch(f"{url}?signature=secret", DIGEST)
    assert (caught.value.status, caught.value.id) == (status, "OMK-I-232")
    assert str(status) in (caught.value.why or "")
    assert "secret" not in f"{caught.value.message}{caught.value.hint}"
    assert server.count["/f"] == requests
    assert clock.pauses == [0.01, 0.02][: requests - 1]


def test_retry_after_is_honoured(downloader: Downloader, server: FaultServer, clock: Clock) -> None:
    soon = email.utils.formatdate(time.time() - 100)
    url = server.on(
        "/f",
        Answer(status=429, headers={"Retry-After": "1"}),
        Answer(status=503, headers={"Retry-After": soon}),
        Answer(BODY),
    )
    downloader.fetch(url, DIGEST)
    assert clock.pauses == [1.0, 0.02]


def test_a_pause_that_is_too_long_is_not_waited_for(
    downloader: Downloader, server: FaultServer, clock: Clock
) -> None:
    url = server.on("/f", Answer(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(StatusError) as caught:
        downloader.fetch(url, DIGEST)
    assert clock.pauses == []
    assert "limits how often" in (caught.value.why or "")
    assert "docker login 127.0.0.1:" in (caught.value.hint or "")


@pytest.mark.parametrize("jump", [-86_400 * 400, 86_400 * 400])
def test_a_pause_until_a_date_is_measured_by_the_servers_clock(
    downloader: Downloader,
    server: FaultServer,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    jump: int,
) -> None:
    """This host's clock has jumped by a year; the server's Date header is its own."""
    until = email.utils.formatdate(time.time() + 600)
    url = server.on("/f", Answer(status=429, headers={"Retry-After": until}), Answer(BODY))
    downloader.transport.timing = replace(QUICK, longest=3600)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + jump)
    # The test server's own Date comes from the same clock: give it the one that did not jump.
    server.date = email.utils.formatdate(now)
    assert downloader.fetch(url, DIGEST).read_bytes() == BODY
    assert 590 <= clock.pauses[0] <= 610


def test_a_clock_that_jumps_in_mid_transfer_breaks_nothing(
    downloader: Downloader, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither time limits nor what is kept of a part look at the time of day."""
    url = server.on("/f", Answer(BODY[:1_000_000], length=len(BODY)), Answer(BODY))
    real, jumps = time.time, iter(range(0, 10**9, 86_400 * 365))
    monkeypatch.setattr(time, "time", lambda: real() - next(jumps))
    assert downloader.fetch(url, DIGEST).read_bytes() == BODY
    assert server.headers_of("/f")[1]["Range"] == "bytes=1000000-"


def test_a_certificate_out_of_time_points_at_the_clock() -> None:
    error = transport.unreachable(
        "https://dl.test/f", "certificate verify failed: certificate is not yet valid"
    )
    assert (error.hint or "").startswith("date ")
    assert (transport.unreachable("https://dl.test/f", "refused").hint or "").startswith("curl ")


def test_redirects_are_followed_and_bounded(downloader: Downloader, server: FaultServer) -> None:
    server.on("/g", Answer(BODY))
    url = server.on("/f", Answer(status=302, headers={"Location": "/g"}))
    assert downloader.fetch(url, DIGEST).read_bytes() == BODY
    loop = server.on("/loop", Answer(status=301, headers={"Location": "/loop"}))
    with pytest.raises(NetworkError, match="redirects to where") as caught:
        downloader.fetch(loop, digests.of_bytes(b"x"))
    assert caught.value.id == "OMK-I-234"
    assert server.count["/loop"] == transport.REDIRECTS + 1
    away = server.on("/away", Answer(status=302, headers={"Location": "file:///etc/passwd"}))
    with pytest.raises(NetworkError, match="redirects to where"):
        downloader.fetch(away, digests.of_bytes(b"x"))


def test_https_is_never_left_for_http(clock: Clock) -> None:
    class Moved(Transport):
        def _send(self, url: str, *_: object) -> object:  # type: ignore[override]
            class Response:
                status = 302
                headers = {"Location": "http://plain.test/f"}  # noqa: RUF012 - a fake

                def close(self) -> None:
                    pass

            assert url == "https://safe.test/f"
            return Response()

    with (
        pytest.raises(NetworkError, match="redirects to where"),
        Moved(QUICK, clock).open("https://safe.test/f"),
    ):
        pass


def test_credentials_stay_with_their_host(server: FaultServer, clock: Clock) -> None:
    with FaultServer() as other:
        there = other.on("/g", Answer(b"ok"))
        url = server.on("/f", Answer(status=302, headers={"Location": there}))
        one = Transport(QUICK, clock)
        assert one.small(url, limit=9, headers={"Authorization": "Bearer x"}) == b"ok"
        assert server.headers_of("/f")[0]["Authorization"] == "Bearer x"
        assert "Authorization" not in other.headers_of("/g")[0]


def test_a_login_in_the_url_becomes_a_header_and_is_not_shown(
    server: FaultServer, clock: Clock
) -> None:
    url = server.on("/f", Answer(status=404)).replace("//", "//me:p%40ss@")
    with pytest.raises(StatusError) as caught:
        Transport(QUICK, clock).small(url, limit=9)
    assert server.headers_of("/f")[0]["Authorization"] == "Basic bWU6cEBzcw=="
    assert "ss@" not in f"{caught.value.message}{caught.value.why}{caught.value.hint}"


def test_refused_names_and_nonsense(downloader: Downloader, clock: Clock) -> None:
    cases = {
        "http://127.0.0.1:9/f": "Connection refused",
        "http://nowhere.invalid/f": "",
        "http://[bad/f": "",
        "http://ex ample/f": "",
    }
    for url, why in cases.items():
        with pytest.raises((NetworkError, ValueError)) as caught:
            downloader.fetch(url, DIGEST)
        assert why in str(getattr(caught.value, "why", ""))
    assert len(clock.pauses) >= QUICK.attempts - 1


def test_a_proxy_of_the_environment_is_used(
    downloader: Downloader, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url.replace("//", "//joe:pw@"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.answers["http://far.test/f"] = [Answer(BODY)]
    assert downloader.fetch("http://far.test/f", DIGEST).read_bytes() == BODY
    assert server.headers_of("http://far.test/f")[0]["Proxy-Authorization"] == "Basic am9lOnB3"
    near = server.on("/near", Answer(b"near"))
    assert downloader.fetch(near, digests.of_bytes(b"near")).read_bytes() == b"near"


def test_a_proxy_that_refuses_is_named_as_the_reason(
    downloader: Downloader, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", server.url)
    with pytest.raises(NetworkError, match=r"far\.test cannot be reached") as caught:
        downloader.fetch("https://far.test/f", DIGEST)
    assert "501" in (caught.value.why or "")


def test_probe(server: FaultServer, clock: Clock) -> None:
    one = Transport(QUICK, clock)
    one.probe(server.on("/ok", Answer(b"")))
    one.probe(server.on("/forbidden", Answer(status=403)))
    with pytest.raises(StatusError):
        one.probe(server.on("/broken", Answer(status=502)))
    with pytest.raises(NetworkError, match="cannot be reached"):
        one.probe("http://127.0.0.1:9/")


def test_probe_does_not_wait_for_a_name_server(clock: Clock) -> None:
    release = threading.Event()

    class Hanging(Transport):
        @contextlib.contextmanager
        def open(self, url: str, **_: object) -> Iterator[None]:  # type: ignore[override]
            release.wait(30)
            yield

    with pytest.raises(NetworkError, match="cannot be reached") as caught:
        Hanging(QUICK, clock).probe("https://slow.test/", seconds=0.2)
    release.set()
    assert "no answer within" in (caught.value.why or "")


def test_small_bodies(server: FaultServer, clock: Clock) -> None:
    one = Transport(QUICK, clock)
    broken = Answer(b"12", length=9)
    assert one.small(server.on("/a", broken, Answer(b"whole")), limit=5) == b"whole"
    with pytest.raises(NetworkError, match="larger"):
        one.small(server.on("/b", Answer(b"123456")), limit=5)
    with pytest.raises(BrokenTransfer):
        one.small(server.on("/c", broken), limit=5)
    encoded = Answer(gzip.compress(b"1"), headers={"Content-Encoding": "gzip"})
    with pytest.raises(NetworkError, match="not asked for") as caught:
        one.small(server.on("/d", encoded), limit=99)
    assert caught.value.id == "OMK-I-701"


def test_a_form_is_posted_and_follows_to_no_other_host(server: FaultServer, clock: Clock) -> None:
    one = Transport(QUICK, clock)
    assert one.small(server.on("/t", Answer(b"ok")), limit=9, form={"a": "b c", "d": "&"}) == b"ok"
    assert server.seen[-1][0] == "POST"
    assert server.bodies == [b"a=b+c&d=%26"]
    assert server.seen[-1][2]["Content-Type"] == "application/x-www-form-urlencoded"
    with FaultServer() as other:
        there = other.on("/t", Answer(b"stolen"))
        away = server.on("/away", Answer(status=307, headers={"Location": there}))
        with pytest.raises(NetworkError, match="redirects to where") as caught:
            one.small(away, limit=9, form={"a": "b"})
        assert "a form does not follow" in (caught.value.why or "")
        assert other.seen == []


def test_published_digests_count_only_over_https(
    downloader: Downloader, server: FaultServer
) -> None:
    with pytest.raises(NetworkError, match="no digest for") as caught:
        downloader.published_digest(f"{server.url}/kubelet")
    assert caught.value.id == "OMK-I-236"
    assert server.seen == []


@pytest.mark.parametrize("text", ["{d}", "{d}  kubelet\n", "{D}\n", "<html>", ""])
def test_published_digests_are_read(downloader: Downloader, text: str) -> None:
    class Published(Transport):
        def small(self, url: str, *, limit: int, headers: object = None) -> bytes:
            assert url == "https://dl.test/kubelet.sha256"
            return text.format(d=DIGEST[7:], D=DIGEST[7:].upper()).encode()

    downloader.transport = Published(QUICK)
    if "{" in text:
        assert downloader.published_digest("https://dl.test/kubelet") == DIGEST
    else:
        with pytest.raises(NetworkError, match="has no digest"):
            downloader.published_digest("https://dl.test/kubelet")


def test_a_download_stops_on_request_and_goes_on_later(
    downloader: Downloader, server: FaultServer
) -> None:
    url = server.on("/f", Answer(BODY))

    class Stop:
        def emit(self, event: Event) -> None:
            interrupt.requested.set()

    downloader.reporter = Stop()
    try:
        with pytest.raises(Interrupted):
            downloader.fetch(url, DIGEST)
    finally:
        interrupt.requested.clear()
    downloader.reporter = NullReporter()
    assert downloader.fetch(url, DIGEST).read_bytes() == BODY
    assert "Range" in server.headers_of("/f")[1]


def _fetch(root: Path, url: str) -> None:
    Downloader(Store(root), NullReporter()).fetch(url, DIGEST)


def test_two_processes_send_one_request(tmp_path: Path, server: FaultServer) -> None:
    url = server.on("/f", Answer(BODY))
    spawn = multiprocessing.get_context("spawn")
    runs = [spawn.Process(target=_fetch, args=(tmp_path / "cache", url)) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    assert [run.exitcode for run in runs] == [0, 0, 0]
    assert server.count["/f"] == 1
    assert Store(tmp_path / "cache").verify(DIGEST) == len(BODY)


@pytest.mark.nodes
def test_no_space_left(tmp_path: Path, server: FaultServer, clock: Clock) -> None:
    root = tmp_path / "small"
    root.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=100", "tmpfs", str(root)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert mounted.returncode == 0, mounted.stderr
    try:
        one = Downloader(Store(root), NullReporter(), Transport(QUICK, clock))
        url = server.on("/f", Answer(BODY))
        with pytest.raises(ResourceError, match="no space left"):
            one.fetch(url, DIGEST)
        with pytest.raises(ResourceError, match="no space left"):
            one.store.put_bytes(BODY)
        assert one.store.digests() == ()
    finally:
        subprocess.run(["umount", str(root)], check=True)


def test_a_link_in_place_of_a_part_is_not_followed(
    downloader: Downloader, server: FaultServer, tmp_path: Path
) -> None:
    url = server.on("/f", Answer(BODY, etag='"one"'))
    leave_part(downloader, url, b"")
    mine = tmp_path / "mine"
    mine.write_bytes(BODY[:1000])
    part = downloader.store.partial(DIGEST)
    part.unlink()
    part.symlink_to(mine)
    assert downloader.fetch(url, DIGEST).read_bytes() == BODY
    assert mine.read_bytes() == BODY[:1000]


def test_a_redirect_to_what_is_no_url(downloader: Downloader, server: FaultServer) -> None:
    url = server.on("/f", Answer(status=302, headers={"Location": "http://[/x"}))
    with pytest.raises(NetworkError) as caught:
        downloader.fetch(url, DIGEST)
    assert caught.value.id == "OMK-I-234"


# -- files without a digest ----------------------------------------------------------------------


def test_a_file_for_the_caller_to_judge_is_saved_whole(
    downloader: Downloader, server: FaultServer, clock: Clock, tmp_path: Path
) -> None:
    url = server.on("/f", Answer(BODY, cut=1_000_000), Answer(BODY))
    downloader.save(url, tmp_path / "f", limit=len(BODY))
    assert (tmp_path / "f").read_bytes() == BODY
    assert len(clock.pauses) == 1
    url = server.on("/broken", Answer(BODY, cut=1_000_000))
    with pytest.raises(BrokenTransfer):
        downloader.save(url, tmp_path / "g", limit=len(BODY))
    assert server.count["/broken"] == QUICK.attempts


def test_a_file_beyond_its_limit_is_given_up(
    downloader: Downloader, server: FaultServer, tmp_path: Path
) -> None:
    with pytest.raises(NetworkError, match="larger than it can be"):
        downloader.save(server.on("/f", Answer(BODY)), tmp_path / "f", limit=len(BODY) - 1)


def test_a_full_disk_is_told_when_a_file_is_saved(
    downloader: Downloader, server: FaultServer
) -> None:
    with pytest.raises(ResourceError, match="no space left for /dev/full"):
        downloader.save(server.on("/f", Answer(BODY)), Path("/dev/full"), limit=len(BODY))
