"""What a server is asked for and what it can answer, without HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import http

    from ohmykube.cache.blobs import Blob


@dataclass(frozen=True, slots=True)
class Found:
    """Bytes to send: whole, checked, and named by their digest."""

    blob: Blob
    media: str
    packed: bool = False
    """A package, which can be had unpacked as well (``?enc=identity``)."""


class Refused(Exception):
    """There is no such thing here, or not for this client; ``code`` is one of the registry API."""

    def __init__(
        self, status: http.HTTPStatus, code: str, message: str, *, retry_after: int = 0
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after
        """Seconds after which it is worth to ask again; 0: not known."""


class Content(Protocol):
    """What a server offers; called from many threads at once.

    Every method may take its time (it may fetch) and raises ``Refused``, ``NotFoundError`` or
    ``KeyError`` when there is nothing, ``IntegrityError`` when what is there is damaged.
    """

    def manifest(self, registry: str, name: str, reference: str) -> Found:
        """Return a manifest or index; ``registry`` is empty when the client named none."""
        ...

    def blob(self, registry: str, name: str, digest: str) -> Found:
        """Return a config or layer."""
        ...

    def package(self, digest: str) -> Found:
        """Return a package by its digest."""
        ...

    def file(self, path: str) -> Found | bytes:
        """Return a file by its name, such as ``/dl.k8s.io/release/v1.36.3/…``, or a short text."""
        ...
