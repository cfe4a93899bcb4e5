"""What a server can answer, without HTTP: blobs, or that something is not served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import http

    from ohmykube.cache.blobs import Blob


@dataclass(frozen=True, slots=True)
class BlobResponse:
    """Bytes to send: whole, checked, and named by their digest."""

    blob: Blob
    media: str
    packed: bool = False
    """A package, which is also available unpacked (``?enc=identity``)."""


class NotServed(Exception):
    """It is not here, or not for this client; ``code`` is one of the registry API."""

    def __init__(
        self, status: http.HTTPStatus, code: str, message: str, *, retry_after: int = 0
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after
        """Seconds after which it is worth to ask again; 0: not known."""


class ServedContent(Protocol):
    """What a server offers; called from many threads at once.

    Every method may take its time (it may fetch) and raises ``NotServed``, ``NotFoundError`` or
    ``KeyError`` when there is nothing, ``IntegrityError`` when what is there is damaged.
    """

    def manifest(self, registry: str, name: str, reference: str) -> BlobResponse:
        """Return a manifest or index; ``registry`` is empty when the client named none."""
        ...

    def blob(self, registry: str, name: str, digest: str) -> BlobResponse:
        """Return a config or layer."""
        ...

    def package(self, digest: str) -> BlobResponse:
        """Return a package by its digest."""
        ...

    def file(self, path: str) -> BlobResponse | bytes:
        """Return a file by its name, such as ``/dl.k8s.io/release/v1.36.3/…``, or a short text."""
        ...
