"""What a command of somebody else works with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ohmykube.kit.paths import Paths
    from ohmykube.progress import Reporter


class CommandContext(Protocol):
    """The object that ``click.pass_obj`` hands to a command of the group ``ohmykube.commands``."""

    @property
    def paths(self) -> Paths:
        """Return the directories of this user's state, data and cache."""
        ...

    @property
    def environ(self) -> Mapping[str, str]:
        """Return the environment."""
        ...

    @property
    def reporter(self) -> Reporter:
        """Return what shows progress on stderr, as ``--progress`` and ``-q`` ask for."""
        ...

    def show(self, content: Mapping[str, Any], text: str | Callable[[], str]) -> None:
        """Write the result to stdout, once, as ``-o`` asks for.

        Args:
            content: the result as a document, for ``-o json`` and ``-o yaml``.
            text: the same for people, or what makes it.

        Raises:
            ResourceError: stdout takes no more.
        """
        ...

    def note(self, text: str) -> None:
        """Say a line on stderr; says nothing with ``-q``, and with ``--progress json``."""
        ...
