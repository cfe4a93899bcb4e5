"""An image layer of Debian packages: the programs and their libraries, nothing else.

The packages are unpacked, not installed: no script of theirs runs, no shell, dpkg or Perl comes
along, and the links that their scripts would make are made here. The layer lies on every node, so
its size counts more than the comfort of a whole system in it.
"""

from __future__ import annotations

import os
import re
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ohmykube.cache import catalog, oci
from ohmykube.cache.store import Ref
from ohmykube.errors import NetworkError, PrerequisiteError
from ohmykube.kit import failures, process
from ohmykube.model.artifact import Kind
from ohmykube.progress import item

if TYPE_CHECKING:
    from collections.abc import Collection

    from ohmykube.cache.catalog import DebianLayer
    from ohmykube.cache.store import Store
    from ohmykube.progress import Reporter

PACKAGES = ("mmdebstrap", "debian-archive-keyring")
REVISION = 1
"""To be raised when the rules below change, or old layers stay in use."""
SECONDS = 900.0
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_WANTED = re.compile(
    r"usr/s?bin/.+"
    r"|usr/lib/[a-z0-9_]+-linux-gnu/.+"
    r"|usr/lib(64)?/ld-linux-[^/]+"
    r"|etc/(ethertypes|protocols|services|rpc)"
)
_UNWANTED = re.compile(
    r"/(audit|engines-3|gconv|ossl-modules|pkgconfig)/"
    r"|/lib(mvec|memusage|pcprofile|thread_db|BrokenLocale|tic)[.-]"
)
_XTABLES = "/usr/sbin/xtables-nft-multi"
_LINKS = {
    **{
        f"usr/sbin/{family}{action}": _XTABLES
        for family in ("iptables", "ip6tables")
        for action in ("", "-save", "-restore")
    },
    **{f"usr/bin/{name}": "/usr/bin/busybox" for name in ("cat", "cp", "ls", "sh")},
}
_OFFLINE = ("Could not connect", "Could not resolve", "Temporary failure", "Failed to fetch")


def make(recipe: DebianLayer, arch: str, store: Store, reporter: Reporter) -> oci.Layer:
    """Return the layer, made now or before.

    Raises:
        PrerequisiteError: mmdebstrap is missing or cannot work here.
        NetworkError: the Debian mirror cannot be reached.
    """
    url = f"recipe:{catalog.key(recipe, str(REVISION), built=True)}"
    if (found := _made(recipe, arch, store, url)) is not None:
        return found
    name = _name(recipe)
    with store.holding(f"{name} {recipe.suite} {arch} {url}"):
        if (found := _made(recipe, arch, store, url)) is not None:
            return found
        with item(reporter, f"{name} layer", "unpacking Debian packages"):
            layer = oci.layer(store, _entries(_unpacked(recipe, arch, store)))
        digest, size = layer.descriptor.digest, layer.descriptor.size
        store.set_ref(
            Ref(Kind.BINARY, name, recipe.suite, arch, digest, size, "build", url, layer.diff_id)
        )
    return layer


def made(recipe: DebianLayer, arch: str, store: Store) -> bool:
    """Tell whether the layer is in the store already; starts nothing."""
    url = f"recipe:{catalog.key(recipe, str(REVISION), built=True)}"
    return _made(recipe, arch, store, url) is not None


def _made(recipe: DebianLayer, arch: str, store: Store, url: str) -> oci.Layer | None:
    ref = store.ref(Kind.BINARY, _name(recipe), recipe.suite, arch)
    if ref is None or ref.url != url:
        return None
    return oci.Layer(oci.StoredBlob(oci.LAYER, ref.digest, ref.size), ref.content_digest)


def _name(recipe: DebianLayer) -> str:
    return f"debian-{recipe.name}"


def _unpacked(recipe: DebianLayer, arch: str, store: Store) -> dict[str, oci.Entry]:
    if process.which("mmdebstrap") is None:
        raise PrerequisiteError(
            "`mmdebstrap` is not installed, so images cannot be assembled",
            why=f"Debian packages: {' '.join(PACKAGES)}",
            hint="ohmykube doctor --fix",
            id="OMK-I-211",
        )
    descriptor, name = tempfile.mkstemp(prefix="layer-", dir=store.ingest)
    archive = Path(name)
    argv = ["mmdebstrap", "--variant=extract", "--format=tar", f"--architectures={arch}"]
    argv += [f"--include={','.join(recipe.packages)}", recipe.suite]
    env = {**os.environ, "SOURCE_DATE_EPOCH": "0", "LC_ALL": "C"}
    with failures.closing(lambda: archive.unlink(missing_ok=True)):
        try:
            with os.fdopen(descriptor, "wb") as target:
                process.run(argv, timeout=SECONDS, stdout=target, env=env)
            return _read(archive, recipe.keep)
        except process.CommandFailed as error:
            raise _failure(error) from error


def _failure(error: process.CommandFailed) -> NetworkError | PrerequisiteError:
    said = error.result.stderr
    if error.timed_out or any(words in said for words in _OFFLINE):
        return NetworkError(
            "the Debian mirror cannot be reached",
            why=process.tail(said),
            hint="run the same command again once it can be reached",
            id="OMK-I-212",
        )
    return PrerequisiteError(
        "mmdebstrap cannot unpack packages on this host",
        why=process.tail(said),
        hint="ohmykube doctor --fix",
        id="OMK-I-211",
    )


def place(name: str, keep: Collection[str] = ()) -> str | None:
    """Return where an archive member belongs in the layer, or None when it is not wanted.

    Args:
        name: of the member.
        keep: places that are wanted although they are of no kind that is.
    """
    path = PurePosixPath(name.removeprefix("./")).as_posix()
    if path.split("/")[0] in _MERGED:
        path = f"usr/{path}"
    wanted = _WANTED.fullmatch(path) and not _UNWANTED.search(path)
    return path if wanted or path in keep else None


def _read(archive: Path, keep: Collection[str]) -> dict[str, oci.Entry]:
    found: dict[str, oci.Entry] = {}
    with tarfile.open(archive) as source:
        for member in source:
            target = place(member.name, keep)
            if target is None or member.isdir() or member.isdev():
                continue
            if member.issym():
                found[target] = oci.Entry(link=member.linkname)
            elif (stream := source.extractfile(member)) is not None:
                found[target] = oci.Entry(mode=member.mode & 0o755, data=stream.read())
    return found


def _entries(unpacked: dict[str, oci.Entry]) -> dict[str, oci.Entry]:
    """Add what maintainer scripts would have made: links for merged /usr and alternatives."""
    links = {name: target for name, target in _LINKS.items() if target.strip("/") in unpacked}
    entries = unpacked | {name: oci.Entry(link=target) for name, target in links.items()}
    tops = {name.split("/")[1] for name in entries if name.startswith("usr/")}
    entries |= {top: oci.Entry(link=f"usr/{top}") for top in _MERGED if top in tops}
    return entries | {"run": oci.Entry(), "tmp": oci.Entry(mode=0o1777)}
