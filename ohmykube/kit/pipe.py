"""Programs at the other end of a pipe: we write their input, or read their output.

Bytes pass through, they are never held; the rules of ``kit.process`` (time limit, interrupt) apply.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import IO, TYPE_CHECKING, TypeVar

from ohmykube.kit import failures, process

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Sequence

T = TypeVar("T")


def feed(
    argv: Sequence[str], write: Callable[[IO[bytes]], None], *, timeout: float
) -> process.Result:
    """Run a program whose standard input is what ``write`` writes.

    Raises:
        CommandFailed: code other than 0, or time limit passed.
        Exception: whatever ``write`` raised; the program has seen the end of its input then.
    """
    reader, writer = os.pipe()
    failed: list[BaseException] = []

    def write_all() -> None:
        try:
            with os.fdopen(writer, "wb") as sink:
                write(sink)
        except BrokenPipeError:
            pass  # the program ended before its input did: its own words say why
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failed.append(error)

    thread = threading.Thread(target=write_all, name="feed", daemon=True)
    with os.fdopen(reader, "rb") as source:
        thread.start()
        try:
            result = process.run(argv, timeout=timeout, stdin=source, check=False)
        finally:
            source.close()
            thread.join()
    if failed:
        raise failed[0]
    if result.code != 0:
        raise process.CommandFailed(result)
    return result


def hold(argv: Sequence[str], *, timeout: float) -> process.Result:
    """Run a program whose standard input stays open, and empty, until it ends or we do.

    A program at the far end of a connection notices by it that its caller is gone.

    Raises:
        CommandFailed: code other than 0, or time limit passed.
    """
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb"), os.fdopen(reader, "rb") as source:
        return process.run(argv, timeout=timeout, stdin=source)


def read(argv: Sequence[str], take: Callable[[io.BufferedReader], T], *, timeout: float) -> T:
    """Run a program and return what ``take`` makes of its standard output.

    Raises:
        CommandFailed: code other than 0, or time limit passed; it outweighs what ``take`` raised,
            which saw an output that was cut off.
        Exception: whatever ``take`` raised.
    """
    reader, writer = os.pipe()
    failed: list[BaseException] = []
    refused = threading.Event()

    def run() -> None:
        try:
            with os.fdopen(writer, "wb") as sink:
                process.run(argv, timeout=timeout, stdout=sink)
        except process.CommandFailed as error:
            # One that could not write any more failed because we did not want more.
            if not refused.is_set():
                failed.append(error)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failed.append(error)

    thread = threading.Thread(target=run, name="read", daemon=True)
    thread.start()
    problem: BaseException | None = None
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(os.fdopen(reader, "rb"))
        try:
            result = take(source)
        except BaseException as error:  # noqa: BLE001 - raised below, after the program has ended
            problem = error
            if source.read(1):
                refused.set()
    thread.join()
    if failed:
        raise failures.first([*failed, *([problem] if problem is not None else [])])
    if problem is not None:
        raise problem
    return result
