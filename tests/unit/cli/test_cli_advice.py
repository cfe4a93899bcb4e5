"""No error gives advice that our own parser refuses."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from ohmykube.cli import _root
from ohmykube.cli.cluster.shell import shell
from ohmykube.config import load
from ohmykube.config.overrides import Overrides

PACKAGE = Path(_root.__file__).parents[1]
ADVICE = re.compile(r"""(?:hint|fix|again)\s*=\s*\(?\s*f?["']((?:sudo )?ohmykube [^"']*)["']""")


def _found() -> list[tuple[str, str]]:
    return sorted(
        {
            (str(path.relative_to(PACKAGE)), match)
            for path in PACKAGE.rglob("*.py")
            for match in ADVICE.findall(path.read_text(encoding="utf-8"))
        }
    )


def test_there_is_advice() -> None:
    assert len(_found()) > 10


@pytest.mark.parametrize(("module", "advice"), _found())
def test_advice_can_be_typed(module, advice) -> None:
    typed = re.split(r"  |, | -- |[>|;]", advice)[0]
    words = shlex.split(re.sub(r"\{[^}]*\}", "status", typed).removeprefix("sudo "))[1:]
    group = _root.group()
    words = [word for word in words if word != "--help"]
    if not words:
        return
    with click.Context(group, resilient_parsing=False) as ctx:
        _, command, rest = group.resolve_command(ctx, words)
        while isinstance(command, click.Group) and rest:
            _, command, rest = command.resolve_command(ctx, rest)
        assert command is not None
        known = {option for param in command.params for option in param.opts}
        assert {word for word in rest if word.startswith("-")} <= known, f"{module}: {advice}"


def test_examples_name_nodes_that_up_makes() -> None:
    made = {node.name for node in load.from_overrides(Overrides(control_planes=1)).nodes}
    for example in shell.examples:
        words = shlex.split(example.partition(" -- ")[0])[2:]
        named = [word for word in words if not word.startswith("-") and word != "dev"]
        assert set(named) <= made, example
        assert named
