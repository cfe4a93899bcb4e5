"""A file that is not ours is changed through ``kit/user_file.py`` alone, which keeps whose it is.

Every other module that writes or renames files is listed with what it writes: files that the
project itself made, or new ones that the user asked for.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ohmykube

PACKAGE = Path(ohmykube.__file__).parent
DOOR = "kit/user_file.py"
WRITERS = {
    "ansible": "the inventory, settings and starter of a run, in its directory",
    "cache": "blobs and lists of the store, bundles that are made",
    "kit/files.py": "the means: replaces a file by a new one",
    "kit/process.py": "logs of programs that we started",
    "kube/exposure": "what the process that holds a cluster's ports tells",
    "providers/lima": "records, and files of a home of Lima that is ours",
    "providers/port_process.py": "what the process that holds a cluster's ports is told",
    "providers/nspawn": "records and trees of nodes, and settings of the kernel",
    "providers/ssh/records.py": "records of hosts",
    "providers/ssh/remote_script.py": "settings of one ssh run, in a directory of its own",
    "providers/ssh/user_config.py": "settings of one question to ssh, in a directory of its own",
    "providers/template_file.py": "descriptions of templates",
    "state": "records of clusters",
    "steps": "files of a cluster or of a run, in their directories",
    "testing": "files of fakes",
    "workflows/expose.py": "wishes of the user, in a cluster's directory",
    "workflows/merged_kubeconfigs.py": "notes in a cluster's directory",
    "workflows/session.py": "the copy of kubectl in our data",
}
"""Module or room, and whose files it writes."""


def writes(source: str) -> list[int]:
    """Return the lines where a file's content is written whole or put in another one's place."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_write(node)
    ]


def _is_write(call: ast.Call) -> bool:
    assert isinstance(call.func, ast.Attribute)
    of = call.func.value.id if isinstance(call.func.value, ast.Name) else ""
    match call.func.attr:
        case "write" | "replacing":
            return of == "files"
        case "write_text" | "write_bytes":
            return of != "formatter"
        case "rename" | "renames" | "replace":  # of os with two paths, of a path with one
            return of in ("os", "shutil") or (len(call.args) == 1 and not call.keywords)
        case "move" | "copy" | "copy2" | "copyfile":
            return of == "shutil"
        case "open":
            modes = [one.value for one in call.args if isinstance(one, ast.Constant)]
            return any(isinstance(mode, str) and set(mode) & set("wa+") for mode in modes)
    return False


def _listed(module: str) -> str | None:
    return next((name for name in WRITERS if module == name or module.startswith(f"{name}/")), None)


def test_whoever_writes_files_says_whose_they_are() -> None:
    writers = {
        str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("*.py"))
        if writes(path.read_text())
    } - {DOOR}
    assert {module for module in writers if _listed(module) is None} == set()
    assert WRITERS.keys() - {_listed(module) for module in writers} == set()


def test_the_user_s_kubeconfig_is_changed_through_the_door() -> None:
    source = (PACKAGE / "kube" / "kubeconfig_file.py").read_text()
    assert "user_file.rewrite(" in source
    assert writes(source) == []


@pytest.mark.parametrize(
    "source",
    [
        "files.write(p, b'')",
        "with files.replacing(p) as s: pass",
        "p.write_text('x')",
        "p.open('wb')",
        "p.open('r+b')",
        "os.replace(a, b)",
        "temp.replace(path)",
        "shutil.move(a, b)",
    ],
)
def test_the_look_sees_writing(source: str) -> None:
    assert writes(source) == [1]


@pytest.mark.parametrize(
    "source", ["s.replace('a', 'b')", "dataclasses.replace(x, a=1)", "p.open('rb')", "s.write(b'')"]
)
def test_the_look_lets_other_things_pass(source: str) -> None:
    assert writes(source) == []
