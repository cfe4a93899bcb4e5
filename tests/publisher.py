"""A publisher for tests: an own certificate authority made with openssl, and what it signs."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

IDENTITY = "publisher@example.test"
ISSUER = "https://accounts.example.test"
ROOT_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"

DOUBLE = r"""#!/bin/sh
# A double of `cosign verify-blob`: openssl checks the signature with the certificate's key and the
# certificate with its authority; the identity is compared as text. No transparency log.
set -eu
[ "$1" = verify-blob ] || { echo "Error: unknown command" >&2; exit 1; }
shift
bundle= signature= certificate= identity= roots=
while [ $# -gt 1 ]; do
    case $1 in
    --bundle) bundle=$2; shift ;;
    --signature) signature=$2; shift ;;
    --certificate) certificate=$2; shift ;;
    --certificate-identity) identity=$2; shift ;;
    --ca-roots) roots=$2; shift ;;
    --certificate-oidc-issuer | --trusted-root) shift ;;
    --insecure-*) ;;
    *) echo "Error: unknown flag: $1" >&2; exit 1 ;;
    esac
    shift
done
[ -z "${COSIGN_SAYS:-}" ] || { echo "Error: $COSIGN_SAYS" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -n "$bundle" ]; then
    field() { sed 's/[{},]/\n/g' "$bundle" | sed -n "s/^ *\"$1\": *\"\(.*\)\"/\1/p"; }
    field signature >"$work/sig"
    field rawBytes | base64 -d | openssl x509 -inform DER >"$work/cert"
else
    cp "$signature" "$work/sig"
    cp "$certificate" "$work/cert"
fi
openssl verify -CAfile "$roots" -purpose any "$work/cert" >/dev/null 2>&1 ||
    { echo "Error: certificate signed by unknown authority" >&2; exit 1; }
openssl x509 -in "$work/cert" -noout -ext subjectAltName | grep -q "email:$identity\$" ||
    { echo "Error: none of the expected identities matched" >&2; exit 1; }
openssl x509 -in "$work/cert" -pubkey -noout >"$work/key"
base64 -d "$work/sig" >"$work/raw" 2>/dev/null || true
openssl dgst -sha256 -verify "$work/key" -signature "$work/raw" "$1" >/dev/null 2>&1 ||
    { echo "Error: invalid signature when validating ASN.1 encoded signature" >&2; exit 1; }
echo "Verified OK" >&2
"""


@dataclass(frozen=True)
class Publisher:
    """An authority, a certificate for ``IDENTITY`` by it, and the key of that."""

    root: Path

    @classmethod
    def make(cls, root: Path, name: str = "publisher") -> Publisher:
        made = cls(root / name)
        made.root.mkdir(parents=True)
        subject = "keyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n"
        subject += f"subjectAltName=critical,email:{IDENTITY}\n"
        subject += f"1.3.6.1.4.1.57264.1.1=DER:{ISSUER.encode().hex()}\n"
        (made.root / "ext").write_text(subject)
        made._openssl("ecparam -name prime256v1 -genkey -noout -out ca.key")
        made._openssl(
            "req -x509 -new -key ca.key -subj /O=test/CN=ca -days 3650 -out ca.pem "
            "-addext basicConstraints=critical,CA:TRUE,pathlen:1 "
            "-addext keyUsage=critical,keyCertSign,cRLSign"
        )
        made._openssl("ecparam -name prime256v1 -genkey -noout -out leaf.key")
        made._openssl("req -new -key leaf.key -subj / -out leaf.csr")
        made._openssl(
            "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 "
            "-extfile ext -out leaf.pem"
        )
        return made

    def _openssl(self, words: str, **options: object) -> bytes:
        done = subprocess.run(
            ["openssl", *words.split()], cwd=self.root, check=True, capture_output=True, **options
        )
        return bytes(done.stdout)

    @property
    def authority(self) -> Path:
        return self.root / "ca.pem"

    @property
    def certificate(self) -> str:
        return (self.root / "leaf.pem").read_text()

    def signature(self, data: bytes) -> str:
        raw = self._openssl("dgst -sha256 -sign leaf.key", input=data)
        return base64.b64encode(raw).decode()

    def pair(self, data: bytes) -> dict[str, str]:
        return {"signature": self.signature(data), "certificate": self.certificate}

    def bundle(self, data: bytes) -> dict[str, str]:
        document = {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {
                "certificate": {"rawBytes": self._der("leaf.pem")},
                "tlogEntries": [],
                "timestampVerificationData": {},
            },
            "messageSignature": {
                "messageDigest": {
                    "algorithm": "SHA2_256",
                    "digest": base64.b64encode(hashlib.sha256(data).digest()).decode(),
                },
                "signature": self.signature(data),
            },
        }
        return {"bundle": json.dumps(document)}

    def trusted_root(self) -> str:
        authority = {
            "subject": {"organization": "test", "commonName": "ca"},
            "uri": "https://ca.example.test",
            "certChain": {"certificates": [{"rawBytes": self._der("ca.pem")}]},
            "validFor": {"start": "2020-01-01T00:00:00Z"},
        }
        empty: dict[str, list[object]] = {"tlogs": [], "ctlogs": [], "timestampAuthorities": []}
        return json.dumps({"mediaType": ROOT_TYPE, "certificateAuthorities": [authority], **empty})

    def _der(self, name: str) -> str:
        return base64.b64encode(self._openssl(f"x509 -in {name} -outform DER")).decode()


def install_double(directory: Path) -> None:
    """Put a double of cosign into ``directory``."""
    program = directory / "cosign"
    program.write_text(DOUBLE)
    program.chmod(0o755)
