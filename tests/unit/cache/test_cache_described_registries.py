"""What ``spec.registries`` and ``spec.proxy`` say counts for what this host itself asks."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.cache import described_registries
from ohmykube.cache.described_registries import seen_from_here
from ohmykube.cache.download import Downloader
from ohmykube.cache.registry_client import Reference
from ohmykube.cache.store import Store
from ohmykube.cache.transport import Timing
from ohmykube.errors import NetworkError
from ohmykube.kit.secret import Secret
from ohmykube.model.outside import HOST_NAME
from ohmykube.model.proxy import ProxyUrls
from ohmykube.model.registry import Login, Registry, concerned
from ohmykube.progress import Message
from ohmykube.testing.reporter import RecordingReporter
from tests import image_maker, tls_server
from tests.proxy_double import ProxyDouble, serving
from tests.registry_double import Registry as Double

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUICK = Timing(connect=2, read=5, attempts=1, pause=0.01)
SECRET = "p@ss:w/ö%20"
ME = Login(username="me", password=Secret(SECRET))
IMAGE = image_maker.image(2000, 300)


class Puller:
    """Pulls as some registries are described."""

    def __init__(self, root: Path, *registries: Registry, **how: Any) -> None:
        self.reporter = RecordingReporter()
        sent = described_registries.transport(registries, timing=QUICK, **how)
        downloader = Downloader(Store(root), self.reporter, sent)
        self._client = described_registries.client(downloader, registries)

    def pull(self, reference: str) -> str:
        return self._client.pull(Reference.parse(reference), "amd64")

    @property
    def told(self) -> list[str]:
        return [one.text for one in self.reporter.of(Message) if one.level == "warning"]


@pytest.fixture(autouse=True)
def _nobody_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@contextlib.contextmanager
def double(name: str = "team/app", **how: Any) -> Iterator[Double]:
    with Double(**how) as server:
        server.add(name, "1", IMAGE)
        yield server


def place(server: Double) -> str:
    return server.url.partition("://")[2]


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("as_mirror", [False, True])
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_registry_is_asked_as_described(
    tmp_path: Path, *, tokens: bool, as_mirror: bool, encrypted: bool
) -> None:
    """By plain HTTP or with its authority, and with its login, be it a mirror or not."""
    tls_server.certificates(tmp_path / "tls")
    tls = tmp_path / "tls" / "server.pem" if encrypted else None
    with double(tls=tls) as server:
        server.want_login("me", SECRET, tokens=tokens)
        ca = ((tmp_path / "tls" / "ca.crt").read_text(),) if encrypted else ()
        own = Registry(name=place(server), plain_http=not encrypted, ca=ca, login=ME)
        described, name = (own,), place(server)
        if as_mirror:
            name = "reg.invalid"
            described = (own, Registry(name=name, mirrors=(server.url,), fallback=False))
        puller = Puller(tmp_path / "store", *described)
        assert puller.pull(f"{name}/team/app:1") == IMAGE.digest
        assert puller.told == []
        assert SECRET not in repr(puller.reporter.events)


@pytest.mark.parametrize("missing", ["login", "ca", "plainHTTP"])
def test_without_what_is_described_a_registry_gives_nothing(tmp_path: Path, missing: str) -> None:
    tls_server.certificates(tmp_path / "tls")
    tls = None if missing == "plainHTTP" else tmp_path / "tls" / "server.pem"
    with double(tls=tls) as server:
        server.want_login("me", SECRET)
        ca = () if missing == "ca" else ((tmp_path / "tls" / "ca.crt").read_text(),)
        login = None if missing == "login" else ME
        puller = Puller(tmp_path / "store", Registry(name=place(server), ca=ca, login=login))
        with pytest.raises(NetworkError):
            puller.pull(f"{place(server)}/team/app:1")


def test_mirrors_are_asked_in_order_and_then_the_registry(tmp_path: Path) -> None:
    with double("other/app") as first, double("hub/team/app") as second, double() as last:
        described = Registry(
            name=place(last), mirrors=(first.url, f"{second.url}/hub"), plain_http=True
        )
        puller = Puller(tmp_path / "one", described)
        assert puller.pull(f"{place(last)}/team/app:1") == IMAGE.digest
        assert len(puller.told) == 1
        assert f"mirror {first.url} of {place(last)} is passed over" in puller.told[0]
        assert not last.seen
        second.answers.clear()
        assert Puller(tmp_path / "two", described).pull(f"{place(last)}/team/app:1")
        assert last.seen


def test_without_fallback_the_registry_itself_is_never_asked(tmp_path: Path) -> None:
    with double("other/app") as mirror, double() as last:
        described = Registry(name=place(last), mirrors=(mirror.url,), fallback=False)
        with pytest.raises(NetworkError, match=place(mirror)):
            Puller(tmp_path, described).pull(f"{place(last)}/team/app:1")
        assert not last.seen


def test_a_login_and_an_authority_go_to_their_host_and_port_alone(tmp_path: Path) -> None:
    tls_server.certificates(tmp_path / "tls")
    with double() as other, double(tls=tmp_path / "tls" / "server.pem") as encrypted:
        other.want_login("me", SECRET)
        mine = Registry(
            name="127.0.0.1:9", login=ME, ca=((tmp_path / "tls" / "ca.crt").read_text(),)
        )
        plain = Registry(name=place(other), plain_http=True)
        puller = Puller(tmp_path / "store", mine, plain)
        with pytest.raises(NetworkError, match="refuses"):
            puller.pull(f"{place(other)}/team/app:1")
        with pytest.raises(NetworkError, match="cannot be reached"):
            puller.pull(f"{place(encrypted)}/team/app:1")
        assert not any("Authorization" in headers for _, _, headers in other.seen)


def test_images_come_through_the_described_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the variables of the process say."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with double() as server:
        port = int(place(server).rpartition(":")[2])

        def connect(_asked: tuple[str, int]) -> socket.socket:
            return socket.create_connection(("127.0.0.1", port))

        with serving(ProxyDouble("127.0.0.1", ("me", "pw"), connect)) as proxy:
            url = Secret(proxy.url.replace("//", "//me:pw@"))
            puller = Puller(
                tmp_path,
                Registry(name="reg.invalid", plain_http=True),
                proxy=ProxyUrls(http=url, https=url),
            )
            assert puller.pull("reg.invalid/team/app:1") == IMAGE.digest
            assert {status for _, _, status in proxy.seen} == {200}


def test_a_mirror_on_this_host_is_asked_at_its_loopback(tmp_path: Path) -> None:
    """Nodes call it ``host.ohmykube.internal``; its login counts here, too."""
    with double() as server:
        server.want_login("me", SECRET)
        port = place(server).rpartition(":")[2]
        own = Registry(name=f"{HOST_NAME}:{port}", plain_http=True, login=ME)
        hub = Registry(name="docker.io", mirrors=(f"http://{HOST_NAME}:{port}",))
        assert Puller(tmp_path, own, hub).pull("docker.io/team/app:1") == IMAGE.digest


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        (f"http://{HOST_NAME}:5000/hub", "http://127.0.0.1:5000/hub"),
        (f"https://{HOST_NAME}", "https://127.0.0.1"),
        ("https://reg.example:5000/hub", "https://reg.example:5000/hub"),
        ("http://[fd00::1]:5000", "http://[fd00::1]:5000"),
    ],
)
def test_urls_as_this_host_asks_them(url: str, seen: str) -> None:
    assert seen_from_here(url) == seen


def test_logins_of_others_are_not_needed() -> None:
    """Those of the registries of the images and of their mirrors are; of mirrors' mirrors none."""
    described = [
        Registry(name="docker.io", mirrors=("http://10.0.0.5:5000", "https://m.example:443/hub")),
        Registry(name="10.0.0.5:5000"),
        Registry(name="m.example", mirrors=("https://deep.example",)),
        Registry(name="deep.example"),
        Registry(name="quay.io"),
    ]
    assert concerned(["docker.io"], described) == {"docker.io", "10.0.0.5:5000", "m.example"}
    assert concerned(["quay.io", "ghcr.io"], described) == {"quay.io"}
    assert concerned([], described) == frozenset()
