"""Logins of the docker configuration: where they are looked for and where they are sent."""

from __future__ import annotations

import base64
import json
import os
import threading
import urllib.parse
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.cache import registry_auth
from ohmykube.cache.registry_auth import Authorizer, Login, login
from ohmykube.cache.registry_client import Repository
from ohmykube.cache.transport import Timing, Transport
from ohmykube.errors import NetworkError, PrerequisiteError
from ohmykube.model import docker_hub
from tests.fault_server import Answer, FaultServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUICK = Timing(connect=2, read=5, attempts=2, pause=0.01)
HUB = "https://index.docker.io/v1/"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with FaultServer() as running:
        yield running


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path / "config.json"


def auth(pair: str) -> dict[str, str]:
    return {"auth": base64.b64encode(pair.encode()).decode()}


def helper(config: Path, name: str, script: str) -> Path:
    """Install a credential helper that logs which server it was asked for."""
    program = config.parent / "bin" / f"docker-credential-{name}"
    log = config.parent / f"{name}.log"
    program.write_text(f'#!/bin/sh\nread -r server\necho "$1 $server" >>"{log}"\n{script}\n')
    program.chmod(0o755)
    return log


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (auth("me:se:cret"), Login("me", "se:cret")),
        ({"username": "me", "password": "pw"}, Login("me", "pw")),
        ({**auth("me:new"), "username": "me", "password": "old"}, Login("me", "new")),
        ({**auth("me:"), "identitytoken": "tok"}, Login(identity_token="tok")),
        ({"auth": "not base64!"}, None),
        ({"auth": auth("me:pw")["auth"].replace("=", "!=")}, None),
        ({"auth": base64.b64encode(b"no colon").decode()}, None),
        ({"username": "me"}, None),
        ({}, None),
        ([], None),
    ],
)
def test_entries(config: Path, entry: object, expected: Login | None) -> None:
    config.write_text(json.dumps({"auths": {"reg.test:5000": entry}}))
    assert login(config, "reg.test:5000") == expected
    assert login(config, "reg.test") is None


def test_a_configuration_without_end_has_no_login(config: Path) -> None:
    config.symlink_to("/dev/zero")
    assert login(config, "reg.test:5000") is None


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("reg.test", "reg.test"),
        ("https://reg.test", "reg.test"),
        ("https://reg.test/v1/", "reg.test"),
        ("https://reg.test/v2/", "reg.test"),
        (HUB, docker_hub.HOST),
    ],
)
def test_names_of_a_registry(config: Path, name: str, host: str) -> None:
    config.write_text(json.dumps({"auths": {name: auth("a:b")}}))
    assert login(config, host) == Login("a", "b")
    assert registry_auth.docker_config() == config


def test_helpers_are_asked_before_the_file_is(config: Path) -> None:
    mine = helper(config, "mine", 'echo \'{"Username": "h", "Secret": "s"}\'')
    every = helper(config, "every", 'echo "credentials not found in native keychain"; exit 1')
    config.write_text(
        json.dumps(
            {
                "credHelpers": {"reg.test": "mine"},
                "credsStore": "every",
                "auths": {"reg.test": auth("file:x"), "other.test": auth("file:y")},
            }
        )
    )
    assert login(config, "reg.test") == Login("h", "s")
    assert mine.read_text() == "get reg.test\n"
    assert not every.exists()
    assert login(config, "other.test") == Login("file", "y")
    assert every.read_text().splitlines()[0] == "get other.test"
    assert login(config, docker_hub.HOST) is None
    assert f"get {HUB}" in every.read_text()


def test_a_helper_may_give_an_identity_token(config: Path) -> None:
    helper(config, "id", 'echo \'{"Username": "<token>", "Secret": "refresh"}\'')
    config.write_text('{"credsStore": "id"}')
    found = login(config, "reg.test")
    assert found == Login(identity_token="refresh")
    assert found.basic == ""


@pytest.mark.parametrize(
    ("name", "script", "why"),
    [
        ("gone", None, "credsStore"),
        ("../../bin/sh", None, "credsStore"),
        ("locked", "echo 'the key ring is locked' >&2; exit 1", "key ring is locked"),
        ("odd", "echo '[\"S3CRET\"]'", "cannot be understood"),
        ("text", "echo S3CRET", "cannot be understood"),
    ],
)
def test_a_helper_that_does_not_help(config: Path, name: str, script: str | None, why: str) -> None:
    if script is not None:
        helper(config, name, script)
    config.write_text(json.dumps({"credsStore": name}))
    with pytest.raises(PrerequisiteError) as caught:
        login(config, "reg.test")
    assert caught.value.id == "OMK-I-702"
    assert why in (caught.value.why or "")
    assert "S3CRET" not in f"{caught.value.message}{caught.value.why}{caught.value.hint}"


def challenge(server: FaultServer) -> str:
    return f'Bearer realm="{server.url}/token",service="reg",scope="repository:a/b:pull"'


def test_an_identity_token_is_exchanged_by_post(config: Path, server: FaultServer) -> None:
    host = urllib.parse.urlsplit(server.url).netloc
    config.write_text(json.dumps({"auths": {host: {"identitytoken": "refresh"}}}))
    server.on("/token", Answer(b'{"access_token": "short"}'))
    repository = Repository(server.url, "a/b")
    authorizer = Authorizer(Transport(QUICK))
    authorizer.renew(repository, challenge(server), None)
    assert authorizer.header(repository) == "Bearer short"
    assert server.seen[0][0] == "POST"
    assert dict(urllib.parse.parse_qsl(server.bodies[0].decode())) == {
        "grant_type": "refresh_token",
        "refresh_token": "refresh",
        "client_id": "ohmykube",
        "service": "reg",
        "scope": "repository:a/b:pull",
    }
    authorizer.renew(repository, challenge(server), None)
    authorizer.renew(repository, challenge(server), "Bearer other")
    assert len(server.seen) == 1


def test_a_public_image_needs_no_helper(config: Path, server: FaultServer) -> None:
    config.write_text('{"credsStore": "gone"}')
    server.on("/token", Answer(b'{"token": "t"}'), Answer(status=403))
    repository = Repository(server.url, "a/b")
    authorizer = Authorizer(Transport(QUICK))
    authorizer.renew(repository, challenge(server), None)
    assert authorizer.header(repository) == "Bearer t"
    with pytest.raises(NetworkError, match="refuses a/b") as caught:
        authorizer.renew(repository, challenge(server), "Bearer t")
    assert caught.value.id == "OMK-I-242"
    assert "403" in (caught.value.why or "")
    assert "docker-credential-gone" in (caught.value.why or "")
    with pytest.raises(NetworkError, match="refuses a/b"):
        authorizer.renew(repository, "Basic realm=x", "Bearer t")


def test_a_token_service_that_is_silent_holds_up_nobody_else(
    config: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text("{}")
    server.on("/token", Answer(b'{"token": "t"}'))
    silent, asked = threading.Event(), threading.Event()
    authorizer = Authorizer(Transport(QUICK))
    real = authorizer._transport.small

    def small(url: str, **options: Any) -> bytes:
        if "silent" in url:
            asked.set()
            assert silent.wait(20)
        return real(url.replace("silent", "token"), **options)

    monkeypatch.setattr(authorizer._transport, "small", small)
    slow, quick = Repository(server.url, "a/slow"), Repository(server.url, "a/quick")
    words = (slow, f'Bearer realm="{server.url}/silent"', None)
    thread = threading.Thread(target=authorizer.renew, args=words)
    thread.start()
    assert asked.wait(20)
    # A thread too: where one waits for the other, this test fails instead of hanging.
    other = threading.Thread(target=authorizer.renew, args=(quick, challenge(server), None))
    other.start()
    other.join(10)
    held_up = authorizer.header(quick) is None
    silent.set()
    for one in (thread, other):
        one.join(20)
    assert not held_up
    assert authorizer.header(slow) == "Bearer t"
