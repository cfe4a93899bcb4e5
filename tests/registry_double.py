"""A registry that a test scripts: real images behind ``tests.fault_server``, with tokens or not."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from ohmykube.cache.manifest import OCI_INDEX
from ohmykube.kit import digest as digests
from tests import image_maker
from tests.fault_server import Answer, FaultServer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.image_maker import Image


class Registry(FaultServer):
    """Images by name and tag; ``pulls`` counts what was fetched, by digest or tag."""

    def add(self, name: str, tag: str, image: Image) -> str:
        """Offer an image under a tag; return the digest of its manifest."""
        self._document(name, tag, image.manifest, json.loads(image.manifest)["mediaType"])
        self.blobs(name, image)
        return image.digest

    def add_index(self, name: str, tag: str, images: dict[str, Image]) -> str:
        """Offer an index of images by architecture; return its digest."""
        entries = []
        for arch, image in images.items():
            media = json.loads(image.manifest)["mediaType"]
            entry = image_maker.describe(image.manifest, media)
            entries.append({**entry, "platform": {"os": "linux", "architecture": arch}})
            self._document(name, "", image.manifest, media)
            self.blobs(name, image)
        body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        return self._document(name, tag, json.dumps(body).encode(), OCI_INDEX)

    def blobs(self, name: str, image: Image) -> None:
        for digest, data in image.blobs.items():
            self.on(f"/v2/{name}/blobs/{digest}", Answer(data, etag=f'"{digest}"'))

    def _document(self, name: str, tag: str, body: bytes, media: str) -> str:
        digest = digests.of_bytes(body)
        headers = {"Content-Type": media, "Docker-Content-Digest": digest}
        for reference in (tag, digest):
            if reference:
                self.on(f"/v2/{name}/manifests/{reference}", Answer(body, headers=headers))
        return digest

    def pulls(self, method: str = "GET") -> list[str]:
        """Return the last parts of the paths that were asked for, in order."""
        return [path.rpartition("/")[2] for seen, path, _ in self.seen if seen == method]

    def want_token(self, path: str, answer: Answer, *tokens: str) -> None:
        """Make ``path`` answer 401 once, then as it should; ``/token`` gives the tokens in turn."""
        challenge = f'Bearer realm="{self.url}/token",service="double"'
        refusal = Answer(status=401, headers={"WWW-Authenticate": challenge})
        self.on(path, refusal, answer)
        self.on("/token", *(Answer(json.dumps({"token": token}).encode()) for token in tokens))

    def want_login(self, username: str, password: str, *, tokens: bool = False) -> None:
        """Answer nobody but this user, who with ``tokens`` gets one at ``/token`` for the rest."""
        basic = f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"
        challenge, passes = 'Basic realm="double"', basic
        if tokens:
            challenge, passes = f'Bearer realm="{self.url}/token",service="double"', "Bearer t0k-en"
            self.on("/token", Answer(json.dumps({"token": "t0k-en"}).encode()))
        refusal = Answer(status=401, headers={"WWW-Authenticate": challenge})

        def refuse(path: str, headers: Mapping[str, str]) -> Answer | None:
            wanted = basic if path == "/token" else passes
            return None if headers.get("Authorization") == wanted else refusal

        self.refusal = refuse
