"""ohmykube's own distributions: the collection as Galaxy takes it, and the wheel.

Both come out the same, byte for byte, from the same files.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import yaml

from ohmykube.cache.store import Ref
from ohmykube.errors import PrerequisiteError
from ohmykube.kit import digest as digests
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ohmykube.cache.store import Store

ANY = "noarch"
"""The architecture of what runs everywhere."""
_TREE = ("README.md", "LICENSE", "LICENSES", "meta", "playbooks", "plugins", "roles")
"""What of the collection's directory is in it; the wheel carries no more."""
_INFO = (
    "namespace", "name", "version", "authors", "readme", "tags", "description", "license",
    "license_file", "dependencies", "repository", "documentation", "homepage", "issues",
)  # fmt: skip
_EPOCH = (1980, 1, 1, 0, 0, 0)
_NOT_SHIPPED = frozenset({"INSTALLER", "RECORD", "REQUESTED", "direct_url.json"})


# -- collection ----------------------------------------------------------------------------------


def collection(root: Path) -> tuple[str, str, bytes]:
    """Return file name, version and bytes of the collection's archive.

    Args:
        root: the collection's directory, which has a ``galaxy.yml``.

    Raises:
        PrerequisiteError: it is not there, as in a broken installation.
    """
    try:
        facts = yaml.safe_load((root / "galaxy.yml").read_text())
    except (OSError, yaml.YAMLError) as error:
        raise PrerequisiteError(
            "the collection ohmykube.cluster is not where it should be",
            why=str(error),
            hint="install ohmykube again",
            id="OMK-I-450",
        ) from error
    found = {str(path.relative_to(root)): path for path in sorted(_shipped(root))}
    listed = json.dumps(_files(found), indent=4, sort_keys=True).encode()
    manifest = json.dumps(_manifest(facts, listed), indent=4, sort_keys=True).encode()
    name = f"{facts['namespace']}-{facts['name']}-{facts['version']}.tar.gz"
    sink = io.BytesIO()
    with (
        gzip.GzipFile("", "wb", 9, sink, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for member, data in (("MANIFEST.json", manifest), ("FILES.json", listed)):
            _add(archive, member, io.BytesIO(data), len(data), 0o644)
        for member, path in found.items():
            if path.is_dir():
                info = tarfile.TarInfo(member)
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            else:
                mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
                with path.open("rb") as stream:
                    _add(archive, member, stream, path.stat().st_size, mode)
    return name, str(facts["version"]), sink.getvalue()


def _shipped(root: Path) -> Iterable[Path]:
    for top in _TREE:
        path = root / top
        if path.exists():
            yield path
        for below in path.rglob("*") if path.is_dir() else ():
            if "__pycache__" not in below.parts and (below.is_file() or below.is_dir()):
                yield below


def _files(found: Mapping[str, Path]) -> dict[str, Any]:
    entries = [_entry(".", None)]
    entries += [_entry(name, None if path.is_dir() else path) for name, path in found.items()]
    return {"files": entries, "format": 1}


def _entry(name: str, path: Path | None) -> dict[str, Any]:
    sum_ = digests.of_file(path).removeprefix("sha256:") if path else None
    return {
        "name": name,
        "ftype": "file" if path else "dir",
        "chksum_type": "sha256" if path else None,
        "chksum_sha256": sum_,
        "format": 1,
    }


def _manifest(facts: Mapping[str, Any], listed: bytes) -> dict[str, Any]:
    return {
        "collection_info": {name: facts.get(name) for name in _INFO},
        "file_manifest_file": {
            "name": "FILES.json",
            "ftype": "file",
            "chksum_type": "sha256",
            "chksum_sha256": hashlib.sha256(listed).hexdigest(),
            "format": 1,
        },
        "format": 1,
    }


def _add(archive: tarfile.TarFile, name: str, stream: IO[bytes], size: int, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, mode
    archive.addfile(info, stream)


# -- wheel ---------------------------------------------------------------------------------------


def wheel(name: str = "ohmykube") -> tuple[str, str, bytes] | str:
    """Return file name, version and bytes of an installed distribution's wheel, or why not.

    It is put together from the files that the installation's own record lists, each compared with
    its digest there. An editable installation has no such files.
    """
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return f"the wheel: {name} is not installed, it runs from a directory"
    text = found.read_text("WHEEL") or ""
    tags = [line.removeprefix("Tag: ") for line in text.splitlines() if line.startswith("Tag: ")]
    recorded = dict(_recorded(found))
    content = {path: data for path, data in recorded.items() if data is not None}
    wrong = sorted(set(recorded) - set(content))
    if wrong:
        return f"the wheel: {len(wrong)} installed files were changed, such as {wrong[0]}"
    if not any(path.endswith("/__init__.py") for path in content) or len(tags) != 1:
        return "the wheel: this is an editable installation, which has none"
    info = next(path.split("/")[0] for path in content if path.endswith(".dist-info/METADATA"))
    content[f"{info}/RECORD"] = _record(content, f"{info}/RECORD")
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(content, key=lambda p: (p.startswith(info), p)):
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content[path])
    file = f"{info.removesuffix('.dist-info')}-{tags[0]}.whl"
    return file, found.version, sink.getvalue()


def _recorded(found: metadata.Distribution) -> Iterable[tuple[str, bytes | None]]:
    """Give what a wheel of it holds: path and bytes, None where they are not the recorded ones."""
    for path in found.files or ():
        parts = path.parts
        if ".." in parts or path.is_absolute() or "__pycache__" in parts:
            continue  # programs that the installer made, and caches
        if parts[0].endswith(".dist-info") and parts[-1] in _NOT_SHIPPED:
            continue
        file = Path(str(path.locate()))
        data = file.read_bytes() if file.is_file() else None
        sum_ = path.hash.value if path.hash else None
        yield str(path), data if data is not None and sum_ in (None, _sum(data)) else None


def _sum(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _record(content: Mapping[str, bytes], own: str) -> bytes:
    lines = [f"{path},sha256={_sum(data)},{len(data)}\n" for path, data in sorted(content.items())]
    return ("".join(lines) + f"{own},,\n").encode()


# -- both ----------------------------------------------------------------------------------------


def stored(store: Store, made: tuple[str, str, bytes]) -> Ref:
    """Put such a file into the store; return its reference."""
    name, version, data = made
    digest = store.put_bytes(data)
    ref = Ref(
        kind=Kind.FILE,
        name=name,
        version=version,
        arch=ANY,
        digest=digest,
        size=len(data),
        source="host",
    )
    store.set_ref(ref)
    return ref
