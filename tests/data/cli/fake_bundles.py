"""The commands on bundles over one small bundle that is made in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ohmykube.cache.bundle.document import Bundle
    from ohmykube.cache.bundle.import_bundle import ImportedBundle
    from ohmykube.cache.bundle.read import Archive
    from ohmykube.cache.bundle.write import Written
    from ohmykube.workflows.bundle import Checked

DIGEST = "sha256:" + "cd" * 32
OLDER = "sha256:" + "ef" * 32


def bundle(*, since: str = "", lacks: tuple[str, ...] = ()) -> Bundle:
    """Make the list of a bundle with one package."""
    from ohmykube.cache.bundle import document

    entry = document.Entry(digest=DIGEST, size=43_000_000, kind="package", role="node")
    other = document.Entry(digest=OLDER, size=1, kind="layer", role="node")
    item = document.Item(digest=DIGEST, size=1)
    return document.Bundle(
        schema_=1,
        tool="ohmykube 0.1.0",
        name="dev",
        kubernetes="" if since else "1.36.3",
        arch="amd64",
        provider="nspawn",
        since=since,
        members={"oci-layout": item, "index.json": item, "refs.json": item},
        blobs=document.placed([entry]),
        absent=(other,) if since else (),
        components=(
            document.Component(
                kind="package", name="kubeadm", version="1.36.3", arch="amd64", digest=DIGEST
            ),
        ),
        lacks=lacks,
    )


class FakeBundles:
    """Answers like ``workflows.bundle``; the file's name says what is found in it."""

    def __init__(self, calls: list[tuple]) -> None:
        self._calls = calls

    def _archive(self, path: Path) -> Archive:
        from ohmykube.cache.bundle import parts
        from ohmykube.cache.bundle.read import Archive

        name = path.name
        pieces = ("a.001", "a.002") if "parts" in name else ("a",)
        return Archive(
            source=parts.BundleFile(
                str(path),
                tuple(
                    parts.Part(Path(p), 43_000_000, DIGEST if pieces[1:] else "") for p in pieces
                ),
            ),
            bundle=bundle(since=OLDER if "since" in name else ""),
            manifest=b"{}",
            signature=b"signature" if "signed" in name else None,
            refs=(),
            index=b"{}",
            start=4096,
        )

    def _checked(self, path: Path, *, hashed: bool, signer: str = "") -> Checked:
        from ohmykube.workflows.bundle import Checked

        found = self._archive(path)
        signed = found.signature is not None
        key = "ED25519 key SHA256:abc" if signed else ""
        return Checked(archive=found, hashed=hashed, signed=signed, signer=signer, key=key)

    def create(self, services, cluster, options) -> Written:
        self._calls.append(("bundle create", cluster.name, options))
        return self._written(options.target or Path("dev.omk.tar"), options)

    def export(self, services, names, target, form) -> Written:
        self._calls.append(("cache export", tuple(names), target, form))
        return self._written(target, form)

    def _written(self, target: Path, form) -> Written:
        from ohmykube.cache.bundle.write import Written

        lacks = ("the wheel: this is an editable installation, which has none",)
        parts = (Path(f"{target}.sha256"), Path(f"{target}.001"), Path(f"{target}.002"))
        return Written(
            paths=parts if form.split else (target,),
            size=43_010_000,
            bundle=bundle(since=OLDER if form.since else "", lacks=lacks),
            digest=DIGEST,
            signed=form.key is not None,
        )

    def inspect(self, services, path) -> Checked:
        self._calls.append(("bundle inspect", path))
        return self._checked(path, hashed=False)

    def verify(self, services, path, allowed) -> Checked:
        self._calls.append(("bundle verify", path, allowed))
        return self._checked(path, hashed=True, signer="release@test" if allowed else "")

    def import_(self, services, path, allowed) -> ImportedBundle:
        from ohmykube.cache.bundle.import_bundle import ImportedBundle

        self._calls.append(("cache import", path, allowed))
        return ImportedBundle(
            archive=self._archive(path),
            signer="release@test" if allowed else "",
            copied=1,
            copied_bytes=43_000_000,
            present=2,
        )
