"""`cache serve`: tunnels that come back, who may listen where, and the way it ends."""

from __future__ import annotations

import http.client
import json
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache.store import Ref, Store
from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.errors import (
    LockedError,
    NotFoundError,
    PermissionDenied,
    ResourceError,
    UsageError,
)
from ohmykube.kit import interrupt, paths
from ohmykube.kit.secret import Secret
from ohmykube.model.artifact import Kind
from ohmykube.progress import ItemProgress, Message, NodeProgress, StepStarted
from ohmykube.state import layout
from ohmykube.steps.context import Services
from ohmykube.steps.plan import make_plan
from ohmykube.steps.write_record import record_end, record_start
from ohmykube.testing.reporter import RecordingReporter
from ohmykube.workflows import serve as serving
from ohmykube.workflows import session
from ohmykube.workflows.serve import ServeOptions, ServeResult
from ohmykube.workflows.tunnel_keeper import LONGEST_PAUSE, ClusterTunnels
from tests import image_maker
from tests.fake_clock import FakeClock
from tests.unit.workflows.begun_run import begin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass
class FakeLink:
    node: str
    is_alive: bool = True
    is_open: bool = False
    closed: bool = False
    words: str = ""

    def alive(self) -> bool:
        return self.is_alive

    def opened(self) -> bool:
        return self.is_open

    def output(self) -> str:
        return self.words

    def close(self) -> None:
        self.closed, self.is_alive = True, False


@dataclass
class Links:
    made: list[FakeLink] = field(default_factory=list)
    refuse: bool = False

    def __call__(self, ssh_config: Path, node: str) -> FakeLink:
        assert ssh_config.exists()
        if self.refuse:
            raise OSError("no processes left")
        self.made.append(FakeLink(node))
        return self.made[-1]


@pytest.fixture
def services() -> Services:
    return Services(
        paths=paths.from_environment(), reporter=RecordingReporter(), clock=FakeClock(100.0)
    )


def make(services: Services, name: str = "dev", workers: int = 1) -> Path:
    wanted = load.from_overrides(Overrides(name=name, provider="fake", workers=workers))
    with session.working(services, wanted) as ctx:
        begin(ctx)
    directory = services.state.directory(name)
    (directory / layout.SSH_CONFIG).write_text("Host cp1\n")
    return directory


def told(services: Services) -> list[str]:
    assert isinstance(services.reporter, RecordingReporter)
    return [m.fields.get("event", "") for m in services.reporter.of(Message)]


# -- tunnels ---------------------------------------------------------------------------------------


def test_tunnels_open_and_come_back_with_longer_and_longer_pauses(services: Services) -> None:
    make(services)
    links, clock = Links(), services.clock
    tunnels = ClusterTunnels(services, "dev", links)
    tunnels.update()
    assert [link.node for link in links.made] == ["cp1", "w1"]
    tunnels.update()
    assert (len(tunnels), tunnels.nodes) == (0, 2)
    for link in links.made:
        link.is_open = True
    tunnels.update()
    tunnels.update()
    assert len(tunnels) == 2
    assert [event for event in told(services) if event] == ["tunnel-open"] * 2, "each is said once"

    lost = links.made[1]
    lost.is_alive, lost.words = False, "Connection reset"
    tunnels.update()
    assert (len(tunnels), lost.closed, told(services)[-1]) == (1, True, "tunnel-lost")
    pauses = []
    for _ in range(9):
        before, count = clock.now(), len(links.made)
        while len(links.made) == count:
            clock.sleep(0.25)
            tunnels.update()
        pauses.append(clock.now() - before)
        links.made[-1].is_alive = False
        tunnels.update()
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.5, LONGEST_PAUSE)
    assert told(services).count("tunnel-lost") == 1  # said once, tried for ever


def test_a_tunnel_that_cannot_even_be_started(services: Services) -> None:
    make(services, workers=0)
    links = Links(refuse=True)
    tunnels = ClusterTunnels(services, "dev", links, show_nodes=False)
    tunnels.update()
    assert told(services)[-1] == "tunnel-lost"
    links.refuse = False
    services.clock.sleep(1)
    tunnels.update()
    assert len(links.made) == 1
    assert isinstance(services.reporter, RecordingReporter)
    assert not [e for e in services.reporter.of(NodeProgress) if "tunnel" in e.activity]


def test_another_run_gets_the_port_of_the_nodes(services: Services) -> None:
    make(services)
    links = Links()
    tunnels = ClusterTunnels(services, "dev", links)
    tunnels.update()
    with services.state.locked("dev"):
        tunnels.update()
        tunnels.update()
        assert all(link.closed for link in links.made)
        assert len(links.made) == 2
    tunnels.update()
    assert len(links.made) == 4
    tunnels.close()
    assert all(link.closed for link in links.made)


def test_nodes_that_come_and_go(services: Services) -> None:
    directory = make(services, workers=2)
    links = Links()
    tunnels = ClusterTunnels(services, "dev", links)
    tunnels.update()
    wanted = load.from_overrides(Overrides(name="dev", provider="fake", workers=0))
    with services.state.locked("dev"):
        tunnels.update()
        ctx = session.opened(services, wanted)
        for node in ("w1", "w2"):
            ctx.provider.delete("dev", node)
        record_start(ctx, *make_plan(ctx))
        record_end(ctx, {})
    tunnels.update()
    assert tunnels.nodes == 1
    with services.state.locked("dev"):
        tunnels.update()
        (directory / layout.SSH_CONFIG).unlink()
    tunnels.update()
    tunnels.update()
    assert tunnels.nodes == 0
    (directory / layout.SSH_CONFIG).write_text("Host cp1\n")
    tunnels.update()
    assert tunnels.nodes == 1


def test_a_record_that_cannot_be_read(services: Services) -> None:
    directory = make(services)
    tunnels = ClusterTunnels(services, "dev", Links())
    with services.state.locked("dev"):
        tunnels.update()
    for name in (layout.RECORD, layout.RECORD_BACKUP):
        (directory / name).write_text("{")
    tunnels.update()
    assert isinstance(services.reporter, RecordingReporter)
    assert any(m.level == "warning" for m in services.reporter.of(Message))


@pytest.mark.parametrize("reached", [True, False])
def test_clusters_without_nodes_to_reach(services: Services, reached: bool) -> None:
    if not reached:
        (make(services) / layout.SSH_CONFIG).unlink()
    with pytest.raises(NotFoundError, match="could be reached"):
        ClusterTunnels(services, "other" if reached else "dev", Links())


@pytest.mark.parametrize(
    ("note", "held"),
    [("", False), ("{}", False), ('{"pid": 999999999}', False), ('{"pid": "x"}', False)],
)
def test_a_lock_that_nobody_holds(services: Services, note: str, held: bool) -> None:
    path = make(services) / layout.LOCK
    path.write_text(note)
    assert services.state.is_busy("dev") is held
    path.write_text(json.dumps({"pid": os.getpid()}))  # lives, but holds it no more
    assert services.state.is_busy("dev") is False
    with services.state.locked("dev"):
        assert services.state.is_busy("dev") is True


# -- the command -----------------------------------------------------------------------------------


STARTED: list[Running] = []


@pytest.fixture(autouse=True)
def _nothing_serves_on() -> Iterator[None]:
    """End what a failed test left running: its thread would keep pytest from ending."""
    yield
    interrupt.requested.set()
    while STARTED:
        STARTED.pop().thread.join(20)
    interrupt.requested.clear()


class Running:
    """`serve` in a thread, on a clock that really waits."""

    def __init__(self, options: ServeOptions, follow: Callable[[Message], None] | None) -> None:
        self.reporter = RecordingReporter()
        services = Services(paths=paths.from_environment(), reporter=self.reporter)
        self.result: ServeResult | None = None
        self.error: BaseException | None = None

        def call() -> None:
            try:
                self.result = serving.serve(services, options, follow)
            except BaseException as error:  # noqa: BLE001 - looked at by the test
                self.error = error

        self.thread = threading.Thread(target=call)
        self.thread.start()
        STARTED.append(self)

    def url(self, eventually: Callable[[Callable[[], bool]], bool]) -> str:
        assert eventually(lambda: bool(self._urls()))
        return self._urls()[0]

    def _urls(self) -> list[str]:
        return [m.fields["url"] for m in self.reporter.of(Message) if "url" in m.fields]

    def stop(self) -> ServeResult:
        interrupt.requested.set()
        self.thread.join(20)
        assert self.result is not None, self.error
        return self.result


def status(url: str, path: str = "/v2/", token: str = "") -> int:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
    answer = connection.getresponse()
    answer.read()
    code = answer.status
    connection.close()
    return code


def test_it_serves_until_it_is_stopped(eventually: Callable[[Callable[[], bool]], bool]) -> None:
    followed: list[Message] = []
    running = Running(ServeOptions(port=0, offline=True), followed.append)
    url = running.url(eventually)
    assert status(url) == 200
    assert status(url, "/v2/library/box/manifests/1") == 404
    result = running.stop()
    assert (result.address, result.requests, result.sent) == (url, 2, 0)
    assert [m.fields["event"] for m in followed] == ["listening"]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1"])
def test_the_token_is_wanted(host: str, eventually: Callable[[Callable[[], bool]], bool]) -> None:
    options = ServeOptions(host=host, port=0, offline=True, token=Secret("t0k"))
    running = Running(options, None)
    url = running.url(eventually).replace("0.0.0.0", "127.0.0.1")
    assert status(url) == 401
    assert status(url, token="t0k") == 200
    running.stop()
    exposed = [m for m in running.reporter.of(Message) if m.fields.get("event") == "exposed"]
    assert len(exposed) == (host == "0.0.0.0")
    assert all("with the token; it is not encrypted" in m.text for m in exposed)
    assert "t0k" not in str(running.reporter.events)


def test_beyond_this_host_only_with_a_token_or_on_purpose(
    services: Services, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    with pytest.raises(UsageError, match="there is no token") as caught:
        serving.serve(services, ServeOptions(host="0.0.0.0", port=0))
    assert caught.value.id == "OMK-I-605"
    running = Running(ServeOptions(host="0.0.0.0", port=0, offline=True, open_to_all=True), None)
    running.url(eventually)
    running.stop()
    assert any("WITHOUT a token" in m.text for m in running.reporter.of(Message))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (ServeOptions(host="nowhere.example"), UsageError),
        (ServeOptions(host="192.0.2.1", token=Secret("x")), UsageError),
        (ServeOptions(port=0, registries=("a b",)), UsageError),
        (ServeOptions(port=0, clusters=("nope",)), NotFoundError),
    ],
)
def test_what_cannot_be_served(
    services: Services, options: ServeOptions, error: type[Exception]
) -> None:
    with pytest.raises(error):
        serving.serve(services, options)


def test_a_port_that_is_taken(
    services: Services, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    running = Running(ServeOptions(port=0, offline=True), None)
    port = int(running.url(eventually).rpartition(":")[2])
    with pytest.raises(LockedError, match="something else listens"):
        serving.serve(services, ServeOptions(port=port, offline=True))
    running.stop()


def test_a_reader_that_has_gone_ends_it() -> None:
    def gone(_: Message) -> None:
        raise BrokenPipeError

    running = Running(ServeOptions(port=0, offline=True), gone)
    running.thread.join(20)
    assert isinstance(running.error, BrokenPipeError)

    def full(_: Message) -> None:
        raise ResourceError("standard output is full")

    running = Running(ServeOptions(port=0, offline=True), full)
    running.thread.join(20)
    assert isinstance(running.error, ResourceError)


def test_a_line_that_tells_what_goes_on(
    monkeypatch: pytest.MonkeyPatch, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    monkeypatch.setattr(serving, "FLUSH_SECONDS", 0.0)
    running = Running(ServeOptions(port=0, offline=True, status_line=True), None)
    assert eventually(lambda: bool(running.reporter.of(ItemProgress)))
    running.stop()
    (step,) = running.reporter.of(StepStarted)
    assert step.title.startswith("Serving http://127.0.0.1:")
    assert running.reporter.of(ItemProgress)[0].activity == "0 requests, 0 B sent"


def test_what_was_sent_is_counted_while_it_runs_and_once(
    monkeypatch: pytest.MonkeyPatch, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    monkeypatch.setattr(serving, "FLUSH_SECONDS", 0.0)
    store = Store(paths.from_environment().cache)
    image = image_maker.image(3000)
    image.put(store)
    name = "docker.io/library/app:1"
    store.set_ref(Ref(Kind.IMAGE, name, "1", "amd64", image.digest, 9, "load"))
    running = Running(ServeOptions(port=0, offline=True), None)
    url = running.url(eventually)

    def counted() -> int:
        return sum(day.get("bytes_out", 0) for day in store.counters().values())

    size = len(image.blobs[image.layers[0]])
    assert status(url, "/v2/library/app/manifests/1") == 200
    assert eventually(lambda: counted() == len(image.manifest))
    assert status(url, f"/v2/library/app/blobs/{image.layers[0]}") == 200
    assert eventually(lambda: counted() == len(image.manifest) + size)
    assert running.stop().sent == counted() == len(image.manifest) + size


def test_a_port_below_1024_may_be_refused(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("socketserver.TCPServer.server_bind", refuse)
    with pytest.raises(PermissionDenied, match="may listen"):
        serving.serve(services, ServeOptions(port=80, offline=True))


def test_nodes_of_a_cluster_have_a_listener_of_their_own(
    monkeypatch: pytest.MonkeyPatch, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    services = Services(paths=paths.from_environment(), reporter=RecordingReporter())
    make(services, workers=0)
    ports: list[int] = []

    class Recorded(FakeLink):
        def __init__(self, ssh_config: Path, node: str, port: int, log_file: Path) -> None:
            super().__init__(node, is_open=True)
            assert log_file.parent.is_dir()
            ports.append(port)

    monkeypatch.setattr(serving, "Tunnel", Recorded)
    running = Running(ServeOptions(port=0, offline=True, clusters=("dev",)), None)
    url = running.url(eventually)
    assert eventually(lambda: bool(ports))
    secret = (services.state.directory("dev") / "cache-token").read_text()
    nodes = f"http://127.0.0.1:{ports[0]}"
    assert nodes != url
    assert (status(nodes), status(nodes, token=secret), status(url)) == (401, 200, 200)
    assert running.stop().requests == 3
    assert secret not in str(running.reporter.events)
