"""Prints one-line changes of Python files, picked at random: mutate.py SEED COUNT FILE...

Runs in the environment of ``mutants.py``: the changes are those of cosmic-ray's operators. Each
line of the output is a JSON object with ``path``, ``line``, ``old``, ``new``, and as ``text`` the
whole changed file.
"""

from __future__ import annotations

import ast
import json
import random
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

if TYPE_CHECKING:
    from collections.abc import Sequence

# Changes that cannot be told from the original: of names, numbers and None ``is`` is ``==``.
_NEVER = re.compile(
    r"Variable|NoOp|RemoveDecorator|_(Eq_Is|NotEq_IsNot|Is_Eq|IsNot_NotEq|Is_LtE|Is_GtE)$"
)
_MOST_TRIES = 200


def kinds() -> dict[str, list[str]]:
    """Return the operators by kind, so that kinds with many of them do not outweigh the others."""
    found: dict[str, list[str]] = {}
    for name in sorted(cosmic_ray.plugins.operator_names()):
        if not _NEVER.search(name):
            found.setdefault(name.partition("_")[0], []).append(name)
    return found


def change(path: Path, dice: random.Random) -> dict[str, object] | None:
    """Return one change of a file; None when the operator that was picked finds nothing there."""
    code = path.read_text()
    operator = cosmic_ray.plugins.get_operator(dice.choice(dice.choice(list(kinds().values()))))()
    places = sum(len(list(operator.mutation_positions(node))) for node in ast_nodes(get_ast(code)))
    if not places:
        return None
    try:
        text = mutate_code(code, operator, dice.randrange(places))
    except AttributeError:  # an exception with a dot in its name is beyond ExceptionReplacer
        return None
    before, after = code.splitlines(), (text or "").splitlines()
    pairs = [(n, a, b) for n, (a, b) in enumerate(zip(before, after, strict=False), 1) if a != b]
    if len(before) != len(after) or len(pairs) != 1 or not _compiles(text):
        return None
    number, old, new = pairs[0]
    if old.lstrip().startswith("@"):  # slots or not, frozen or not: nobody can tell
        return None
    if old.replace("strict=True", "strict=False") == new:  # asserts what always holds
        return None
    return {"path": str(path), "line": number, "old": old.strip(), "new": new.strip(), "text": text}


def _compiles(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def main(arguments: Sequence[str]) -> int:
    """Print changes: the longer a file, the more of them are in it."""
    seed, count, *names = arguments
    dice = random.Random(int(seed))
    paths = [Path(name) for name in names]
    lengths = [len(path.read_text().splitlines()) for path in paths]
    seen: set[tuple[object, ...]] = set()
    for _ in range(int(count) * _MOST_TRIES):
        if len(seen) == int(count):
            break
        (path,) = dice.choices(paths, lengths)
        found = change(path, dice)
        if found and (what := (found["path"], found["line"], found["new"])) not in seen:
            seen.add(what)
            print(json.dumps(found), flush=True)
    return 0 if len(seen) == int(count) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
