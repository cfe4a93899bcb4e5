"""A mirror: the same files and images below one base URL or in one directory.

https://host[/path]   files at   <base>/<host>/<path>, such as <base>/dl.k8s.io/release/…
                      images at  <scheme>://<host>/v2/[<path>/]<registry>/<name>/…
/absolute/directory   files at   <directory>/<host>/<path>
                      images in  <directory>/oci, an OCI layout whose index.json has the full
                      reference in the annotation org.opencontainers.image.ref.name
"""

from __future__ import annotations

import contextlib
import json
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.cache import manifest, signatures, transport
from ohmykube.cache.catalog import Download
from ohmykube.cache.manifest import Index, Manifest
from ohmykube.cache.registry_client import Reference, Repository
from ohmykube.cache.sources.fetch_source import FetchSource
from ohmykube.errors import IntegrityError, NetworkError
from ohmykube.kit import digest as digests
from ohmykube.kit import shell
from ohmykube.progress import Message

if TYPE_CHECKING:
    from ohmykube.cache.catalog import ImageSpec, ModuleFile

REF_NAME = "org.opencontainers.image.ref.name"


class MirrorSource(FetchSource):
    """Serves what ``sources.mirror`` of the cluster names."""

    name = "mirror"

    @property
    def base(self) -> str:
        """URL or directory, without a slash at the end; raises NetworkError when none is set."""
        if not self.context.sources.mirror:
            raise NetworkError(
                "no mirror is set",
                hint="set sources.mirror in the cluster file, or use --mirror URL",
                id="OMK-I-246",
            )
        return self.context.sources.mirror.rstrip("/")

    @property
    def directory(self) -> Path | None:
        """The mirror, when it is a directory."""
        mirror = self.context.sources.mirror or ""
        return Path(mirror) if mirror.startswith("/") else None

    def available(self) -> None:
        """Look at the directory, or ask the server."""
        base = self.base
        if self.directory is None:
            self.transport.probe(f"{base}/")
            if base.startswith("http://"):
                self._warn(
                    f"the mirror {transport.shown(base)} is not https: images are taken on trust"
                )
        elif not self.directory.is_dir():
            raise NetworkError(
                f"the mirror {self.directory} is not there",
                why="no such directory",
                hint=f"ls -ld {shell.word(self.directory)}",
                id="OMK-I-246",
            )

    def file(self, download: Download) -> Path:
        """Fetch or copy a release file; its digest comes from the catalog or from beside it."""
        parts = urllib.parse.urlsplit(download.url)
        place = f"{parts.netloc}{parts.path}"
        if self.directory is None:
            url = f"{self.base}/{place}"
            digest = download.digest or self.downloader.published_digest(url)
            return self.downloader.fetch(url, digest)
        path = self.directory / place
        digest = download.digest or self._digest_beside(path)
        store = self.context.store
        with store.holding(digest):
            if not store.has(digest):
                if not path.is_file():
                    raise self.missing(str(path))
                store.put_file(path, expected=digest)
        return store.path(digest)

    def module_file(self, file: ModuleFile) -> Path:
        """Fetch or copy what another host took out of a Go module; raises as ``component``."""
        return self.file(Download(url=file.url, digest=file.digest))

    def sidecar(self, url: str) -> bytes | None:
        """Read what the mirror has of the small files that lie beside a release file."""
        parts = urllib.parse.urlsplit(url)
        place = f"{parts.netloc}{parts.path}"
        if self.directory is None:
            return super().sidecar(f"{self.base}/{place}")
        path = self.directory / place
        if not path.is_file() or path.stat().st_size > signatures.PART_BYTES:
            return None
        return path.read_bytes()

    def repository(self, reference: Reference) -> Repository:
        """Return the place below the mirror's host that is named like the upstream registry."""
        parts = urllib.parse.urlsplit(self.base)
        prefix = parts.path.strip("/")
        name = f"{reference.registry}/{reference.name}"
        return Repository(
            f"{parts.scheme}://{parts.netloc}", f"{prefix}/{name}" if prefix else name
        )

    def image(self, image: ImageSpec, arch: str) -> str:
        """Pull an image, or copy it from the directory's OCI layout."""
        if self.directory is None:
            return super().image(image, arch)
        return _Layout(self, self.directory / "oci").copy(image, arch)

    def _digest_beside(self, path: Path) -> str:
        sums = path.with_name(f"{path.name}.sha256")
        text = sums.read_text(errors="replace")[:200].strip() if sums.is_file() else ""
        digest = f"sha256:{text[:64].lower()}"
        if not digests.is_digest(digest):
            raise self.missing(str(sums))
        return digest

    def missing(self, what: str) -> NetworkError:
        return NetworkError(
            f"the mirror does not have {what}",
            hint=f"ls {shell.word(Path(what).parent)}",
            id="OMK-I-247",
        )

    def _warn(self, text: str) -> None:
        self.context.reporter.emit(Message(level="warning", text=text))


class _Layout:
    """An OCI image layout that somebody else wrote."""

    def __init__(self, source: MirrorSource, root: Path) -> None:
        self._source = source
        self._store = source.context.store
        self._root = root

    def copy(self, image: ImageSpec, arch: str) -> str:
        digest = image.digests.get(arch) or self._find(image.ref, arch)
        data = self._document(digest)
        parsed = manifest.parse(data, image.ref)
        if isinstance(parsed, Index):
            entry = parsed.only(arch)
            if entry is None:
                raise self._source.missing(f"{image.ref} for {arch}")
            digest = entry.digest
            data = self._document(digest)
            parsed = manifest.parse(data, image.ref)
        if not isinstance(parsed, Manifest):
            raise self._source.missing(f"{image.ref} for {arch}")
        with self._store.using():
            for blob in parsed.blobs:
                if not self._store.has(blob.digest):
                    self._store.put_file(self._blob(blob.digest), expected=blob.digest)
            return self._store.put_bytes(data, expected=digest)

    def _find(self, ref: str, arch: str) -> str:
        entries: list[dict[str, object]] = []
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            entries = list(json.loads((self._root / "index.json").read_bytes())["manifests"])
        for entry in entries:
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                parsed = manifest.Descriptor.model_validate(entry)
                platform = parsed.platform
                fits = platform is None or platform.architecture in ("", arch)
                if parsed.annotations.get(REF_NAME) == ref and fits:
                    return parsed.digest
        raise self._source.missing(f"{ref} in {self._root / 'index.json'}")

    def _blob(self, digest: str) -> Path:
        path = self._root / "blobs" / "sha256" / digest.removeprefix("sha256:")
        if not path.is_file():
            raise self._source.missing(str(path))
        return path

    def _document(self, digest: str) -> bytes:
        path = self._blob(digest)
        data = path.read_bytes() if path.stat().st_size <= manifest.MAX_BYTES else b""
        found = digests.of_bytes(data)
        if found != digest:
            raise IntegrityError(
                f"{path} is damaged",
                why=f"it hashes to {found}",
                hint="copy the mirror anew",
                id="OMK-I-248",
            )
        return data
