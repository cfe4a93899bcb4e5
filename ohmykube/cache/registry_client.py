"""Pulls one platform of an image from a registry into the store, every blob by its digest."""

from __future__ import annotations

import contextlib
import json
import re
import urllib.parse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.cache import manifest, transport
from ohmykube.cache.manifest import Index, Manifest
from ohmykube.cache.registry_auth import Authorizer, Login
from ohmykube.errors import IntegrityError, NetworkError
from ohmykube.kit import digest as digests
from ohmykube.kit import parallel
from ohmykube.model import docker_hub
from ohmykube.progress import Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from urllib3.response import BaseHTTPResponse

    from ohmykube.cache.download import Downloader

AT_ONCE = 4
_CONFIG_BYTES = 4 << 20
_REFERENCE = re.compile(
    r"(?P<registry>[a-z0-9][a-z0-9.-]*(?::[0-9]{1,5})?)/(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A full image reference, taken apart."""

    registry: str
    name: str
    tag: str = "latest"
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Return the parts of ``registry/name[:tag][@digest]``; raises ValueError."""
        found = _REFERENCE.fullmatch(text)
        if found is None:
            raise ValueError(f"not a full image reference: {text!r}")
        return cls(
            found["registry"], found["name"], found["tag"] or "latest", found["digest"] or ""
        )


@dataclass(frozen=True, slots=True)
class Repository:
    """Where a repository's API is: ``<endpoint>/v2/<name>/…``."""

    endpoint: str
    """``https://registry.k8s.io``, without a slash at the end."""
    name: str

    @classmethod
    def upstream(cls, reference: Reference) -> Repository:
        """Return the repository that the reference names."""
        return cls(f"https://{docker_hub.host_of(reference.registry)}", reference.name)

    @classmethod
    def below(cls, url: str, reference: Reference) -> Repository:
        """Return the repository of the same name on a mirror; a path in ``url`` comes before it."""
        parts = urllib.parse.urlsplit(url)
        prefix = parts.path.strip("/")
        name = f"{prefix}/{reference.name}" if prefix else reference.name
        return cls(f"{parts.scheme}://{parts.netloc}", name)


Route = Callable[[Reference, Iterable[str]], Sequence[Repository]]
"""Gives the places at which an image is asked for, in this order, with URLs that come first."""


def straight(reference: Reference, first: Iterable[str] = ()) -> Sequence[Repository]:
    """Return the mirrors that were given, and the registry that the reference names."""
    return (*(Repository.below(url, reference) for url in first), Repository.upstream(reference))


class RegistryClient:
    """Pulls from registries, anonymously or with a login.

    Args:
        downloader: brings blobs.
        docker_config: where the user's logins are; by default where docker keeps them.
        route: where images are asked for.
        logins: by ``host[:port]``, in the place of the user's own.
    """

    def __init__(
        self,
        downloader: Downloader,
        docker_config: Path | None = None,
        *,
        route: Route = straight,
        logins: Mapping[str, Login] | None = None,
    ) -> None:
        self._downloader = downloader
        self._auth = Authorizer(downloader.transport, docker_config, logins)
        self._route = route
        self._indexes: dict[str, str] = {}
        self._passed_over: set[str] = set()

    def pull(
        self,
        reference: Reference,
        arch: str,
        *,
        at: Repository | None = None,
        mirrors: Iterable[str] = (),
        digest: str = "",
    ) -> str:
        """Bring an image for Linux on ``arch`` into the store; return its manifest's digest.

        Args:
            reference: what to pull; its digest, if any, is that of the manifest or index.
            arch: ``amd64`` or ``arm64``.
            at: the one place that is asked; by default those of the route, until one has it.
            mirrors: URLs that are asked before them.
            digest: of the platform's manifest, where known.

        Raises:
            NetworkError: it is not available there, or not for ``arch``.
            IntegrityError: something is not what its digest says.
        """
        *before, last = [at] if at else self._route(reference, mirrors)
        for repository in before:
            try:
                return self._pull(repository, reference, arch, digest)
            except NetworkError as error:
                self._pass_over(repository, reference, error)
        return self._pull(last, reference, arch, digest)

    def _pass_over(self, mirror: Repository, reference: Reference, error: NetworkError) -> None:
        """Tell once of each mirror that could not be used."""
        first = mirror.endpoint not in self._passed_over
        self._passed_over.add(mirror.endpoint)
        reason = f"{error.message}: {error.why}" if error.why else error.message
        prefix = mirror.name.removesuffix(reference.name).strip("/")
        place = transport.shown(f"{mirror.endpoint}/{prefix}".rstrip("/"))
        text = f"mirror {place} of {reference.registry} is passed over ({reason})"
        self._downloader.reporter.emit(Message(level="warning" if first else "debug", text=text))

    def _pull(self, repository: Repository, reference: Reference, arch: str, digest: str) -> str:
        if not digest or not self._downloader.store.has(digest):
            digest = self._manifest(repository, reference, arch, digest)
        parsed = manifest.read(self._downloader.store, digest)
        if not isinstance(parsed, Manifest):
            raise self._nothing_for(reference, arch, "its index leads to another index")
        with self._downloader.store.using():
            parallel.each(
                parsed.blobs,
                lambda blob: self.blob(repository, blob.digest, max(1, blob.size)),
                at_most=AT_ONCE,
            )
        for blob in parsed.blobs:
            size = self._downloader.store.locate(blob.digest).size
            _check_size(f"{reference.registry}/{reference.name}", blob.digest, blob.size, size)
        self._check_platform(reference, parsed, arch)
        return digest

    def digest_of(self, repository: Repository, name: str) -> str:
        """Ask (HEAD) which digest a tag has; empty when the registry does not tell.

        Raises:
            StatusError: there is no such tag, or another status.
            NetworkError: the registry cannot be reached or wants another login.
        """
        url = _url(repository, "manifests", name)
        headers = {"Accept": manifest.ACCEPT}
        with self._open(repository, url, headers=headers, method="HEAD") as response:
            told = response.headers.get("Docker-Content-Digest", "")
        return told if digests.is_digest(told) else ""

    def document(self, repository: Repository, name: str) -> str:
        """Bring one manifest or index, and nothing that it names, into the store.

        Returns its digest, which is ``name`` unless that is a tag; raises as ``pull``.
        """
        data, found = self._document(repository, name)
        manifest.parse(data, repository.name)
        return self._downloader.store.put_bytes(data, expected=found)

    def blob(self, repository: Repository, digest: str, max_bytes: int) -> None:
        """Bring one config or layer into the store; raises as ``pull``."""
        url = _url(repository, "blobs", digest)

        def opener(
            url: str, *, headers: Mapping[str, str], accept: tuple[int, ...]
        ) -> contextlib.AbstractContextManager[BaseHTTPResponse]:
            return self._open(repository, url, headers=headers, accept=accept)

        item = f"{repository.name}@{digest[7:19]}"
        self._downloader.fetch(url, digest, item=item, max_bytes=max_bytes, opener=opener)

    def _manifest(
        self, repository: Repository, reference: Reference, arch: str, digest: str
    ) -> str:
        first = digest or reference.digest or reference.tag
        data, found = self._document(repository, first)
        name = f"{reference.registry}/{reference.name}"
        parsed = manifest.parse(data, name)
        if isinstance(parsed, Index):
            entry = parsed.only(arch)
            if entry is None:
                there = ", ".join(parsed.architectures) or "nothing"
                raise self._nothing_for(reference, arch, f"its index lists {there}")
            # Kept, although of all it names only this architecture comes: by its digest the
            # registry's own name for the image goes on working.
            index = self._downloader.store.put_bytes(data, expected=found)
            data, found = self._document(repository, entry.digest)
            _check_size(name, entry.digest, entry.size, len(data))
            self._indexes[found] = index
        return self._downloader.store.put_bytes(data, expected=found)

    def index_of(self, digest: str) -> str:
        """Return the digest of the index that led to a manifest; empty when none did."""
        return self._indexes.get(digest, "")

    def _document(self, repository: Repository, name: str) -> tuple[bytes, str]:
        """Return a manifest byte for byte and the digest that was asked for or told."""
        url = _url(repository, "manifests", name)
        headers = {"Accept": manifest.ACCEPT}
        with self._open(repository, url, headers=headers) as response:
            told = response.headers.get("Docker-Content-Digest", "")
            data = transport.whole(response, url, manifest.MAX_BYTES)
        found = digests.of_bytes(data)
        expected = name if digests.is_digest(name) else told or found
        if found != expected:
            raise IntegrityError(
                f"the manifest at {transport.shown(url)} is not what it should be",
                why=f"expected {expected}\nfound    {found}",
                hint="run the same command again; if it stays, ask another source",
                id="OMK-I-240",
            )
        return data, found

    def _check_platform(self, reference: Reference, parsed: Manifest, arch: str) -> None:
        path = self._downloader.store.path(parsed.config.digest)
        found = ""
        if path.stat().st_size <= _CONFIG_BYTES:
            with contextlib.suppress(ValueError, AttributeError):
                found = json.loads(path.read_bytes()).get("architecture", "")
        if found != arch:
            raise self._nothing_for(reference, arch, f"it is an image for {found or 'nothing'}")

    @staticmethod
    def _nothing_for(reference: Reference, arch: str, why: str) -> NetworkError:
        return NetworkError(
            f"{reference.registry}/{reference.name}:{reference.tag} is not there for {arch}",
            why=why,
            hint="use a mirror or a version that has it",
            id="OMK-I-241",
        )

    # -- authorization ---------------------------------------------------------------------------

    @contextlib.contextmanager
    def _open(
        self,
        repository: Repository,
        url: str,
        *,
        headers: Mapping[str, str],
        accept: tuple[int, ...] = (),
        method: str = "GET",
    ) -> Iterator[BaseHTTPResponse]:
        with contextlib.ExitStack() as stack:
            for accepted in ((401, *accept), accept):
                known = self._auth.header(repository)
                sent = {**headers, "Authorization": known} if known else dict(headers)
                response = stack.enter_context(
                    self._downloader.transport.open(
                        url, method=method, headers=sent, accept=accepted
                    )
                )
                if response.status != 401:
                    break
                challenge = response.headers.get("WWW-Authenticate", "")
                response.close()
                self._auth.renew(repository, challenge, known)
            yield response


def _check_size(name: str, digest: str, expected: int, found: int) -> None:
    """Refuse what containerd would refuse later, when the node has pulled all of it."""
    if expected != found:
        raise IntegrityError(
            f"a manifest of {name} tells another size than its blob has",
            why=f"{digest} has {found} bytes, and the manifest says {expected}",
            hint="have the image pushed again, or use another tag",
            id="OMK-I-703",
        )


def _url(repository: Repository, what: str, name: str) -> str:
    return f"{repository.endpoint}/v2/{repository.name}/{what}/{name}"
