"""Completes dist/ for a release: release.py TAG.

Fails unless the tag is the version everywhere and the changelog has a section for it. Writes beside
the built files NOTES.md (that section), the bill of materials of the Python package as CycloneDX,
and SHA256SUMS over all of it.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tomllib
from pathlib import Path
from urllib.parse import quote

import yaml

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
NAME = "ohmykube"
NOTES = "NOTES.md"
SUMS = "SHA256SUMS"
LOCK = ROOT / "requirements" / "run.txt"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;\s*([^\\]+?))?\s*\\?$")
_VIA = re.compile(r"^ +#(?: via)? +(?!via$)(\S.*)$")


class ReleaseError(Exception):
    """Why this cannot be released."""


def versions(root: Path = ROOT) -> dict[str, str]:
    """Return the version by the file that says it."""
    package = (root / NAME / "__init__.py").read_text()
    found = re.search(r'^__version__ = "([^"]+)"$', package, re.M)
    return {
        "pyproject.toml": tomllib.loads((root / "pyproject.toml").read_text())["project"][
            "version"
        ],
        "galaxy.yml": yaml.safe_load((root / "galaxy.yml").read_text())["version"],
        f"{NAME}/__init__.py": found[1] if found else "",
    }


def files(version: str) -> tuple[str, ...]:
    """Return the names of what is built."""
    return (
        f"{NAME}-{version}-py3-none-any.whl",
        f"{NAME}-{version}.tar.gz",
        f"{NAME}-cluster-{version}.tar.gz",
    )


def check(tag: str, found: dict[str, str], there: set[str]) -> str:
    """Return the version that a tag stands for.

    Raises:
        ReleaseError: something has another version, or was not built, or should not be there.
    """
    version = tag.removeprefix("v")
    if not re.fullmatch(r"v\d+\.\d+\.\d+", tag):
        raise ReleaseError(f"{tag or 'no tag'} is not a tag such as v1.2.3")
    if others := {name: one for name, one in found.items() if one != version}:
        raise ReleaseError(f"the tag is {tag}, but the version is {others}")
    if there != set(files(version)):
        raise ReleaseError(f"dist/ has {sorted(there)}, not {sorted(files(version))}")
    return version


def notes(version: str, changelog: str) -> str:
    """Return the section of a version; raises ReleaseError if there is none."""
    mark = f'<a id="v{version.replace(".", "-")}"></a>\n'
    _, begin, rest = changelog.partition(mark)
    section = re.split(r'^<a id="v\d+-\d+-\d+"></a>$', rest, maxsplit=1, flags=re.M)[0]
    if not begin or not section.strip():
        raise ReleaseError(f"CHANGELOG.md has no section for {version}: make changelog")
    # The title is the release's own.
    return re.sub(r"\A## .*\n+", "", section).strip() + "\n"


def locked(lock: str) -> dict[str, list[tuple[str, str]]]:
    """Return what the package needs when it is installed: name to versions with their markers.

    The lock also has what building needs; ``via`` lines tell one from the other.
    """
    pins: dict[str, list[tuple[str, str]]] = {}
    wanted_by: dict[str, set[str]] = {}
    name = ""
    for line in lock.splitlines():
        if pin := _PIN.match(line):
            name = pin[1].lower()
            pins.setdefault(name, []).append((pin[2], (pin[3] or "").strip()))
            wanted_by.setdefault(name, set())
        elif name and (via := _VIA.match(line)):
            wanted_by[name].add(via[1].strip())
    needed = {one for one, users in wanted_by.items() if f"{NAME} (pyproject.toml)" in users}
    while more := {one for one, users in wanted_by.items() if users & needed} - needed:
        needed |= more
    return {one: pins[one] for one in sorted(needed)}


def sbom(version: str, lock: str, sums: dict[str, str]) -> dict[str, object]:
    """Return the bill of materials of the Python package; the same input gives the same document.

    The package asks for ranges: what is listed are the versions that this release was tested with.
    """
    itself = f"pkg:pypi/{NAME}@{version}"
    parts = []
    for name, pins in locked(lock).items():
        for pinned, marker in pins:
            part: dict[str, object] = {
                "type": "library",
                "bom-ref": f"pkg:pypi/{name}@{pinned}",
                "name": name,
                "version": pinned,
                "purl": f"pkg:pypi/{quote(name)}@{quote(pinned)}",
            }
            if marker:
                part["properties"] = [{"name": f"{NAME}:marker", "value": marker}]
            parts.append(part)
    built = [
        {
            "type": "file",
            "bom-ref": name,
            "name": name,
            "hashes": [{"alg": "SHA-256", "content": digest}],
        }
        for name, digest in sorted(sums.items())
    ]
    main: dict[str, object] = {
        "type": "application",
        "bom-ref": itself,
        "name": NAME,
        "version": version,
        "purl": itself,
        "licenses": [{"expression": "Apache-2.0 AND GPL-3.0-or-later"}],
        "components": built,
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": main},
        "components": parts,
        "dependencies": [{"ref": itself, "dependsOn": [str(part["bom-ref"]) for part in parts]}],
        # Which of the allowed versions are installed is decided where that happens.
        "compositions": [{"aggregate": "incomplete", "assemblies": [itself]}],
    }


def digests(directory: Path) -> dict[str, str]:
    """Return name to sha256 of all files of a directory."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.iterdir())
    }


def complete(tag: str, directory: Path = DIST, root: Path = ROOT) -> None:
    """Write what belongs beside the built files; raises ReleaseError."""
    extra = {NOTES, SUMS, f"{NAME}-{tag.removeprefix('v')}.cdx.json"}
    built = {path.name for path in directory.iterdir()} - extra if directory.is_dir() else set()
    version = check(tag, versions(root), built)
    text = notes(version, (root / "CHANGELOG.md").read_text())
    for name in extra:
        (directory / name).unlink(missing_ok=True)
    document = sbom(version, LOCK.read_text(), digests(directory))
    bill = directory / f"{NAME}-{version}.cdx.json"
    bill.write_text(json.dumps(document, indent=2) + "\n")
    lines = [f"{digest}  {name}\n" for name, digest in digests(directory).items()]
    (directory / SUMS).write_text("".join(lines))
    (directory / NOTES).write_text(text)


def main(arguments: list[str]) -> int:
    """Complete dist/."""
    try:
        complete(*arguments)
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:2] or [""]))
