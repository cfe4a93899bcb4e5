from __future__ import annotations

import ast
import importlib
import pickle
import pkgutil
import re
from collections import defaultdict
from pathlib import Path

import pytest

import ohmykube
from ohmykube import errors
from ohmykube.errors import ConfigError, ExitCode, Explained, Interrupted, NodeError, OhmykubeError
from ohmykube.kit.process import CommandFailed, Result

PACKAGE = Path(ohmykube.__file__).parent
ID = re.compile(r"OMK-[UCHIPVNKZ]-\d{3}")


def _modules() -> list[str]:
    found = pkgutil.walk_packages([str(PACKAGE)], "ohmykube.")
    return [module.name for module in found if not module.name.endswith("__main__")]


def _subclasses(cls: type[Explained]) -> list[type[Explained]]:
    below = [found for child in cls.__subclasses__() for found in _subclasses(child)]
    return [cls, *below]


for _name in _modules():
    importlib.import_module(_name)
ALL = sorted(
    {cls for cls in _subclasses(Explained) if cls.__module__.startswith("ohmykube")},
    key=lambda cls: (cls.__module__, cls.__name__),
)
FAMILIES: list[type[Explained]] = [
    *(cls for cls in OhmykubeError.__subclasses__() if cls.__module__ == "ohmykube.errors"),
    Interrupted,
]


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_every_class_has_a_well_formed_id_and_survives_pickling(cls: type[Explained]) -> None:
    assert ID.fullmatch(cls.default_id)
    error = errors._rebuild(cls, "what", "why", "hint", "OMK-Z-999")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert (again.message, again.why, again.hint, again.id) == ("what", "why", "hint", "OMK-Z-999")
    assert str(again) == "what"
    assert again.exit_code == cls.exit_code


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_every_class_belongs_to_one_family_and_keeps_its_exit_code(
    cls: type[Explained],
) -> None:
    families = [family for family in FAMILIES if issubclass(cls, family)]
    if families:
        assert [cls.exit_code] == [family.exit_code for family in families]
    else:
        assert cls.exit_code is ExitCode.BUG
        bugs = {"Explained", "OhmykubeError", "CommandFailed", "PluginError"}
        assert cls.__name__ in bugs, "pick one of the classes of errors.py"


def test_families_have_different_exit_codes_and_ids() -> None:
    codes = [family.exit_code for family in FAMILIES]
    assert len(set(codes)) == len(codes)
    assert not {ExitCode.OK, ExitCode.BUG, ExitCode.CHANGES} & set(codes)
    assert len({family.default_id for family in FAMILIES}) == len(FAMILIES)


def test_the_table_in_the_documentation_of_the_module_is_true() -> None:
    told = dict(re.findall(r"^    (?:\+-- )?(\w+) +(\d+) ", errors.__doc__ or "", re.M))
    assert told == {family.__name__: str(int(family.exit_code)) for family in FAMILIES}


def _ids(path: Path) -> list[tuple[str, str]]:
    """Return (id, class that has it or is given it) for each literal id in a module."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            for line in node.body:
                if isinstance(line, ast.Assign) and isinstance(line.value, ast.Constant):
                    names = {t.id for t in line.targets if isinstance(t, ast.Name)}
                    if "default_id" in names:
                        found.append((str(line.value.value), node.name))
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                value = keyword.value
                if keyword.arg == "id" and isinstance(value, ast.Constant):
                    found.append((str(value.value), ast.unparse(node.func)))
    return [(number, user) for number, user in found if number.startswith("OMK-")]


def test_an_id_means_one_thing() -> None:
    # One class in one package; there it may be raised at several places.
    users: dict[str, set[str]] = defaultdict(set)
    for path in sorted(PACKAGE.rglob("*.py")):
        for number, user in _ids(path):
            assert ID.fullmatch(number), f"{number} in {path}"
            if user[0].isupper() or "." in user:
                users[number].add(f"{path.parent.relative_to(PACKAGE)}: {user}")
    assert {number: who for number, who in users.items() if len(who) > 1} == {}
    assert len(users) >= len(FAMILIES)


def test_parts_are_kept_and_the_class_gives_the_id() -> None:
    error = NodeError("no", why="because", hint="do")
    assert (error.message, error.why, error.hint, error.id) == ("no", "because", "do", "OMK-N-015")
    assert NodeError("no", id="OMK-N-777").id == "OMK-N-777"
    assert NodeError("no").why is None


def test_problems_of_a_config_become_its_reason() -> None:
    assert ConfigError("bad", problems=("a: x", "b: y")).why == "a: x\nb: y"
    assert ConfigError("bad", problems=("a",), why="other").why == "other"
    assert ConfigError("bad").why is None


def test_what_a_subclass_keeps_survives_pickling() -> None:
    error = CommandFailed(Result(("ssh",), 255, "", "no route"), timed_out=True)
    again = pickle.loads(pickle.dumps(error))
    assert again.result == error.result
    problems = pickle.loads(pickle.dumps(ConfigError("bad", problems=("a: x",)))).problems
    assert problems == ("a: x",)
    assert again.timed_out
    assert again.message == "`ssh` did not end in time"
