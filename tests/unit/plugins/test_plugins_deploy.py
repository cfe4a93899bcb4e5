"""deploy: artifacts, files and units in one step."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import shutil
import ssl
import tarfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    archive,
    artifacts,
    fetch,
    programs,
)

from tests.tls_server import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import FakeNode, RunModule

pytestmark = pytest.mark.linux

SYSTEMCTL = r"""
state=$NOTES/unit-state
case "$1" in
show)
  printf 'Id=x\nLoadState=loaded\nNeedDaemonReload=no\n'
  echo "ActiveState=$(cat $state-active 2>/dev/null || echo inactive)"
  echo "UnitFileState=$(cat $state-enabled 2>/dev/null || echo disabled)" ;;
start) echo active >$state-active ;;
stop) echo inactive >$state-active ;;
enable) echo enabled >$state-enabled ;;
disable) echo disabled >$state-enabled ;;
esac
"""


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar_bytes(entries: dict[str, bytes], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for name, data in entries.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def binary(node: FakeNode) -> dict[str, Any]:
    source = node.write("source/tool", "tool 1")
    return {
        "name": "tool",
        "url": source.as_uri(),
        "checksum": sha(b"tool 1"),
        "dest": str(node.path("usr/bin/tool")),
    }


def test_artifact_and_file(run_module: RunModule, node: FakeNode, binary: dict[str, Any]) -> None:
    conf = str(node.path("etc/tool.conf"))
    params = {"artifacts": [binary], "files": [{"path": conf, "content": "a=1\n", "mode": "0640"}]}
    first = run_module("deploy", **params)
    assert first["changed"] is True
    assert first["installed"] == ["tool"]
    tool = node.path("usr/bin/tool")
    assert tool.read_text() == "tool 1"
    assert tool.stat().st_mode & 0o777 == 0o755
    assert Path(conf).stat().st_mode & 0o777 == 0o640
    assert run_module("deploy", **params)["changed"] is False


def test_check_mode_with_diff(
    run_module: RunModule, node: FakeNode, binary: dict[str, Any]
) -> None:
    conf = node.write("etc/tool.conf", "a=1\n")
    files = [{"path": str(conf), "content": "a=2\n"}]
    result = run_module("deploy", check=True, artifacts=[binary], files=files)
    assert result["changed"] is True
    assert result["diff"][0]["before"] == "a=1\n"
    assert result["diff"][0]["after"] == "a=2\n"
    assert conf.read_text() == "a=1\n"
    assert not node.path("usr/bin/tool").exists()


def test_of_many_files_each_that_differs_is_changed(run_module: RunModule, node: FakeNode) -> None:
    names = ["a", "b", "c", "d"]
    files = [{"path": str(node.path(f"etc/{name}")), "content": "1"} for name in names]
    run_module("deploy", files=files)
    for changed in (files[1:3], files[::2], files[3:]):
        for file in changed:
            Path(file["path"]).write_text("2")
        assert run_module("deploy", files=files)["changed"] is True
        assert {Path(file["path"]).read_text() for file in files} == {"1"}


def test_sensitive_file_is_not_shown(run_module: RunModule, node: FakeNode) -> None:
    path = str(node.path("etc/secret"))
    result = run_module("deploy", files=[{"path": path, "content": "hunter2", "sensitive": True}])
    assert "hunter2" not in str(result["diff"])


@pytest.mark.parametrize("damage", ["touch", "remove", "truncate"])
def test_touched_file_is_put_back(
    run_module: RunModule, node: FakeNode, binary: dict[str, Any], damage: str
) -> None:
    run_module("deploy", artifacts=[binary])
    tool = node.path("usr/bin/tool")
    match damage:
        case "touch":
            os.utime(tool, (1, 1))
        case "remove":
            tool.unlink()
        case _:
            tool.write_text("")
    assert run_module("deploy", artifacts=[binary])["installed"] == ["tool"]
    assert tool.read_text() == "tool 1"


def test_wrong_checksum_leaves_the_old_file(
    run_module: RunModule, node: FakeNode, binary: dict[str, Any]
) -> None:
    run_module("deploy", artifacts=[binary])
    bad = {**binary, "checksum": sha(b"other")}
    result = run_module("deploy", artifacts=[bad], fails=True)
    assert "wrong checksum" in result["msg"]
    assert node.path("usr/bin/tool").read_text() == "tool 1"
    assert list(node.path("usr/bin").iterdir()) == [node.path("usr/bin/tool")]


def test_archive_and_its_next_version(run_module: RunModule, node: FakeNode) -> None:
    def package(entries: dict[str, bytes]) -> dict[str, Any]:
        data = tar_bytes(entries)
        path = node.path("source/p.tgz")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        dest = str(node.path("opt"))
        return {
            "name": "p",
            "url": path.as_uri(),
            "checksum": sha(data),
            "dest": dest,
            "unpack": True,
        }

    run_module("deploy", artifacts=[package({"./bin/a": b"a1", "bin/old": b"o"})])
    assert node.path("opt/bin/old").exists()
    node.write("opt/bin/theirs", "kept")
    run_module("deploy", artifacts=[package({"bin/a": b"a2"})])
    assert node.path("opt/bin/a").read_text() == "a2"
    assert not node.path("opt/bin/old").exists()
    assert node.path("opt/bin/theirs").exists()


def test_members(run_module: RunModule, node: FakeNode) -> None:
    data = tar_bytes({"x/one": b"1", "x/two": b"2"})
    source = node.path("p.tgz")
    source.write_bytes(data)
    target = str(node.path("opt/eins"))
    artifact = {
        "name": "p", "url": source.as_uri(), "checksum": sha(data), "dest": "/", "unpack": True,
        "members": {"x/one": target},
    }  # fmt: skip
    run_module("deploy", artifacts=[artifact])
    assert Path(target).read_text() == "1"
    missing = {**artifact, "name": "q", "members": {"x/three": target}}
    assert "has no member x/three" in run_module("deploy", artifacts=[missing], fails=True)["msg"]


def test_units(run_module: RunModule, node: FakeNode, binary: dict[str, Any]) -> None:
    node.program("systemctl", SYSTEMCTL)
    conf = str(node.path("etc/tool.conf"))
    unit = {"name": "tool", "enabled": True, "state": "started", "triggers": [conf]}
    params: dict[str, Any] = {
        "artifacts": [binary],
        "files": [{"path": conf, "content": "1"}],
        "units": [unit],
    }
    first = run_module("deploy", **params)
    assert first["stale_units"] == []
    assert "start tool.service" in first["changes"]
    assert run_module("deploy", **params)["changed"] is False
    params["files"][0]["content"] = "2"
    assert run_module("deploy", **params)["stale_units"] == ["tool.service"]
    assert not any("restart" in call for call in node.calls("systemctl"))


def test_uninstall(run_module: RunModule, node: FakeNode, binary: dict[str, Any]) -> None:
    node.program("systemctl", SYSTEMCTL)
    conf, directory = str(node.path("etc/tool.conf")), str(node.path("var/lib/tool"))
    params = {
        "artifacts": [binary],
        "files": [{"path": conf, "content": "1"}],
        "directories": [directory],
        "units": [{"name": "tool", "enabled": True, "state": "started"}],
    }
    run_module("deploy", **params)
    checked = run_module("deploy", state="absent", check=True, **params)
    assert checked["changed"] is True
    assert Path(conf).exists()
    gone = run_module("deploy", state="absent", **params)
    assert sorted(gone["changes"]) == sorted(checked["changes"])
    for path in (conf, directory, binary["dest"], artifacts.RECORD):
        assert not Path(path).exists(), path
    assert run_module("deploy", state="absent", **params)["changed"] is False


def test_uninstall_of_what_another_run_called_otherwise(
    run_module: RunModule, node: FakeNode, binary: dict[str, Any]
) -> None:
    run_module("deploy", artifacts=[binary])
    renamed = [{**binary, "name": "other"}]
    assert run_module("deploy", state="absent", artifacts=renamed)["changed"] is False
    alternatives = ["tool", "never-there", "other"]
    gone = run_module("deploy", state="absent", artifacts=renamed, alternatives=alternatives)
    assert gone["changes"] == ["tool"]
    assert not Path(binary["dest"]).exists()
    assert not Path(artifacts.RECORD).exists()


@pytest.mark.parametrize(
    ("name", "kind", "link"),
    [
        ("../evil", tarfile.REGTYPE, ""),
        ("/etc/evil", tarfile.REGTYPE, ""),
        ("a", tarfile.SYMTYPE, "../../etc"),
        ("a", tarfile.SYMTYPE, "/etc"),
        ("a", tarfile.LNKTYPE, "b"),
        ("a", tarfile.CHRTYPE, ""),
        ("a", tarfile.FIFOTYPE, ""),
    ],
)
def test_archive_leads_nowhere_else(tmp_path: Path, name: str, kind: bytes, link: str) -> None:
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        tar.addfile(info)
    with pytest.raises(archive.ArchiveError):
        archive.unpack(str(path), str(tmp_path / "out"))


def test_archive_does_not_follow_a_link_out(tmp_path: Path) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    out.mkdir()
    outside.mkdir()
    (out / "sub").symlink_to(outside)
    path = tmp_path / "a.tar"
    path.write_bytes(tar_bytes({"sub/file": b"x"}, "w"))
    with pytest.raises(archive.ArchiveError):
        archive.unpack(str(path), str(out))
    assert list(outside.iterdir()) == []


def test_truncated_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.tgz"
    path.write_bytes(tar_bytes({"a": os.urandom(100_000)})[:5000])
    with pytest.raises(archive.ArchiveError):
        archive.unpack(str(path), str(tmp_path / "out"))


@pytest.mark.skipif(shutil.which("zstd") is None, reason="zstd is not installed")
def test_zstd(tmp_path: Path) -> None:
    plain = tmp_path / "a.tar"
    plain.write_bytes(tar_bytes({"bin/a": b"zst"}, "w"))
    programs.run(["zstd", "-q", "--long=27", str(plain), "-o", str(tmp_path / "a.zst")])
    assert archive.unpack(str(tmp_path / "a.zst"), str(tmp_path / "out")) == [
        str(tmp_path / "out/bin/a")
    ]
    damaged = tmp_path / "b.zst"
    damaged.write_bytes((tmp_path / "a.zst").read_bytes()[:-7])
    with pytest.raises(archive.ArchiveError):
        archive.unpack(str(damaged), str(tmp_path / "out2"))


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves /flaky (503 once), /moved (to /plain) and /plain; notes Authorization headers."""

    seen: list[tuple[str, str]]
    content = b"served"

    def do_GET(self) -> None:
        first = not any(path == self.path for path, _ in self.seen)
        self.seen.append((self.path, self.headers.get("Authorization", "")))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/plain")
            self.end_headers()
            return
        code = 503 if self.path == "/flaky" and first else 404 if self.path == "/gone" else 200
        self.send_response(code)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    handler = type("Noted", (Handler,), {"seen": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}", handler.seen
        running.shutdown()
        thread.join()


def test_fetch_retries_and_keeps_the_token_home(
    tmp_path: Path, server: tuple[str, list[tuple[str, str]]]
) -> None:
    url, seen = server
    pauses: list[float] = []
    fetcher = fetch.Fetcher("secret", url + "/", pause=pauses.append)
    fetcher.download(url + "/flaky", str(tmp_path / "f"), sha(b"served"))
    assert len(pauses) == 1
    fetcher.download(url + "/moved", str(tmp_path / "m"), sha(b"served"))
    assert seen[-2:] == [("/moved", "Bearer secret"), ("/plain", "")]
    with pytest.raises(fetch.FetchError, match="404"):
        fetcher.download(url + "/gone", str(tmp_path / "g"), sha(b"served"))
    other = fetch.Fetcher("secret", "http://127.0.0.1:1/")
    other.download(url + "/plain", str(tmp_path / "p"), sha(b"served"))
    assert seen[-1] == ("/plain", "")


def test_fetch_verifies_servers_and_reads_certificates_for_https_alone(
    tmp_path: Path,
    server: tuple[str, list[tuple[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of https both a known authority and the right name are asked for; http asks for nothing."""
    reads: list[str] = []
    default = ssl.SSLContext.load_default_certs

    def counted(context: ssl.SSLContext, *purpose: ssl.Purpose) -> None:
        reads.append("read")
        default(context, *purpose)

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", counted)
    target = str(tmp_path / "f")
    fetcher = fetch.Fetcher(pause=lambda _seconds: None, attempts=1)
    fetcher.download(server[0] + "/plain", target, sha(b"served"))
    assert reads == []
    with serving(tmp_path / "tls") as secure:
        secure.answers["/x"] = (200, "secure")
        for _ in range(2):
            with pytest.raises(fetch.FetchError, match="certificate verify failed"):
                fetcher.download(f"https://{secure.address}/x", target, sha(b"secure"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls" / "ca.crt"))
        fetcher.download(f"https://{secure.address}/x", target, sha(b"secure"))
        with pytest.raises(fetch.FetchError, match="certificate verify failed"):
            fetcher.download(f"https://localhost:{secure.port}/x", target, sha(b"secure"))
    assert reads
    assert [path for path, _ in secure.asked] == ["/x"]


def test_fetch_gives_up(tmp_path: Path) -> None:
    fetcher = fetch.Fetcher(pause=lambda _seconds: None, attempts=3)
    with pytest.raises(fetch.FetchError, match="tried 3 times"):
        fetcher.download("http://127.0.0.1:9/x", str(tmp_path / "f"), sha(b""))


@pytest.mark.parametrize(
    ("url", "scope", "inside"),
    [
        ("http://h:1/a/b", "http://h:1/a", True),
        ("http://h:1/ab", "http://h:1/a", False),
        ("http://h:1.evil/a", "http://h:1", False),
        ("https://h:1/a", "http://h:1", False),
        ("http://h:10/a", "http://h:1", False),
    ],
)
def test_scope(url: str, scope: str, inside: bool) -> None:
    assert fetch.in_scope(url, scope) is inside


def test_identity_url_for_nodes_without_zstd() -> None:
    assert artifacts.with_identity("http://h/pkg/sha256/x") == "http://h/pkg/sha256/x?enc=identity"
