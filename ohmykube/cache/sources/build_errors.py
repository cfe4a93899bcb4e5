"""What a failed build means: compilers' messages become errors with a next command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ohmykube.errors import (
    IntegrityError,
    NetworkError,
    OhmykubeError,
    PrerequisiteError,
    ResourceError,
)
from ohmykube.kit import process

if TYPE_CHECKING:
    from collections.abc import Callable

GO_NETWORK = (
    "dial tcp",
    "connection refused",
    "connection reset",
    "no such host",
    "i/o timeout",
    "TLS handshake",
    "proxyconnect",
    "network is unreachable",
    "no route to host",
    "context deadline exceeded",
)
"""What programs written in Go say when the network fails them."""
_NETWORK = (
    *GO_NETWORK,
    "unexpected EOF",
    "GOPROXY",
    "certificate",
    "403 Forbidden",
    "404 Not Found",
    "410 Gone",
    "429 Too Many Requests",
    "500 Internal",
    "502 Bad Gateway",
    "503 Service Unavailable",
    "504 Gateway",
)
_SUMS = ("checksum mismatch", "SECURITY ERROR")
_SPACE = ("no space left on device", "disk quota exceeded")
_MEMORY = ("signal: killed", "out of memory", "cannot allocate memory")
_OWN_GO_MOD = ("disabled by -mod=readonly", "missing go.sum entry", "no required module provides")
_HOST = ("C compiler", "fatal error: ", "cannot find -l", "requires go >=", "go: no such tool")


def build_failure(name: str, output: str, *, timed_out: bool = False) -> OhmykubeError:
    """Return the error for a failed build of ``name`` whose programs said ``output``."""
    why = process.tail(_readable(output))
    for words, make in _CASES:
        if any(word in output for word in words):
            return make(name, why)
    if timed_out:
        return _network(name, f"no end after the time limit\n{why}".strip())
    return PrerequisiteError(
        f"{name} cannot be built on this host",
        why=why,
        hint="ohmykube doctor",
        id="OMK-I-209",
    )


def _readable(output: str) -> str:
    """Return the message of ``go mod download -json``, or the output as it is."""
    start, end = output.find("{"), output.rfind("}")
    if start >= 0 and end > start:
        try:
            message = json.loads(output[start : end + 1]).get("Error")
        except (ValueError, AttributeError):
            message = None
        if message:
            return str(message).replace("\t", "")
    return output


def _network(name: str, why: str) -> OhmykubeError:
    return NetworkError(
        f"{name} cannot be fetched from the Go module proxy",
        why=why,
        hint="go env GOPROXY  (is that proxy reachable from here?)",
        id="OMK-I-206",
    )


def _integrity(name: str, why: str) -> OhmykubeError:
    return IntegrityError(
        f"a module of {name} is not what the checksum database says",
        why=why,
        hint="go env GOPROXY GOSUMDB  (which proxy gave it?)",
        id="OMK-I-205",
    )


def _space(name: str, why: str) -> OhmykubeError:
    return ResourceError(
        f"no space left to build {name}",
        why=why,
        hint="go env GOCACHE GOMODCACHE GOTMPDIR  (free some space there), then run it again",
        id="OMK-I-207",
    )


def _memory(name: str, why: str) -> OhmykubeError:
    return ResourceError(
        f"not enough memory to build {name}",
        why=why,
        hint="free some memory, then run the same command again: it goes on where it stopped",
        id="OMK-I-207",
    )


def _host(name: str, why: str) -> OhmykubeError:
    return PrerequisiteError(
        f"tools to build {name} are missing on this host",
        why=why,
        hint="ohmykube doctor --fix",
        id="OMK-I-202",
    )


def _own_go_mod(name: str, why: str) -> OhmykubeError:
    return NetworkError(
        f"{name} cannot be built from Go modules",
        why=f"its go.mod and go.sum do not name all that it needs\n{why}",
        hint="use a source that has the finished binaries, or another version",
        id="OMK-I-208",
    )


_CASES: tuple[tuple[tuple[str, ...], Callable[[str, str], OhmykubeError]], ...] = (
    (_SPACE, _space),
    (_MEMORY, _memory),
    (_SUMS, _integrity),
    (_OWN_GO_MOD, _own_go_mod),
    (_HOST, _host),
    (_NETWORK, _network),
)
