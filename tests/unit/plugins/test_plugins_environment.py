"""The environment of a login stays out of our programs and transfers on a node."""

from __future__ import annotations

import ast
import hashlib
import http.server
import os
import threading
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.ohmykube.cluster.plugins.module_utils import fetch, node_state, programs

from ohmykube.kit import loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

PLUGINS = Path(__file__).parents[3] / "plugins"
CONTENT = b"a package"
SUM = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
PROXY_NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
HOSTILE = {
    **dict.fromkeys(PROXY_NAMES, "http://proxy.corp.example:3128"),
    **{name.upper(): "http://proxy.corp.example:3128" for name in PROXY_NAMES},
    "KUBECONFIG": "/srv/ops/prod.yaml",
    "CONTAINERD_ADDRESS": "/run/docker/containerd.sock",
    "CONTAINERD_NAMESPACE": "moby",
    "CONTAINER_RUNTIME_ENDPOINT": "unix:///run/crio.sock",
    "ETCDCTL_ENDPOINTS": "https://10.0.0.9:2379",
    "GODEBUG": "http2client=0",
    "SSL_CERT_FILE": "/srv/ops/ca.pem",
    "LC_ALL": "de_DE.UTF-8",
    "LANGUAGE": "de",
    "POSIXLY_CORRECT": "1",
    "ZSTD_CLEVEL": "19",
}
ALLOWED = {*programs.KEPT, "LC_ALL", "PATH", "PWD", "SHLVL", "_"}
"""The last three are what the shell of a test sets itself."""


class Server(http.server.ThreadingHTTPServer):
    """Serves ``CONTENT`` at every path, and keeps what was asked with which token."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked: list[tuple[str, str | None]] = []
        self.redirect = ""

    @property
    def port(self) -> int:
        return self.server_address[1]


class Answers(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Authorization"]))
        if self.server.redirect and not self.path.endswith("/end"):
            self.send_response(302)
            self.send_header("Location", self.server.redirect)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    """Give a server of files and a proxy."""
    made = (Server(), Server())
    threads = [threading.Thread(target=one.serve_forever, args=(0.01,)) for one in made]
    for thread in threads:
        thread.start()
    yield made
    for one, thread in zip(made, threads, strict=True):
        one.shutdown()
        thread.join()
        one.server_close()


@pytest.fixture
def behind(servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch) -> Server:
    """Give the proxy that every variable of the environment names."""
    proxy = servers[1]
    for name in PROXY_NAMES[:3]:
        for spelling in (name, name.upper()):
            monkeypatch.setenv(spelling, f"http://127.0.0.1:{proxy.port}")
    for spelling in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(spelling, ".corp.example")
    return proxy


def fetched(tmp_path: Path, url: str, **options: object) -> bytes:
    target = tmp_path / "target"
    fetcher = fetch.Fetcher(attempts=1, pause=lambda _: None, **options)  # type: ignore[arg-type]
    fetcher.download(url, str(target), SUM)
    return target.read_bytes()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001"])
def test_what_is_on_the_node_itself_never_goes_to_a_proxy(
    servers: tuple[Server, Server], behind: Server, tmp_path: Path, host: str
) -> None:
    scope = f"http://{host}:{servers[0].port}"
    assert fetched(tmp_path, f"{scope}/pkg", token="secret", scope=scope) == CONTENT
    assert servers[0].asked == [("/pkg", "Bearer secret")]
    assert behind.asked == []


def test_other_hosts_are_asked_through_the_proxy_without_the_token(
    servers: tuple[Server, Server], behind: Server, tmp_path: Path
) -> None:
    scope = f"http://127.0.0.1:{servers[0].port}"
    url = "http://files.example.invalid/pkg"
    assert fetched(tmp_path, url, token="secret", scope=scope) == CONTENT
    assert behind.asked == [(url, None)]
    with pytest.raises(fetch.FetchError):
        fetched(tmp_path, url, token="secret", scope="http://files.example.invalid")
    assert len(behind.asked) == 1, "a proxy could read the token"


def test_a_redirect_is_judged_by_where_it_leads(
    servers: tuple[Server, Server], behind: Server, tmp_path: Path
) -> None:
    files, _ = servers
    files.redirect = "http://files.example.invalid/end"
    scope = f"http://127.0.0.1:{files.port}"
    assert fetched(tmp_path, f"{scope}/pkg", token="secret", scope=scope) == CONTENT
    assert behind.asked == [(files.redirect, None)]
    behind.redirect = f"{scope}/end"
    assert fetched(tmp_path, "http://files.example.invalid/pkg") == CONTENT
    assert files.asked[-1] == ("/end", None)


HERE = ("127.0.0.1:80", "u:p@127.8.9.1", "[::1]:5055", "[::ffff:127.0.0.1]", "127.1")
HERE_BY_NAME = ("localhost.", "LOCALHOST", "a.localhost")
ELSEWHERE = ("10.0.0.1", "localhost.example.com", "127.0.0.1.nip.io", "", "::x")


@pytest.mark.parametrize("netloc", [*HERE, *HERE_BY_NAME, *ELSEWHERE])
def test_what_is_this_machine(netloc: str) -> None:
    here = netloc not in ELSEWHERE
    assert fetch.is_loopback(netloc) is here
    # The front end judges the same for downloads of its own, and cannot import from the collection.
    assert loopback.is_loopback(urllib.parse.urlsplit(f"//{netloc}")) is here


def names_of(text: str) -> set[str]:
    return {line.partition("=")[0] for line in text.splitlines() if "=" in line}


@pytest.mark.parametrize("way", ["run", "run_logged", "look"])
def test_programs_on_a_node_get_nothing_of_the_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """No variable but those that say whose the login is, whatever it has set."""
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    if way == "run":
        told = programs.run(["env"]).stdout
    elif way == "look":
        told = node_state._Program(["env"], 10).output()[0]
    else:
        log = tmp_path / "log"
        with log.open("w") as stream:
            programs.run_logged(["env"], stream.fileno(), timeout=10)
        told = log.read_text()
    assert names_of(told) - {"LC_ALL"} <= ALLOWED
    assert "LC_ALL=C.UTF-8" in told.splitlines()
    home = "/root" if way == "look" else os.environ["HOME"]
    assert f"HOME={home}" in told.splitlines()


def test_every_start_of_a_program_on_a_node_says_its_environment() -> None:
    starts = []
    for path in [*PLUGINS.glob("module_utils/*.py"), *PLUGINS.glob("modules/*.py")]:
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("subprocess."):
                given = {one.arg for one in call.keywords}
                starts.append((path.name, "env" in given or None in given))
    assert len(starts) >= 3
    assert [name for name, told in starts if not told] == []
