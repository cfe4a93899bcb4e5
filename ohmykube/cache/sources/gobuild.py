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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.cache import catalog
from ohmykube.cache.sources import go_mod, module_zip, toolchain
from ohmykube.cache.sources.build_errors import build_failure
from ohmykube.cache.sources.build_slots import BuildSlots
from ohmykube.cache.sources.go_command import GoCommand
from ohmykube.cache.store import Ref
from ohmykube.errors import IntegrityError, PrerequisiteError
from ohmykube.kit import digest, files, process
from ohmykube.kit.retry import SystemClock
from ohmykube.model.artifact import Kind
from ohmykube.progress import ItemProgress, Message, item

if TYPE_CHECKING:
    from ohmykube.cache.catalog import CRecipe, GoRecipe, Recipe
    from ohmykube.cache.sources.go_command import Module
    from ohmykube.cache.sources.go_mod import BuildModule
    from ohmykube.cache.store import Store
    from ohmykube.progress import Reporter

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
        for name in recipe.binaries:
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
        outputs = {name: directory / "out" / _output(recipe, name) for name in recipe.binaries}
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
    return toolchain.vouching(recipe.name, recipe.sum, toolchain.go())


def _identity(recipe: Recipe) -> str:
    return catalog.key(recipe, built=True)


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
        command = GoCommand(go=go, name=recipe.name, directory=self._directory, cgo=recipe.cgo)
        main = self._main_module(command)
        (self._directory / "out").mkdir()
        # With all sums at hand the go client must find all versions named, and choose none.
        argv = ["build", f"-mod={'readonly' if main.complete else 'mod'}"]
        argv += ["-trimpath", "-buildvcs=false", "-v"]
        argv += ["-tags", recipe.tags, "-ldflags", f"-s -w {recipe.ldflags}".strip(), "-o", "out/"]
        command.run([*argv, *recipe.packages.values()], BUILD_SECONDS, self._say)
        return name

    def _main_module(self, command: GoCommand) -> BuildModule:
        """Write go.mod, and go.sum where the component's own one counts."""
        module = command.download(self._recipe.sum)
        described = command.run(["mod", "edit", "-json", str(module.go_mod)], _EDIT_SECONDS)
        release = ".".join(str(part) for part in toolchain.numbers(command.go.version))
        main = go_mod.build_module(self._recipe, json.loads(described), release)
        files.write(self._directory / "go.mod", main.go_mod)
        if not main.own_versions:
            return main
        sums = self._own_sums(module)
        files.write(self._directory / "go.sum", sums)
        return main if sums else replace(main, complete=False)

    def _own_sums(self, module: Module) -> bytes:
        """Return the component's go.sum with lines for itself; empty where it has none.

        It comes out of the zip, so the sum in the catalog vouches for every sum in it.
        """
        recipe = self._recipe
        with module_zip.verified(module.zip, recipe.name, recipe.sum) as content:
            theirs, sums = content.file("go.mod"), content.file("go.sum")
        if theirs is None or theirs != module.go_mod.read_bytes():
            raise IntegrityError(
                f"the go.mod of {recipe.name} is not the one in the module",
                why=f"{module.go_mod} is what the module proxy gave beside {module.zip.name}",
                hint="go env GOPROXY GOSUMDB  (which proxy gave it?)",
                id="OMK-I-205",
            )
        if not sums:
            return b""
        own = module_zip.file_sum("go.mod", theirs)
        lines = f"{recipe.module} {recipe.version} {recipe.sum}\n"
        lines += f"{recipe.module} {recipe.version}/go.mod {own}\n"
        return sums.rstrip() + b"\n" + lines.encode()

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
