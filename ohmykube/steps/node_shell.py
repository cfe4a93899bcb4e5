"""Commands on a node over the run's ssh configuration."""

from __future__ import annotations

import shlex
from typing import IO, TYPE_CHECKING, TypeVar

from ohmykube.errors import NodeError
from ohmykube.kit import pipe, process, remote_command, shell

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Sequence
    from pathlib import Path

TIMEOUT = 30
T = TypeVar("T")


class NodeShell:
    """Runs argv lists on one node, as root; ``become`` puts sudo before them.

    Nothing of the environment of the login reaches them.
    On a node that is so many times slower than usual (``slowdown``) all may take that much longer.
    """

    def __init__(
        self, ssh_config: Path, node: str, *, become: bool = False, slowdown: int = 1
    ) -> None:
        self._prefix = ("ssh", "-F", str(ssh_config), node)
        self._become = ("sudo", "-n", "--") if become else ()
        self._slowdown = slowdown
        self.node = node

    def __call__(self, argv: Sequence[str], stdin: str = "", timeout: float = TIMEOUT) -> str:
        """Return the command's output; ``timeout`` in seconds.

        What the login shell prints before is no part of it.

        Raises:
            NodeError: it failed, did not end in time, or the login shell did not run it.
        """
        full = [*self._prefix, "--", remote_command.framed(self._words(argv))]
        try:
            told = process.run(full, timeout=timeout * self._slowdown, input=stdin).stdout
        except process.CommandFailed as error:
            raise self._failed(argv, error) from error
        output = remote_command.output_of(told)
        if output is None:
            raise self._ran_nothing(process.tail(told, 4))
        return output

    def feed(self, argv: Sequence[str], write: Callable[[IO[bytes]], None], timeout: float) -> None:
        """Run a command whose standard input is what ``write`` writes.

        Raises:
            NodeError: it failed or did not end in time.
            Exception: whatever ``write`` raised.
        """
        try:
            pipe.feed(self._argv(argv), write, timeout=timeout * self._slowdown)
        except process.CommandFailed as error:
            raise self._failed(argv, error) from error

    def read(
        self, argv: Sequence[str], take: Callable[[io.BufferedReader], T], timeout: float
    ) -> T:
        """Return what ``take`` makes of a command's output; ``timeout`` in seconds.

        Raises:
            NodeError: it failed, did not end in time, or the login shell did not run it.
            Exception: whatever ``take`` raised.
        """

        def skip(stream: io.BufferedReader) -> T:
            begin = f"{remote_command.BEGIN}\n".encode()
            if not any(line == begin for line in stream):
                raise self._ran_nothing("")
            return take(stream)

        full = [*self._prefix, "--", remote_command.framed(self._words(argv))]
        try:
            return pipe.read(full, skip, timeout=timeout * self._slowdown)
        except process.CommandFailed as error:
            raise self._failed(argv, error) from error

    def hold(self, argv: Sequence[str], timeout: float) -> None:
        """Run a command whose standard input, empty, lasts as long as we and it.

        Raises:
            NodeError: it failed or did not end in time.
        """
        try:
            pipe.hold(self._argv(argv), timeout=timeout * self._slowdown)
        except process.CommandFailed as error:
            raise self._failed(argv, error) from error

    def _argv(self, argv: Sequence[str]) -> list[str]:
        return [*self._prefix, "--", self._words(argv)]

    def _words(self, argv: Sequence[str]) -> str:
        return shlex.join([*self._become, "env", "-i", *remote_command.ENVIRONMENT, *argv])

    def _ran_nothing(self, told: str) -> NodeError:
        return NodeError(
            f"the login shell of node {self.node} does not run commands",
            why=told or "it printed nothing",
            hint=f"ssh -F {shell.word(self._prefix[2])} {self.node} true  "
            "(its start-up files end it?)",
            id="OMK-N-350",
        )

    def _failed(self, argv: Sequence[str], error: process.CommandFailed) -> NodeError:
        return NodeError(
            f"`{argv[0]}` failed on node {self.node}",
            why=error.why,
            hint=f"ohmykube shell {self.node}",
            id="OMK-N-201",
        )
