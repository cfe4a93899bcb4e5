"""The one process-wide flag that says "stop".

Signals belong to the process, so there is one flag: ``cli`` sets it when a signal arrives, and all
that waits (``kit.retry``, ``kit.process``, ``ansible.launch``) looks at it. Nothing else handles
signals.
"""

from __future__ import annotations

import _thread
import contextlib
import threading
from typing import TYPE_CHECKING

from ohmykube.errors import Interrupted
from ohmykube.kit import failures

if TYPE_CHECKING:
    from collections.abc import Iterator

requested = threading.Event()


def request() -> None:
    """Ask for a stop from a signal handler; ``requested`` is set a moment later.

    A handler may take no lock: the very code that the signal interrupted may hold it, as a wait for
    ``requested`` does when it begins. So a thread sets the flag, made by the call that takes none.
    """
    _thread.start_new_thread(requested.set, ())


def check() -> None:
    """Raise ``Interrupted`` once a stop was asked for."""
    if requested.is_set():
        raise interrupted()


@contextlib.contextmanager
def put_off() -> Iterator[None]:
    """Let a short clean-up run although a stop was asked for before; it counts again after it.

    For seconds: the command is ended all the same once it is out of patience (``cli``).
    """
    asked = requested.is_set()
    requested.clear()
    with failures.closing(requested.set if asked else lambda: None):
        yield


def interrupted() -> Interrupted:
    """Return the error to raise when a stop was asked for."""
    return Interrupted("stopped on request", hint="run the same command again to go on")
