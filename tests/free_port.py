"""Ports for tests that run beside others."""

from __future__ import annotations

import random
import socket

_RANGE = range(10000, 20000)
"""The kernel gives none of these to a connection (32768 and more), or Kubernetes to a service."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now, and that nobody gets by chance a moment later.

    One of port 0 that was closed again may be the next connection's of whatever else runs here.
    """
    while True:
        port = random.SystemRandom().choice(_RANGE)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
