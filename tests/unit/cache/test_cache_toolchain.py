"""The environment of the go client, and what a host must have."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache.sources import toolchain
from ohmykube.errors import PrerequisiteError

if TYPE_CHECKING:
    from conftest import Programs


PROGRAMS = Path(__file__).parents[2] / "data" / "programs"


def test_the_users_proxy_and_checksum_database_are_respected() -> None:
    env = toolchain.environment(
        {
            "GOPROXY": "https://goproxy.example",
            "GOSUMDB": "sum.example+1+key",
            "GOCACHE": "/cache",
            "GOMODCACHE": "/modules",
            "HTTPS_PROXY": "http://proxy.example",
            "PATH": "/bin",
        }
    )
    assert env["GOPROXY"] == "https://goproxy.example"
    assert env["GOSUMDB"] == "sum.example+1+key"
    assert (env["GOCACHE"], env["GOMODCACHE"]) == ("/cache", "/modules")
    assert (env["HTTPS_PROXY"], env["PATH"]) == ("http://proxy.example", "/bin")


def test_what_would_change_the_result_or_skip_the_checksums_is_replaced() -> None:
    hostile = {
        "GOFLAGS": "-insecure -tags=evil",
        "GONOSUMDB": "*",
        "GONOSUMCHECK": "1",
        "GOPRIVATE": "*",
        "GOINSECURE": "*",
        "GONOPROXY": "*",
        "GOAMD64": "v3",
        "GOEXPERIMENT": "greenteagc",
        "GOTOOLCHAIN": "go1.99",
        "GOOS": "windows",
        "GOARCH": "riscv64",
        "GOWORK": "/x/go.work",
        "CGO_ENABLED": "1",
        "CGO_CFLAGS": "-O0",
        "CC": "clang",
    }
    env = toolchain.environment(hostile)
    assert not {"GOEXPERIMENT", "GONOSUMCHECK", "GOARCH", "CGO_ENABLED"} & set(env)
    for name in ("GONOSUMDB", "GOPRIVATE", "GOINSECURE", "GONOPROXY"):
        assert env[name] == "none.invalid"  # an empty value would let `go env -w` win
    assert (env["GOFLAGS"], env["GOAMD64"], env["GOTOOLCHAIN"]) == ("-mod=mod", "v1", "local")
    assert env["GOOS"] == "linux"
    assert (env["GOWORK"], env["CC"], env["CGO_CFLAGS"]) == ("off", "gcc", "-O2 -g")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("go1.26.8", (1, 26, 8)), ("1.26", (1, 26)), ("go1.27rc1", (1, 27)), ("devel", ())],
)
def test_versions_are_compared_as_numbers(text: str, expected: tuple[int, ...]) -> None:
    assert toolchain.numbers(text) == expected


def test_requirements_tell_what_is_there(programs: Programs) -> None:
    met = toolchain.requirements()
    assert [r.id for r in met] == ["go", "c-compiler", "libseccomp"]
    assert all(r.met for r in met)
    assert met[0].evidence == "go1.26.8"
    assert met[1].evidence.startswith("gcc (Fake 1-2) 1.2.3, libc.a ")


def test_requirements_name_the_packages_that_lack(programs: Programs, tmp_path: Path) -> None:
    programs.remove("go")
    (tmp_path / "libraries" / "libseccomp.a").unlink()
    go, compiler, seccomp = toolchain.requirements()
    assert not go.met
    assert go.packages == ("golang-go",)
    assert compiler.met
    assert not seccomp.met
    assert "libseccomp.a" in seccomp.evidence
    assert "libseccomp-dev" in seccomp.packages


def test_a_compiler_without_static_libc_is_refused(programs: Programs, tmp_path: Path) -> None:
    (tmp_path / "libraries" / "libc.a").unlink()
    with pytest.raises(PrerequisiteError) as caught:
        toolchain.c_compiler()
    assert "libc6-dev" in (caught.value.why or "")


def install(root: Path, place: str) -> None:
    target = root / place
    target.parent.mkdir(parents=True)
    shutil.copy(PROGRAMS / "go", target)


def test_a_go_client_that_is_not_on_path_is_found(programs: Programs, tmp_path: Path) -> None:
    for place in ("usr/lib/go-1.9/bin/go", "usr/lib/go-1.24/bin/go"):
        install(tmp_path, place)
    programs.remove("go")
    found = toolchain.go()
    assert found.program == str(tmp_path / "usr/lib/go-1.24/bin/go")
    assert found.env["PATH"].startswith(str(tmp_path / "usr/lib/go-1.24/bin:"))
    install(tmp_path, "usr/local/go/bin/go")
    assert toolchain.go().program == str(tmp_path / "usr/local/go/bin/go")


def test_a_go_client_that_does_not_work_is_said_so(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    (programs.directory / "go").write_text("#!/bin/sh\necho no HOME >&2; exit 2\n")
    with pytest.raises(PrerequisiteError) as caught:
        toolchain.go()
    assert caught.value.why == "no HOME"
    (programs.directory / "go").write_text("#!/bin/sh\necho nonsense\n")
    with pytest.raises(PrerequisiteError):
        toolchain.go()
