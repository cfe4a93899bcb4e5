"""What the roles write about registries lets a real containerd pull from all kinds of them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from ansible_collections.ohmykube.cluster.plugins.module_utils import registries

from tests import image_maker, tls_server
from tests.registry_double import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from tests.contract.own_containerd import Containerd

pytestmark = pytest.mark.nodes

IMAGE = image_maker.of_files({"app": b"x"}, {"more": b"y"})
USER, PASSWORD = "nodes@site", 'p@ss:w/ö%20rd "$\\'


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tls")
    tls_server.certificates(directory)
    return directory


@contextlib.contextmanager
def registry(certificate: Path, *, tls: bool, tokens: bool) -> Iterator[Registry]:
    with Registry(tls=certificate / "server.pem" if tls else None) as running:
        running.add("team/app", "1", IMAGE)
        running.want_login(USER, PASSWORD, tokens=tokens)
        yield running


def pull(containerd: Containerd, name: str, *, mirrors: list[str], **more: Any) -> str:
    """Write the files of a registry, and return what a pull says that fails; else nothing."""
    directory = containerd.directory / "certs.d"
    files = registries.desired_files(str(directory), {name: mirrors}, **more)
    (directory / registries.directory_name(name)).mkdir(parents=True, exist_ok=True)
    for file in files:
        (directory / file.path).write_text(file.content)
    image = f"{name}/team/app:1"
    done = containerd.ctr("images", "pull", "--hosts-dir", str(directory), image)
    containerd.ctr("images", "rm", "--sync", image)
    return done.stderr if done.returncode else ""


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("tokens", [False, True])
def test_a_registry_with_a_password_is_pulled_from_by_whatever_way_it_asks(
    containerd: Containerd, certificate: Path, *, tls: bool, tokens: bool
) -> None:
    """Itself and as a mirror, by Basic and by tokens, over plain HTTP and with an own authority."""
    authority = (certificate / "ca.crt").read_text()
    login = {"username": USER, "password": PASSWORD}
    with registry(certificate, tls=tls, tokens=tokens) as server:
        own = {"url": server.url, **({"ca": authority} if tls else {})}
        name = server.url.partition("//")[2]
        for place in (
            {"name": name, "mirrors": [], "servers": {name: server.url}},
            {"name": name, "mirrors": ["http://127.0.0.1:1"], "servers": {name: server.url}},
            {"name": "docker.io", "mirrors": [server.url]},
            {"name": "docker.io", "mirrors": ["http://127.0.0.1:1", server.url], "fallback": False},
        ):
            assert pull(containerd, **place, options=[{**own, **login}]) == ""
        place = {"name": name, "mirrors": [], "servers": {name: server.url}}
        wrong = {**login, "password": "other"}
        assert "authoriz" in pull(containerd, **place, options=[{**own, **wrong}])
        if tls:
            said = pull(containerd, **place, options=[{"url": server.url, **login}])
            assert "certificate" in said
