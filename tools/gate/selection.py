"""What a run is asked for: all, some stages, or what ``ARGS`` names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .inputs import Tree
    from .parts import Part


_WITH_VALUE = {"-k", "-m", "-n", "-p", "-W", "-c", "-o", "--deselect", "--durations", "--maxfail"}
"""Options of pytest whose value is the next word."""


class UnknownError(Exception):
    """The words cannot be understood; the text says which, and what there is."""


@dataclass(frozen=True)
class Selection:
    """Parts to run, and further options for pytest."""

    parts: tuple[Part, ...]
    options: tuple[str, ...] = ()

    @property
    def partial(self) -> bool:
        """Return whether parts run otherwise than as a whole: no result of theirs can be kept."""
        return bool(self.options)


def select(
    parts: Sequence[Part], stages: Iterable[str], words: Sequence[str], tree: Tree
) -> Selection:
    """Choose parts by stage, then by words: names of parts, paths, and options for pytest.

    The path of tests chooses these tests; any other path chooses the parts that read it, and of
    those with nodes the roles alone.

    Raises:
        UnknownError: a stage or a path that there is not, or words that nothing answers to.
    """
    wanted = set(stages)
    if unknown := wanted - {part.stage for part in parts}:
        raise UnknownError(f"no such stage: {', '.join(sorted(unknown))}")
    chosen = [part for part in parts if not wanted or part.stage in wanted]
    names, options = _split([word.removeprefix(f"{tree.root}/") for word in words])
    if names:
        chosen = _by_names(chosen, names, tree)
    if options:
        chosen = [part for part in chosen if part.tests]
    if not chosen:
        raise UnknownError(f"nothing is run by: {' '.join(words)}")
    return Selection(tuple(chosen), tuple(options))


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell names and paths from options, which begin with a dash and may have a value."""
    names: list[str] = []
    options: list[str] = []
    for word in words:
        if word.startswith("-") or (options and options[-1] in _WITH_VALUE):
            options.append(word)
        else:
            names.append(word)
    return names, options


def _by_names(parts: Sequence[Part], names: Sequence[str], tree: Tree) -> list[Part]:
    found: dict[str, Part] = {}
    for name in names:
        path = name.partition("::")[0].rstrip("/").removeprefix("./")
        below = {one for one in tree.files if one == path or one.startswith(f"{path}/")}
        mine = [part for part in parts if path in {part.name, part.stage}]
        if mine:
            found.update({part.name: part for part in mine})
        elif not below:
            raise UnknownError(f"no part, test or file is called {name}")
        elif path.startswith("tests/") and (tests := _tests(parts, name, path)):
            for part in tests:
                before = found.get(part.name)
                narrowed = () if before is None else before.tests
                found[part.name] = replace(part, tests=(*narrowed, *part.tests), narrowed=True)
        else:
            # Whole clusters read the whole product: they are run by name, or by no word at all.
            near = [part for part in parts if part.batch or not part.nodes]
            found.update({part.name: part for part in near if part.files(tree) & below})
    return list(found.values())


def _tests(parts: Sequence[Part], name: str, path: str) -> list[Part]:
    """Return the parts whose tests are at a path, narrowed to it."""
    found = []
    for part in parts:
        if any(test == path or path.startswith(f"{test}/") for test in part.tests):
            found.append(replace(part, tests=(name,)))
        elif inside := tuple(test for test in part.tests if test.startswith(f"{path}/")):
            found.append(replace(part, tests=inside))
    return found
