"""A plain HTTP mirror with one image, as small as one can be; wants a password.

Serves ``library/tiny:1`` for every registry on the loopback, port 5999.
"""

import base64
import hashlib
import http.server
import json
import platform

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
WANTED = "Basic " + base64.b64encode(b"molecule:plain-4711").decode()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def describe(media, data):
    return {"mediaType": media, "digest": digest(data), "size": len(data)}


def image():
    """Return {last part of the path: (media type, bytes)}."""
    layer = bytes(1024)  # a tar without members
    rootfs = {"type": "layers", "diff_ids": [digest(layer)]}
    config = json.dumps({"architecture": ARCH, "os": "linux", "rootfs": rootfs}).encode()
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": describe("application/vnd.oci.image.config.v1+json", config),
        "layers": [describe("application/vnd.oci.image.layer.v1.tar", layer)],
    }
    manifest = json.dumps(body).encode()
    files = {"1": (MANIFEST, manifest), digest(manifest): (MANIFEST, manifest)}
    for blob in (config, layer):
        files[digest(blob)] = ("application/octet-stream", blob)
    return files


class Handler(http.server.BaseHTTPRequestHandler):
    files = image()

    def do_GET(self):
        path = self.path.partition("?")[0]
        media, data = self.files.get(path.rpartition("/")[2], ("text/plain", b""))
        known = data and path.startswith("/v2/library/tiny/")
        if self.headers.get("Authorization") != WANTED:
            self.send_response(401)
            media, data = "text/plain", b"who are you?"
        else:
            self.send_response(200 if known else 404)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(data)))
        if known:
            self.send_header("Docker-Content-Digest", digest(data))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def do_HEAD(self):
        self.do_GET()


http.server.ThreadingHTTPServer(("127.0.0.1", 5999), Handler).serve_forever()
