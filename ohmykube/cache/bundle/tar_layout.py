"""The members of a bundle's tar and their order; ``kit.plain_tar`` writes their headers.

bundle.json        what is in it
bundle.json.sig    optional: an OpenSSH signature of bundle.json
oci-layout, index.json, refs.json
blobs/sha256/<hex> in the order of bundle.json
"""

from __future__ import annotations

MANIFEST = "bundle.json"
SIGNATURE = "bundle.json.sig"
LAYOUT = "oci-layout"
INDEX = "index.json"
REFS = "refs.json"
HEAD = (LAYOUT, INDEX, REFS)
"""The members between the signature and the blobs."""


def blob_name(digest: str) -> str:
    """Return the member name of a blob."""
    return f"blobs/{digest.replace(':', '/')}"
