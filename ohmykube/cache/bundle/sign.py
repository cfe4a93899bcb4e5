"""Signatures of ``bundle.json`` with OpenSSH's own tool, in its own formats.

``ssh-keygen -Y sign`` makes them; whoever has the public key can check them without ohmykube.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from ohmykube.errors import IntegrityError, NotFoundError, PrerequisiteError
from ohmykube.kit import process, shell

NAMESPACE = "ohmykube-bundle"
"""Keeps a signature made for something else from being taken for one of a bundle."""
MAX_BYTES = 64 << 10
_SECONDS = 60.0
_GOOD = re.compile(r'Good "\S+" signature (?:for (?P<who>\S+) )?with (?P<key>.+)')


def sign(data: bytes, key: Path) -> bytes:
    """Return the signature of ``data``.

    Args:
        data: ``bundle.json``.
        key: a private key without a passphrase, or a public one whose private key an agent holds.

    Raises:
        NotFoundError: there is no such key.
        PrerequisiteError: ssh-keygen cannot use it.
    """
    if not key.is_file():
        raise NotFoundError(
            f"there is no key {key}",
            hint=f"ssh-keygen -t ed25519 -f {shell.word(key)}",
            id="OMK-I-410",
        )
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE]
    with tempfile.TemporaryDirectory(prefix="ohmykube-sign-") as directory:
        document = Path(directory) / "bundle.json"
        document.write_bytes(data)
        try:
            process.run([*argv, str(document)], timeout=_SECONDS)
            return document.with_name("bundle.json.sig").read_bytes()
        except (process.CommandFailed, FileNotFoundError) as error:
            raise PrerequisiteError(
                f"the bundle could not be signed with {key}",
                why=str(getattr(error, "why", None) or error),
                hint=f"ssh-add {shell.word(key)}  "
                f"(then --sign {key}.pub, when it has a passphrase)",
                id="OMK-I-411",
            ) from error


def signer(data: bytes, signature: bytes | None, allowed: Path, label: str) -> str:
    """Return who signed: the first principal of ``allowed`` that fits.

    Args:
        data: ``bundle.json``.
        signature: its signature, None when there is none.
        allowed: a file as in ssh-keygen(1), ALLOWED SIGNERS.
        label: the bundle, for messages.

    Raises:
        NotFoundError: there is no such file.
        IntegrityError: not signed, not by one of them, or changed since.
    """
    if not allowed.is_file():
        raise NotFoundError(
            f"there is no file {allowed} of allowed signers",
            hint=f'echo "NAME $(cat KEY.pub)" > {allowed}',
            id="OMK-I-412",
        )
    if signature is None:
        raise refused(label, "it is not signed, and allowed signers were demanded")
    with tempfile.TemporaryDirectory(prefix="ohmykube-sign-") as directory:
        file = Path(directory) / "bundle.json.sig"
        file.write_bytes(signature)
        common = ["-f", str(allowed), "-s", str(file), "-n", NAMESPACE]
        # -n stands for both: find-principals ignores it.
        found = process.run(
            ["ssh-keygen", "-Y", "find-principals", *common], timeout=_SECONDS, check=False
        )
        if found.code or not found.stdout.strip():
            raise refused(label, f"its signer is not in {allowed}: {process.tail(found.stderr)}")
        who = found.stdout.splitlines()[0].split(",")[0]
        checked = process.run(
            ["ssh-keygen", "-Y", "verify", "-I", who, *common],
            timeout=_SECONDS,
            input=data,
            check=False,
        )
    if checked.code:
        raise refused(label, f"its signature is not right: {process.tail(checked.stdout)}")
    return who


def key_of(data: bytes, signature: bytes) -> str:
    """Return the key that made a right signature, as ssh-keygen names it; empty for a wrong one.

    Says nothing about whose key it is.
    """
    with tempfile.TemporaryDirectory(prefix="ohmykube-sign-") as directory:
        file = Path(directory) / "bundle.json.sig"
        file.write_bytes(signature)
        argv = ["ssh-keygen", "-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(file)]
        result = process.run(argv, timeout=_SECONDS, input=data, check=False)
    match = _GOOD.search(result.stdout)
    return match["key"] if match and result.code == 0 else ""


def refused(label: str, why: str) -> IntegrityError:
    """Return the error for a signature that is not accepted."""
    return IntegrityError(
        f"the signature of {label} is not accepted",
        why=why,
        hint="get the bundle anew from whom you trust, then: "
        f"ohmykube bundle verify {shell.word(label)} --allowed-signers FILE",
        id="OMK-I-413",
    )
