"""The sources of one run in their order: each is asked once, a useless one is told of once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

from ohmykube.cache import catalog
from ohmykube.errors import NetworkError, OhmykubeError, PrerequisiteError
from ohmykube.progress import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ohmykube.cache.sources.base import Source, SourceContext

T = TypeVar("T")


class Chain:
    """Asks for an artifact source by source."""

    def __init__(
        self,
        order: Sequence[str],
        context: SourceContext,
        load: Callable[[str, SourceContext], Source],
    ) -> None:
        self._order = tuple(order)
        self._context = context
        self._load = load
        self._lock = threading.Lock()
        self._usable: dict[str, Source | OhmykubeError] = {}

    def first(self, what: str, arch: str, bring: Callable[[Source], T]) -> tuple[T, Source]:
        """Return what the first source gives that can, and that source.

        Args:
            what: what it is, for people.
            arch: its architecture, or ``catalog.ANY``.
            bring: gets it from a source.

        Raises:
            NetworkError: no source has it; names each one's reason.
            IntegrityError: it is not what the catalog says. Other sources are not tried then.
            PrerequisiteError: the only reasons are missing programs on this host.
        """
        reasons: list[tuple[str, OhmykubeError]] = []
        for name, source in self._asked():
            if isinstance(source, OhmykubeError):
                reasons.append((name, source))
                continue
            if (unfit := _unfit(source, arch)) is not None:
                reasons.append((name, unfit))
                continue
            try:
                return bring(source), source
            except (NetworkError, PrerequisiteError) as error:
                reasons.append((name, error))
        raise _nobody(what, reasons)

    def usable(self, arch: str) -> Source | None:
        """Return the first source that can be asked for an architecture, or None."""
        for _, source in self._asked():
            if not isinstance(source, OhmykubeError) and _unfit(source, arch) is None:
                return source
        return None

    def insist(self, arch: str) -> None:
        """Look whether anything can be had for an architecture, before any of it is got.

        Raises:
            PrerequisiteError: there are sources, and what all of them bring is for others.
        """
        if self.usable(arch) is not None:
            return
        reasons = [
            (name, source if isinstance(source, OhmykubeError) else _unfit(source, arch))
            for name, source in self._asked()
        ]
        told = [(name, error) for name, error in reasons if error is not None]
        if any(error.id == UNFIT for _, error in told):
            raise PrerequisiteError(
                f"no source has what nodes of {arch} need",
                why="\n".join(f"{name}: {reason(error)}" for name, error in told),
                hint="add `upstream` or a mirror to spec.artifacts.sources in the cluster file, or "
                f"make a bundle on a host of {arch}:\nohmykube bundle create -f cluster.yaml",
                id="OMK-I-312",
            )

    def tell(self, text: str) -> None:
        """Say one line to the user."""
        self._context.reporter.emit(Message(text=text))

    def _asked(self) -> Iterator[tuple[str, Source | OhmykubeError]]:
        """Return the sources one after the other, each asked before it comes."""
        for position, name in enumerate(self._order):
            rest = self._order[position + 1 :]
            with self._lock:
                if name not in self._usable:
                    self._usable[name] = self._ask(name, rest)
                source = self._usable[name]
            yield name, source

    def _ask(self, name: str, rest: Sequence[str]) -> Source | OhmykubeError:
        try:
            source = self._load(name, self._context)
            source.available()
        except (NetworkError, PrerequisiteError) as error:
            following = f"trying {rest[0]} next" if rest else "it was the last one"
            self._context.reporter.emit(
                Message(
                    level="warning",
                    text=f"source {name} cannot be used ({reason(error)}); {following}",
                )
            )
            return error
        return source


UNFIT = "OMK-I-313"
"""Id of the reason for which a source is not asked for an architecture."""


def _unfit(source: Source, arch: str) -> OhmykubeError | None:
    known = source.architectures()
    if arch in (*known, catalog.ANY):
        return None
    return PrerequisiteError(
        f"what it brings is for {', '.join(known)} alone",
        hint="add `upstream` or a mirror to spec.artifacts.sources in the cluster file",
        id=UNFIT,
    )


def reason(error: OhmykubeError) -> str:
    """Return an error in one line."""
    why = (error.why or "").strip().splitlines()
    return f"{error.message}: {why[-1]}" if why else error.message


def _nobody(what: str, reasons: Sequence[tuple[str, OhmykubeError]]) -> OhmykubeError:
    if not reasons:
        return NetworkError(
            f"there is no source for {what}",
            why="the cluster file lists none that is set up",
            hint="ohmykube config show  (look at sources.order)",
            id="OMK-I-220",
        )
    hosts = [error for _, error in reasons if isinstance(error, PrerequisiteError)]
    # What is missing on the host comes last: that is what the user can mend at once.
    chosen = hosts[-1] if hosts else reasons[-1][1]
    why = "\n".join(f"{name}: {reason(error)}" for name, error in reasons)
    hint = chosen.hint or "run the same command again once a source can be reached"
    if len(hosts) == len(reasons):
        return PrerequisiteError(f"no source has {what}", why=why, hint=hint, id="OMK-I-221")
    return NetworkError(f"no source has {what}", why=why, hint=hint, id="OMK-I-220")
