"""A directory that the go client takes for a module proxy, with modules made on the spot."""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Files = dict[str, str]


def h1(hashes: Mapping[str, bytes]) -> str:
    """Return the sum of files as go.sum has it; named independently of the product."""
    state = hashlib.sha256()
    for name in sorted(hashes):
        state.update(f"{hashlib.sha256(hashes[name]).hexdigest()}  {name}\n".encode())
    return "h1:" + base64.b64encode(state.digest()).decode()


def zip_module(target: Path, module: str, version: str, files: Files) -> str:
    """Write the zip of a module and return its sum."""
    content = {f"{module}@{version}/{name}": text.encode() for name, text in files.items()}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return h1(content)


class ModuleProxy:
    """Modules below ``directory``, in the layout of https://go.dev/ref/mod#goproxy-protocol."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.url = f"file://{directory}"

    def publish(self, module: str, version: str, files: Files, *, go_mod: str = "") -> str:
        """Add a module and return its sum; ``go_mod`` is given beside a zip that has another."""
        place = self.directory / module / "@v"
        place.mkdir(parents=True, exist_ok=True)
        files = {"go.mod": f"module {module}\n\ngo 1.16\n"} | files
        facts = {"Version": version, "Time": "2026-01-01T00:00:00Z"}
        (place / f"{version}.info").write_text(json.dumps(facts))
        (place / f"{version}.mod").write_text(go_mod or files["go.mod"])
        with (place / "list").open("a") as known:
            known.write(f"{version}\n")
        return zip_module(place / f"{version}.zip", module, version, files)

    def sums(self, module: str, version: str) -> str:
        """Return the two lines that go.sum has for a module that was published."""
        place = self.directory / module / "@v"
        with zipfile.ZipFile(place / f"{version}.zip") as archive:
            whole = h1({name: archive.read(name) for name in archive.namelist()})
        mod = h1({"go.mod": (place / f"{version}.mod").read_bytes()})
        return f"{module} {version} {whole}\n{module} {version}/go.mod {mod}\n"
