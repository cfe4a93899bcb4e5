"""The compilers of this host: their versions, what is missing, and the environment they run in."""

from __future__ import annotations

import functools
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.cache.sources.base import Requirement
from ohmykube.errors import OhmykubeError, PrerequisiteError
from ohmykube.kit import digest, process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ohmykube.cache.catalog import GoRecipe

NEWEST_GO = "go1.26.8"
"""The toolchain that the go client is made to fetch where the local one is too old."""
OLDEST_GO = (1, 21)
"""From here on the go client can fetch a newer toolchain by itself."""
GO_PACKAGES = ("golang-go",)
C_PACKAGES = ("gcc", "libc6-dev")
LIBRARY_PACKAGES = {"seccomp": "libseccomp-dev"}
ELSEWHERE = Path("/")
"""Below it are the usual places of a go client that is not on PATH."""
_NOTHING = "none.invalid"
_KEPT = ("GOPROXY", "GOSUMDB", "GOCACHE", "GOMODCACHE", "GOPATH", "GOENV", "GOTMPDIR", "GOAUTH")
_ASK_SECONDS = 20.0


def environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for the go client.

    The user's own proxy, checksum database and caches are respected. Everything that would change
    what comes out (flags, experiments, CPU levels) or turn the checksum database off for some
    modules is replaced, also where ``go env -w`` has set it: an empty value would not do that.
    """
    env = dict(os.environ if environ is None else environ)
    for name in [n for n in env if n.startswith(("GO", "CGO_")) and n not in _KEPT]:
        del env[name]
    return env | {
        "GOPRIVATE": _NOTHING,
        "GONOPROXY": _NOTHING,
        "GONOSUMDB": _NOTHING,
        "GOINSECURE": _NOTHING,
        "GOFLAGS": "-mod=mod",
        "GOWORK": "off",
        "GOTOOLCHAIN": "local",
        "GOOS": "linux",
        "GOAMD64": "v1",
        "GOARM64": "v8.0",
        "GOFIPS140": "off",
        "GO111MODULE": "on",
        "GOTELEMETRY": "off",
        "CGO_CFLAGS": "-O2 -g",
        "CGO_LDFLAGS": "-O2 -g",
        "CC": "gcc",
        "LC_ALL": "C",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Go:
    """A go client and the toolchain that a recipe is built with."""

    version: str
    """Such as ``go1.26.8``."""
    arch: str
    sum_database: str
    env: Mapping[str, str]
    program: str = "go"


def numbers(version: str) -> tuple[int, ...]:
    """Turn ``go1.26.8`` or ``1.26`` into numbers; what follows them is dropped."""
    found = re.match(r"(?:go)?([0-9]+(?:\.[0-9]+)*)", version)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


@functools.lru_cache(maxsize=8)
def _go_facts(program: str) -> tuple[str, str, str]:
    answer = process.run(
        [program, "env", "-json", "GOVERSION", "GOARCH", "GOSUMDB"],
        timeout=_ASK_SECONDS,
        env=environment(),
        cwd=Path("/"),
    )
    facts = json.loads(answer.stdout)
    return facts["GOVERSION"], facts["GOARCH"], facts["GOSUMDB"]


def _programs() -> list[str]:
    """Return go clients, the one on PATH first: ``sudo`` often drops the others' directories."""
    packaged = sorted(ELSEWHERE.glob("usr/lib/go-1.*/bin/go"), key=_release, reverse=True)
    places = [process.which("go"), ELSEWHERE / "usr/local/go/bin/go", *packaged]
    return [str(place) for place in places if place is not None and Path(place).is_file()]


def _release(path: Path) -> tuple[int, ...]:
    return numbers(path.parts[-3].removeprefix("go-"))


def go() -> Go:
    """Return the go client of this host.

    Raises:
        PrerequisiteError: there is none, or it is too old to fetch another, or it does not work.
    """
    old = []
    for program in _programs():
        try:
            version, arch, sums = _go_facts(program)
        except (process.CommandFailed, ValueError, KeyError) as error:
            why = (error.why or error.message) if isinstance(error, OhmykubeError) else str(error)
            raise PrerequisiteError(
                f"`{program}` does not work",
                why=why,
                hint=f"{program} env  (what does it complain about?)",
                id="OMK-I-201",
            ) from error
        if numbers(version) >= OLDEST_GO:
            env = environment()
            env["PATH"] = f"{Path(program).parent}{os.pathsep}{env.get('PATH', '')}"
            return Go(version=version, arch=arch, sum_database=sums, env=env, program=program)
        old.append(f"{program} is {version}")
    if old:
        raise PrerequisiteError(
            "Go is too old to build node components",
            why="; ".join(old) + "; from Go 1.21 on it fetches the release it needs",
            hint="install a newer Go first on PATH, then run the same command again",
            id="OMK-I-201",
        )
    raise PrerequisiteError(
        "`go` is not installed, so node components cannot be built",
        why=f"Debian packages: {' '.join(GO_PACKAGES)} (Go 1.21 or newer)",
        hint="ohmykube doctor --fix",
        id="OMK-I-201",
    )


def go_for(recipe: GoRecipe) -> Go:
    """Return the toolchain for a recipe: the local one, or a newer one that ``go`` fetches.

    Raises: as ``go``.
    """
    local = go()
    if numbers(local.version) >= numbers(recipe.go):
        return local
    env = {**local.env, "GOTOOLCHAIN": NEWEST_GO}
    return replace(local, version=NEWEST_GO, env=env)


def vouching(module: str, sum_: str, toolchain: Go) -> str:
    """Return what is recorded of a module: ``path@version``, its sum and who vouches for that."""
    database = toolchain.sum_database
    return f"{module} {sum_} ({'the catalog alone' if database == 'off' else database})"


def c_compiler(libraries: tuple[str, ...] = ()) -> str:
    """Return what decides about the output of the C compiler: itself and the static libraries.

    Raises:
        PrerequisiteError: no gcc, or a static library is not installed.
    """
    program = process.which("gcc")
    if program is None:
        raise PrerequisiteError(
            "`gcc` is not installed, so node components cannot be built",
            why=f"Debian packages: {' '.join(C_PACKAGES)}",
            hint="ohmykube doctor --fix",
            id="OMK-I-202",
        )
    return ", ".join([_gcc_facts(program), *(_library(program, n) for n in ("c", *libraries))])


@functools.lru_cache(maxsize=8)
def _gcc_facts(program: str) -> str:
    about = process.run([program, "--version"], timeout=_ASK_SECONDS).stdout
    return about.splitlines()[0].strip() if about.strip() else "gcc"


@functools.lru_cache(maxsize=8)
def _library(program: str, name: str) -> str:
    file = f"lib{name}.a"
    answer = process.run([program, f"-print-file-name={file}"], timeout=_ASK_SECONDS)
    path = Path(answer.stdout.strip())
    if not path.is_absolute() or not path.is_file():
        raise PrerequisiteError(
            f"the static library {file} is not installed",
            why=f"Debian packages: {LIBRARY_PACKAGES.get(name, 'libc6-dev')}",
            hint="ohmykube doctor --fix",
            id="OMK-I-202",
        )
    return f"{file} {digest.of_file(path)[7:19]}"


def identity(recipe: GoRecipe, toolchain: Go) -> str:
    """Return the name of everything beside the source that decides about the bytes."""
    base = f"{toolchain.version} linux/{toolchain.arch}"
    return f"{base}, {c_compiler(recipe.libraries)}" if recipe.cgo else base


def requirements() -> tuple[Requirement, ...]:
    """Return what this host must have to build everything, met or not."""
    return (
        _requirement("go", "Go 1.21 or newer", go, GO_PACKAGES),
        _requirement("c-compiler", "C compiler with static libc", c_compiler, C_PACKAGES),
        _requirement(
            "libseccomp",
            "static libseccomp",
            lambda: c_compiler(("seccomp",)),
            (*C_PACKAGES, *LIBRARY_PACKAGES.values()),
        ),
    )


def _requirement(
    id_: str, title: str, look: Callable[[], object], packages: tuple[str, ...]
) -> Requirement:
    try:
        found = look()
    except PrerequisiteError as error:
        evidence = "; ".join(part for part in (error.message, error.why) if part)
        return Requirement(id=id_, title=title, met=False, evidence=evidence, packages=packages)
    evidence = found.version if isinstance(found, Go) else str(found)
    return Requirement(id=id_, title=title, met=True, evidence=evidence, packages=packages)
