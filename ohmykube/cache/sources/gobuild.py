"""Node components from source: one throw-away Go module for each module that is built.

What comes out goes into the store at once, so a run that was killed goes on with the next module.
The go client keeps its own caches where the user has them and checks every module against the
checksum database; the module that is built must also have the sum that the catalog names, and the
binaries the digest that the catalog knows for the same toolchain.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ohmykube.cache import catalog
from ohmykube.cache.sources import toolchain
from ohmykube.cache.sources.build_errors import build_failure
from ohmykube.cache.sources.build_slots import BuildSlots
from ohmykube.cache.store import Ref
from ohmykube.errors import IntegrityError, PrerequisiteError
from ohmykube.kit import digest, files, process
from ohmykube.kit.retry import SystemClock
from ohmykube.model.artifact import Kind
from ohmykube.progress import ItemProgress, Message, item

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ohmykube.cache.catalog import CRecipe, GoRecipe, Recipe
    from ohmykube.cache.sources.toolchain import Go
    from ohmykube.cache.store import Store
    from ohmykube.progress import Reporter

MODULE_SECONDS = 1200.0
"""Limit for the download of one module; the go client has none of its own."""
BUILD_SECONDS = 2 * 3600.0
_EDIT_SECONDS = 60.0
_SAY_SECONDS = 5.0
_DATA = Path(catalog.__file__).parent / "data"
_MAJOR = re.compile(r"v[0-9]+")


class Builder:
    """Builds recipes into a store; safe to use from several threads."""

    def __init__(
        self, store: Store, reporter: Reporter, *, slots: BuildSlots | None = None
    ) -> None:
        self._store = store
        self._reporter = reporter
        self._slots = slots or BuildSlots()
        self._work = store.root / "build"
        self._guard = threading.Lock()
        self._said: set[str] = set()

    def binaries(self, recipe: Recipe, arch: str) -> dict[str, Path]:
        """Return the recipe's binaries by name, built now or before.

        Raises:
            NetworkError: a module cannot be fetched.
            PrerequisiteError: a program or a library is missing on this host.
            IntegrityError: a sum or a digest is not what the catalog says.
            ResourceError: no space or memory left.
        """
        if (found := self._built(recipe, arch)) is not None:
            return found
        key = _identity(recipe)
        self._say_waiting(recipe, key)
        with self._store.holding(f"{recipe.name} {key}"):
            if (found := self._built(recipe, arch)) is not None:
                return found
            memory = recipe.memory_gib if isinstance(recipe, catalog.GoRecipe) else 0.1
            with self._slots.reserve(memory), item(self._reporter, recipe.name, "building"):
                self._build(recipe, arch, key)
        found = self._built(recipe, arch)
        if found is None:  # pragma: no cover - somebody emptied the cache under us
            raise IntegrityError("the cache lost what was just built", hint="ohmykube up")
        return found

    def _say_waiting(self, recipe: Recipe, key: str) -> None:
        """Tell once that a recipe has its turn later: after others, or after another run."""
        with self._guard:
            if key in self._said:
                return
            self._said.add(key)
        self._reporter.emit(ItemProgress(item=recipe.name, activity="waiting for its turn"))

    def built(self, recipe: Recipe, arch: str) -> bool:
        """Tell whether the binaries are in the store already; starts nothing."""
        return self._built(recipe, arch) is not None

    def _built(self, recipe: Recipe, arch: str) -> dict[str, Path] | None:
        found = {}
        url = f"recipe:{_identity(recipe)}"
        for name in _names(recipe):
            ref = self._store.ref(Kind.BINARY, name, recipe.version, arch)
            if ref is None or ref.url != url:
                return None
            found[name] = self._store.path(ref.digest)
        return found

    def _build(self, recipe: Recipe, arch: str, key: str) -> None:
        files.ensure_directory(self._work)
        self._sweep(key)
        with files.explained(self._work):
            directory = Path(tempfile.mkdtemp(prefix=f"{key}-", dir=self._work))
        try:
            if isinstance(recipe, catalog.GoRecipe):
                name = GoModule(recipe, directory, self._reporter).build(arch)
            else:
                name = _compile_c(recipe, directory)
            self._keep(recipe, arch, directory, name)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _sweep(self, key: str) -> None:
        # Only the holder of this recipe's lock gets here: older directories are of dead runs.
        for leftover in self._work.glob(f"{key}-*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _keep(self, recipe: Recipe, arch: str, directory: Path, toolchain_name: str) -> None:
        known = recipe.expect.get(toolchain_name)
        outputs = {name: directory / "out" / _output(recipe, name) for name in _names(recipe)}
        found = {name: digest.of_file(path) for name, path in outputs.items()}
        if known is None:
            self._reporter.emit(
                Message(
                    level="debug",
                    text=f"{recipe.name}: no digests are known for {toolchain_name}, so what was "
                    "built was not compared; every module was checked by its sum",
                )
            )
        for name, expected in (known or {}).items():
            if found[name] != expected:
                raise IntegrityError(
                    f"{name} of {recipe.name} did not come out as it should",
                    why=f"expected {expected}\nfound    {found[name]}\nwith {toolchain_name}",
                    hint="go clean -cache, then run the same command again",
                    id="OMK-I-203",
                )
        url = f"recipe:{_identity(recipe)}"
        for name, path in outputs.items():
            stored, size = self._store.adopt(path, expected=found[name])
            self._store.set_ref(
                Ref(
                    kind=Kind.BINARY,
                    name=name,
                    version=recipe.version,
                    arch=arch,
                    digest=stored,
                    size=size,
                    source="build",
                    url=url,
                    upstream_sum=_module_sum(recipe),
                )
            )


def _module_sum(recipe: Recipe) -> str:
    """Return the sum of the module and who vouches for it; empty for a source of our own."""
    if not isinstance(recipe, catalog.GoRecipe):
        return ""
    database = toolchain.go().sum_database
    vouching = "the catalog alone" if database == "off" else database
    return f"{recipe.name} {recipe.sum} ({vouching})"


def _identity(recipe: Recipe) -> str:
    return catalog.key(recipe, built=True)


def _names(recipe: Recipe) -> tuple[str, ...]:
    if isinstance(recipe, catalog.GoRecipe):
        return tuple(recipe.packages)
    return (recipe.binary,)


def _output(recipe: Recipe, name: str) -> str:
    """Return the file name that ``go build -o DIRECTORY/`` gives to a binary."""
    if not isinstance(recipe, catalog.GoRecipe):
        return name
    parts = recipe.packages[name].split("/")
    return parts[-2] if _MAJOR.fullmatch(parts[-1]) else parts[-1]


def _compile_c(recipe: CRecipe, directory: Path) -> str:
    name = toolchain.c_compiler()
    (directory / "out").mkdir()
    argv = ["gcc", "-static", "-Os", "-s", "-Wall", "-Werror", "-Wl,--build-id=none"]
    argv += ["-o", f"out/{recipe.binary}", recipe.source]
    shutil.copyfile(_DATA / recipe.source, directory / recipe.source)
    try:
        process.run(argv, timeout=_EDIT_SECONDS, cwd=directory, env=toolchain.environment())
    except process.CommandFailed as error:
        raise build_failure(recipe.name, error.result.stderr, timed_out=error.timed_out) from error
    return name


class GoModule:
    """A throw-away module in ``directory`` that requires exactly the module of a recipe."""

    def __init__(self, recipe: GoRecipe, directory: Path, reporter: Reporter) -> None:
        self._recipe = recipe
        self._directory = directory
        self._reporter = reporter
        self._clock = SystemClock()
        self._said = float("-inf")

    def build(self, arch: str) -> str:
        """Build all packages into ``directory``/out and return the name of the toolchain."""
        recipe = self._recipe
        go = toolchain.go_for(recipe)
        if arch != go.arch:
            raise PrerequisiteError(
                f"{recipe.name} can be built for {go.arch} only on this machine",
                why=f"the cluster's nodes are {arch}",
                hint="add `upstream` or a mirror to the sources in the cluster file",
                id="OMK-I-204",
            )
        name = toolchain.identity(recipe, go)
        release = ".".join(str(part) for part in toolchain.numbers(go.version))
        (self._directory / "go.mod").write_text(f"module ohmykube.build/node\n\ngo {release}\n")
        module = self._download(go)
        self._require(go, module)
        (self._directory / "out").mkdir()
        argv = ["build", "-mod=mod", "-trimpath", "-buildvcs=false", "-v"]
        argv += ["-tags", recipe.tags, "-ldflags", f"-s -w {recipe.ldflags}".strip(), "-o", "out/"]
        self._go(go, [*argv, *recipe.packages.values()], BUILD_SECONDS, self._say)
        return name

    def _download(self, go: Go) -> dict[str, Any]:
        recipe = self._recipe
        answer = self._go(go, ["mod", "download", "-json", recipe.name], MODULE_SECONDS)
        module: dict[str, Any] = json.loads(answer)
        if module.get("Sum") != recipe.sum:
            raise IntegrityError(
                f"the module {recipe.name} is not the one that was reviewed",
                why=f"expected {recipe.sum}\nfound    {module.get('Sum')}",
                hint="go env GOPROXY GOSUMDB  (which proxy gave it?)",
                id="OMK-I-205",
            )
        return module

    def _require(self, go: Go, module: Mapping[str, Any]) -> None:
        described = self._go(go, ["mod", "edit", "-json", str(module["GoMod"])], _EDIT_SECONDS)
        theirs = json.loads(described)
        edits = [f"-require={self._recipe.name}"]
        # A main module's go.mod decides these, and the main module here is ours.
        edits += [f"-godebug={d['Key']}={d['Value']}" for d in theirs.get("Godebug") or ()]
        if self._recipe.staging:
            edits += [
                f"-replace={r['Path']}={r['Path']}@{self._recipe.staging}"
                for r in theirs.get("Require") or ()
                if r["Version"] == "v0.0.0"
            ]
        self._go(go, ["mod", "edit", *edits], _EDIT_SECONDS)

    def _go(
        self,
        go: Go,
        arguments: Sequence[str],
        seconds: float,
        on_line: Callable[[str], None] | None = None,
    ) -> str:
        # A build must not outlive a run that was killed: the next one would build beside it.
        ending = ["setpriv", "--pdeathsig", "TERM", "--"] if process.which("setpriv") else []
        argv = [*ending, go.program, *arguments]
        env = {**go.env, "CGO_ENABLED": "1" if self._recipe.cgo else "0"}
        try:
            if on_line is None:
                return process.run(argv, timeout=seconds, env=env, cwd=self._directory).stdout
            process.stream(argv, on_line, timeout=seconds, env=env, cwd=self._directory)
        except process.CommandFailed as error:
            output = f"{error.result.stdout}\n{error.result.stderr}"
            raise build_failure(self._recipe.name, output, timed_out=error.timed_out) from error
        return ""

    def _say(self, line: str) -> None:
        """Pass a sign of life on, at most one in ``_SAY_SECONDS``."""
        now = self._clock.now()
        if now - self._said < _SAY_SECONDS or not line.strip():
            return
        self._said = now
        fetching = line.startswith("go: downloading ")
        what = line.removeprefix("go: downloading ").strip()
        activity = f"fetching {what}" if fetching else f"compiling {what}"
        self._reporter.emit(ItemProgress(item=self._recipe.name, activity=activity))
