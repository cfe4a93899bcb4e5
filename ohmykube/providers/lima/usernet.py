"""The daemon of a user-v2 network: its HTTP API on ``<network>_ep.sock``.

It gives out addresses, never takes one back, and carries connections of this host to guests. What
was exposed ends with it. The API is that of gvisor-tap-vsock.
"""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ohmykube.errors import ProviderError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SECONDS = 5.0
_LARGEST = 4 << 20


class UsernetError(ProviderError):
    """The daemon refused (OMK-P-421) or answered nonsense (OMK-P-422)."""

    default_id = "OMK-P-421"


class UsernetDown(UsernetError):
    """Nobody answers on the socket: the network is not up, or its daemon died."""

    default_id = "OMK-P-420"


@dataclass(frozen=True, slots=True, order=True)
class Forward:
    """A port of this host that the daemon carries to a guest."""

    local: str
    """``host:port``, or the path of a socket."""
    remote: str
    """``host:port`` of the guest; may be ``tcp://host:port`` where the daemon wrote it so."""
    protocol: str


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except BaseException:
            self.sock.close()
            raise


def endpoint(home: Path, network: str) -> Path:
    """Return the socket of the API of a network below LIMA_HOME."""
    return home / "_networks" / network / f"{network}_ep.sock"


class Usernet:
    """The daemon of one network.

    Args:
        socket_path: see ``endpoint``.
        timeout: seconds for each answer.

    All methods raise ``UsernetDown`` or ``UsernetError``.
    """

    def __init__(self, socket_path: Path, *, timeout: float = SECONDS) -> None:
        self.socket_path = socket_path
        self._timeout = timeout

    def alive(self) -> bool:
        """Tell whether the daemon answers."""
        try:
            self.leases()
        except UsernetDown:
            return False
        return True

    def leases(self) -> Mapping[str, str]:
        """Return MAC by address, those of machines that are gone and of the gateway too."""
        return self._strings("/services/dhcp/leases")

    def cam(self) -> Mapping[str, int]:
        """Return port of the switch by MAC: the cards that spoke since the daemon began."""
        raw = self._object("/cam")
        if not all(isinstance(one, int) for one in raw.values()):
            raise self._nonsense("/cam", raw)
        return dict(raw)

    def forwards(self) -> tuple[Forward, ...]:
        """Return what is exposed, sorted; those that limactl makes for ssh among them."""
        path = "/services/forwarder/all"
        raw = self._get(path)
        try:
            return tuple(sorted(Forward(o["local"], o["remote"], o["protocol"]) for o in raw or []))
        except (TypeError, KeyError) as error:
            raise self._nonsense(path, raw) from error

    def expose(self, local: str, remote: str, protocol: str = "tcp") -> None:
        """Let ``local`` of this host lead to ``remote`` of the network; refused when taken."""
        body = {"local": local, "remote": remote, "protocol": protocol}
        self._request("POST", "/services/forwarder/expose", body)

    def unexpose(self, local: str, protocol: str = "tcp") -> None:
        """Take that back; refused when it is not there."""
        self._request(
            "POST", "/services/forwarder/unexpose", {"local": local, "protocol": protocol}
        )

    def _strings(self, path: str) -> Mapping[str, str]:
        raw = self._object(path)
        if not all(isinstance(one, str) for one in raw.values()):
            raise self._nonsense(path, raw)
        return dict(raw)

    def _object(self, path: str) -> Mapping[str, Any]:
        raw = self._get(path)
        if not isinstance(raw, dict):
            raise self._nonsense(path, raw)
        return raw

    def _get(self, path: str) -> Any:
        data = self._request("GET", path, None)
        try:
            return json.loads(data)
        except ValueError as error:
            raise self._nonsense(path, data[:200]) from error

    def _request(self, method: str, path: str, body: Mapping[str, str] | None) -> bytes:
        connection = _Connection(self.socket_path, self._timeout)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            answer = connection.getresponse()
            data = answer.read(_LARGEST)
        except (OSError, http.client.HTTPException) as error:
            raise UsernetDown(
                f"the network daemon at {self.socket_path} does not answer",
                why=str(error) or type(error).__name__,
                hint="ohmykube start  (restarts the network)",
            ) from error
        finally:
            connection.close()
        if answer.status != http.HTTPStatus.OK:
            raise UsernetError(
                f"the network daemon refused {method} {path}",
                why=data.decode(errors="replace").strip()[:500] or f"it answered {answer.status}",
            )
        return data

    def _nonsense(self, path: str, raw: object) -> UsernetError:
        return UsernetError(
            f"the network daemon answered something unknown to {path}",
            why=repr(raw)[:200],
            id="OMK-P-422",
        )
