"""The go client at work for one module: run, watched, and its complaints turned into errors."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.cache.sources.build_errors import build_failure
from ohmykube.errors import IntegrityError
from ohmykube.kit import process

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ohmykube.cache.sources.toolchain import Go

NO_MODULE = Path("/")
"""Where the go client finds no go.mod, neither there nor above."""
MODULE_SECONDS = 1200.0
"""Limit for the download of one module; the go client has none of its own."""


@dataclass(frozen=True, slots=True)
class Module:
    """A module in the go client's cache."""

    go_mod: Path
    """Its go.mod as the proxy gives it; made up for a module that has none."""
    zip: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class GoCommand:
    """Runs ``go`` in ``directory`` for a module; ``name`` is its ``path@version``."""

    go: Go
    name: str
    directory: Path = NO_MODULE
    cgo: bool = False

    def run(
        self,
        arguments: Sequence[str],
        seconds: float,
        on_line: Callable[[str], None] | None = None,
    ) -> str:
        """Return what it printed; with ``on_line`` its lines go there, and nothing is returned.

        Raises: as ``build_failure`` says.
        """
        # A build must not outlive a run that was killed: the next one would build beside it.
        argv = process.ending_with_us([self.go.program, *arguments])
        env = {**self.go.env, "CGO_ENABLED": "1" if self.cgo else "0"}
        try:
            if on_line is None:
                return process.run(argv, timeout=seconds, env=env, cwd=self.directory).stdout
            process.stream(argv, on_line, timeout=seconds, env=env, cwd=self.directory)
        except process.CommandFailed as error:
            output = f"{error.result.stdout}\n{error.result.stderr}"
            raise build_failure(self.name, output, timed_out=error.timed_out) from error
        return ""

    def download(self, expected: str) -> Module:
        """Bring the module into the go client's cache, unless it is there.

        The client compares it with the checksum database; ``expected`` is the ``h1:`` sum that the
        catalog knows.

        Raises:
            IntegrityError: it has another sum.
            NetworkError: the proxy cannot be reached or refuses it.
        """
        # Not below a directory of somebody who has a go.mod there.
        outside = replace(self, directory=NO_MODULE)
        facts = json.loads(outside.run(["mod", "download", "-json", self.name], MODULE_SECONDS))
        if facts.get("Sum") != expected:
            raise IntegrityError(
                f"the module {self.name} is not the one that was reviewed",
                why=f"expected {expected}\nfound    {facts.get('Sum')}",
                hint="go env GOPROXY GOSUMDB  (which proxy gave it?)",
                id="OMK-I-205",
            )
        return Module(go_mod=Path(facts["GoMod"]), zip=Path(facts["Zip"]))
