"""The one process-wide flag that says "stop".

Signals belong to the process, so there is one flag: ``cli`` sets it from its signal handlers, all
that waits (``kit.retry``, ``kit.process``, ``ansible.launch``) looks at it. Nothing else handles
signals.
"""

from __future__ import annotations

import threading

from ohmykube.errors import Interrupted

requested = threading.Event()


def check() -> None:
    """Raise ``Interrupted`` once a stop was asked for."""
    if requested.is_set():
        raise interrupted()


def interrupted() -> Interrupted:
    """Return the error to raise when a stop was asked for."""
    return Interrupted("stopped on request", hint="run the same command again to go on")
