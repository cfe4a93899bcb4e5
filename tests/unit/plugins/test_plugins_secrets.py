"""No secret in a node's journal, in a result, in an argument of a program or in a file for all."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ohmykube.cluster.plugins.module_utils import ansible_module, storage
from ansible_collections.ohmykube.cluster.plugins.modules import kube_apply, kubeadm_init

if TYPE_CHECKING:
    from .conftest import FakeNode, RunModule

pytestmark = pytest.mark.linux

MODULES = Path(__file__).parents[3] / "plugins/modules"
ACTIONS = {path.stem for path in (MODULES.parent / "action").glob("*.py")}
"""They run on the controller; the module of the same name is their documentation."""
NAMES = sorted({path.stem for path in MODULES.glob("*.py")} - ACTIONS)
SECRET = "hunter2-correct-horse"


def value(about: dict[str, Any]) -> Any:
    """Return a value of an option in which every text is a secret."""
    if "choices" in about:
        return about["choices"][0]
    if about.get("options"):
        return [{name: value(inner) for name, inner in about["options"].items()}]
    plain = {"str": SECRET, "int": 4711, "bool": True, "path": "/some/path"}
    kind = about.get("type", "str")
    element = {"str": SECRET, "path": "/some/path"}.get(about.get("elements", ""), {"k": SECRET})
    return {"list": [element], "dict": {"k": {"kind": SECRET}}}.get(kind) or plain[kind]


def arguments(name: str) -> dict[str, Any]:
    options = importlib.import_module(
        f"ansible_collections.ohmykube.cluster.plugins.modules.{name}"
    ).OPTIONS
    return {option: value(about) for option, about in options.items()}


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what goes to the journal or to syslog."""
    lines: list[str] = []
    basic = importlib.import_module("ansible.module_utils.basic")
    monkeypatch.setattr(basic, "has_journal", False)
    monkeypatch.setattr(basic.syslog, "syslog", lambda _level, text: lines.append(text))
    return lines


@pytest.mark.parametrize("name", NAMES)
def test_no_text_of_an_argument_is_logged_or_returned(
    name: str,
    node: FakeNode,
    journal: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever the module, and whether it succeeds or fails: numbers, switches and paths do."""
    module = importlib.import_module(f"ansible_collections.ohmykube.cluster.plugins.modules.{name}")
    given = arguments(name)
    seen: list[ansible_module.Module] = []

    class Noted(ansible_module.Module):
        """Ends as soon as it has its arguments."""

        def __init__(self, options: dict[str, Any]) -> None:
            super().__init__(options)
            seen.append(self)
            self.exit_json(changed=False)

    monkeypatch.setattr(ansible_module, "Module", Noted)
    with patch_module_args(given):
        with pytest.raises(SystemExit):
            module.main()
        said = capsys.readouterr().out
        with pytest.raises(SystemExit):
            seen[0].fail_json("it failed")
        failed = capsys.readouterr().out
    assert journal
    assert SECRET not in said + failed + "".join(journal)
    returned = json.loads(said)["invocation"]["module_args"]
    assert set(returned) == set(given), "which arguments were given is told"


@pytest.mark.parametrize("name", NAMES)
def test_every_module_is_made_the_same_way(name: str) -> None:
    text = (MODULES / f"{name}.py").read_text()
    assert "ansible_module.Module(OPTIONS)" in text
    assert "AnsibleModule" not in text


def test_numbers_switches_and_places_are_shown() -> None:
    options = {
        "state": {"type": "str", "choices": ["present", "absent"]},
        "path": {"type": "path"},
        "timeout": {"type": "int"},
        "content": {"type": "str"},
        "files": {"type": "list"},
    }
    params = {"state": "absent", "path": "/x", "timeout": 3, "content": SECRET, "files": [SECRET]}
    assert ansible_module.shown(options, params) == {
        "state": "absent",
        "path": "/x",
        "timeout": 3,
        "content": ansible_module.NOT_SHOWN,
        "files": ansible_module.NOT_SHOWN,
    }


@pytest.mark.parametrize("mode", [None, "0640"])
@pytest.mark.parametrize("before", [None, "old " + SECRET])
@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_sensitive_file_is_nobodys_to_read(
    run_module: RunModule, node: FakeNode, state: str, before: str | None, mode: str | None
) -> None:
    path = node.path("etc/secret")
    file = {"path": str(path), "content": SECRET, "sensitive": True}
    if mode:
        file["mode"] = mode
    if before:
        node.write("etc/secret", before)
    result = run_module("deploy", files=[file])
    assert SECRET not in str(result)
    assert path.stat().st_mode & 0o777 == int(mode or "0600", 8)
    if state == "absent":
        assert SECRET not in str(run_module("deploy", state="absent", files=[file]))
    kept = node.path("var/lib/ohmykube/replaced")
    for copy in kept.iterdir() if kept.exists() else ():
        assert copy.parent.stat().st_mode & 0o077 == 0
        assert before


SPELLINGS = [
    "apiVersion: v1\nkind: Secret\nstringData: {a: SECRET}\n",
    "kind: 'Secret'\nstringData:\n  a: SECRET\n",
    '{"apiVersion": "v1", "kind": "Secret", "stringData": {"a": "SECRET"}}',
    '{\n "stringData": {"a": "SECRET"},\n "kind":"Secret"\n}',
    "apiVersion: v1\nkind: List\nitems:\n- kind: Secret\n  stringData: {a: SECRET}\n",
    "---\nkind: ConfigMap\n---\n# a comment\nkind: Secret\ndata: {a: SECRET}\n---\nkind: Pod\n",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_new_object_of_kind_secret_is_not_shown(
    run_module: RunModule, node: FakeNode, spelling: str
) -> None:
    """kubectl masks what it compares; where it has nothing to compare with, we do."""
    node.program("kubectl", "case \"$*\" in *diff*) echo NotFound >&2; exit 1 ;; esac; echo '{}'")
    config = str(node.write("admin.conf"))
    manifest = spelling.replace("SECRET", SECRET)
    result = run_module("kube_apply", manifest=manifest, kubeconfig=config)
    assert result["changed"] is True
    assert SECRET not in json.dumps(result)
    assert SECRET not in "".join(node.calls())
    assert storage.SECRET_TEXT.strip() in result["diff"]["prepared"]


def test_other_objects_are_shown() -> None:
    text = "kind: SecretStore\n---\nkind: Deployment\nname: Secret\n"
    assert kube_apply.without_secrets(text) == text


def test_a_sensitive_manifest_is_not_shown_whatever_kubectl_says(
    run_module: RunModule, node: FakeNode
) -> None:
    config = str(node.write("admin.conf"))
    params = {"manifest": "kind: Widget", "kubeconfig": config, "sensitive": True}
    node.program("kubectl", f"case \"$*\" in *diff*) echo {SECRET}; exit 1 ;; esac; echo '{{}}'")
    assert SECRET not in json.dumps(run_module("kube_apply", **params))
    node.program("kubectl", f"echo {SECRET} >&2; exit 3")
    assert SECRET not in json.dumps(run_module("kube_apply", fails=True, **params))


@pytest.mark.parametrize("field", ["token", "certificateKey"])
def test_the_difference_of_kubeadms_configuration_shows_no_secret(field: str) -> None:
    text = json.dumps({"a": [{field: SECRET}], "name": "cp1"}, indent=1)
    shown = kubeadm_init.without_secrets({"before": text, "after": text})
    assert SECRET not in str(shown)
    assert "cp1" in shown["after"]


def test_without_root_the_right_that_is_missing_is_named(
    run_module: RunModule, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is changed, instead of the number of an error."""
    monkeypatch.setattr(ansible_module, "may_write", lambda _path: False)
    for name, params in (("node_info", {}), ("deploy", {"files": [{"path": "/x", "content": ""}]})):
        said = run_module(name, fails=True, **params)["msg"]
        assert "become: true" in said
        assert "Errno" not in said
