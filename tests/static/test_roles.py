"""Promises of the roles that need no node."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
NODE_CODE = sorted(
    path for name in ("modules", "module_utils") for path in (ROOT / "plugins" / name).glob("*.py")
)
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
ARCHITECTURES = {"amd64", "arm64"}
# Variables of Ansible's own that hold no facts.
MAGIC = {
    *("ansible_check_mode", "ansible_facts", "ansible_play_batch"),
    *("ansible_play_hosts", "ansible_play_hosts_all"),
}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def entry_points(role: str) -> dict[str, Any]:
    specs: dict[str, Any] = load(ROOT / "roles" / role / "meta/argument_specs.yml")[
        "argument_specs"
    ]
    return specs


def role_files(role: str, *kinds: str) -> list[Path]:
    files: list[Path] = []
    for kind in kinds:
        files += [path for path in (ROOT / "roles" / role / kind).rglob("*") if path.is_file()]
    return files


@pytest.mark.parametrize("role", ROLES)
def test_specification_equals_defaults(role: str) -> None:
    defaults = load(ROOT / "roles" / role / "defaults/main.yml")
    text = (ROOT / "roles" / role / "defaults/main.yml").read_text()
    optional = set(re.findall(rf"^# ({role}_\w+):", text, re.MULTILINE))
    documented: set[str] = set()
    for name, entry in entry_points(role).items():
        documented |= set(entry["options"])
        for option, about in entry["options"].items():
            where = f"{role}/{name}/{option}"
            if option in optional:
                assert "default" not in about, where
                continue
            assert option in defaults, where
            default = defaults[option]
            if about["type"] == "dict" and isinstance(default, str):
                # A template is no dictionary to Ansible's documentation: the text says it then.
                assert "default" not in about, where
                used = set(re.findall(rf"{role}_\w+", default))
                assert used, where
                assert used <= set(re.findall(r"O\((\w+)\)", str(about["description"]))), where
                continue
            assert about["default"] == default, where
    assert documented == set(defaults) | optional


@pytest.mark.parametrize("role", ROLES)
def test_every_entry_point_is_described(role: str) -> None:
    tasks = {path.stem for path in role_files(role, "tasks")}
    for name, entry in entry_points(role).items():
        assert name in tasks
        assert entry["short_description"]
        assert entry["description"]
        for option, about in entry["options"].items():
            assert option.startswith(role + "_")
            assert about["description"], option


@pytest.mark.parametrize("role", ROLES)
def test_checksums_are_complete(role: str) -> None:
    path = ROOT / "roles" / role / "vars/main/checksums.yml"
    if not path.exists():
        assert not any(
            f"{role}_release_url" in entry["options"] for entry in entry_points(role).values()
        )
        return
    ((_, components),) = load(path).items()
    for component, by_arch in components.items():
        assert set(by_arch) == ARCHITECTURES, component
        assert set(by_arch["amd64"]) == set(by_arch["arm64"]), component
        for sums in by_arch.values():
            for version, value in sums.items():
                assert re.fullmatch(r"sha256:[0-9a-f]{64}", value), (component, version)
        assert not set(by_arch["amd64"].values()) & set(by_arch["arm64"].values()), component


def checksums(role: str) -> dict[str, dict[str, dict[str, str]]]:
    ((_, components),) = load(ROOT / "roles" / role / "vars/main/checksums.yml").items()
    found: dict[str, dict[str, dict[str, str]]] = components
    return found


def test_default_versions_have_checksums() -> None:
    containerd = load(ROOT / "roles/containerd/defaults/main.yml")
    kubeadm = load(ROOT / "roles/kubeadm/defaults/main.yml")
    wanted = [
        ("containerd", "containerd", containerd["containerd_version"]),
        ("containerd", "runc", containerd["containerd_runc_version"]),
        ("containerd", "cni_plugins", containerd["containerd_cni_plugins_version"]),
        *(
            ("kubeadm", name, kubeadm["kubeadm_kubernetes_version"])
            for name in ("kubeadm", "kubelet", "kubectl")
        ),
    ]
    for role, component, version in wanted:
        assert version in checksums(role)[component]["amd64"], component


def test_versions_and_sums_equal_those_of_the_catalog() -> None:
    data = ROOT / "ohmykube/cache/data"
    kubernetes = load(data / "kubernetes.yaml")
    components = load(data / "sets/containerd.yaml")["components"]
    network = load(ROOT / "ohmykube/addons/flannel/set.yaml")
    containerd = load(ROOT / "roles/containerd/defaults/main.yml")
    kubeadm = load(ROOT / "roles/kubeadm/defaults/main.yml")
    flannel = load(ROOT / "roles/flannel/defaults/main.yml")
    version = kubeadm["kubeadm_kubernetes_version"]
    assert version == kubernetes["default"]
    assert containerd["containerd_version"] == components["containerd"]["version"]
    assert containerd["containerd_runc_version"] == components["runc"]["version"]
    assert containerd["containerd_cni_plugins_version"] == components["cni-plugins"]["version"]
    pause = kubernetes["minors"][version.rpartition(".")[0]]["pause"]
    assert containerd["containerd_sandbox_image"] == f"registry.k8s.io/pause:{pause}"
    assert flannel["flannel_image"].endswith(":v" + network["version"])
    plugin = network["images"]["flannel-cni-plugin"]["version"]
    assert flannel["flannel_cni_plugin_image"].endswith(":" + plugin)
    for arch in ARCHITECTURES:
        for release, facts in kubernetes["releases"].items():
            for name, value in facts.get("sha256", {}).get(arch, {}).items():
                ours = checksums("kubeadm")[name][arch].get(release)
                assert ours in (None, "sha256:" + value), (name, release)


@pytest.mark.parametrize("role", ROLES)
def test_facts_are_not_injected(role: str) -> None:
    for path in role_files(role, "tasks", "handlers", "vars", "templates", "defaults"):
        used = set(re.findall(r"\bansible_\w+", path.read_text())) - MAGIC
        assert not used, path


@pytest.mark.parametrize("role", ROLES)
def test_no_group_is_named_outside_defaults(role: str) -> None:
    for path in role_files(role, "tasks", "handlers", "vars", "templates"):
        text = path.read_text()
        assert not re.search(r"\b(kube_control_plane|kube_node|k8s_cluster)\b", text), path
        assert not re.search(r"groups\s*(\.|\[\s*['\"])", text), path


@pytest.mark.parametrize("role", ROLES)
def test_readme(role: str) -> None:
    text = (ROOT / "roles" / role / "README.md").read_text()
    for option in {option for entry in entry_points(role).values() for option in entry["options"]}:
        assert f"`{option}`" in text, option
    assert f"ohmykube.cluster.{role}" in text
    for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        assert isinstance(yaml.safe_load(block), list)


def tasks_in(tasks: list[Any], rescue: tuple[Any, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """Give each task with the tasks that are run when it fails."""
    for task in tasks:
        yield task, rescue
        yield from tasks_in(task.get("block", []), (*rescue, *task.get("rescue", [])))
        for more in ("rescue", "always"):
            yield from tasks_in(task.get(more, []), rescue)


def test_what_is_hidden_tells_why_it_failed() -> None:
    """A task with ``no_log`` fails by another one, which tells the reason that was registered."""
    found = [
        (task, rescue)
        for role in ROLES
        for path in role_files(role, "tasks", "handlers")
        for task, rescue in tasks_in(load(path) or [])
        if task.get("no_log")
    ]
    assert found
    for task, rescue in found:
        told = [str(one.get("ansible.builtin.fail", "")) for one in rescue]
        judged_later = task.get("failed_when") is False
        assert judged_later or any(f"{task['register']}.msg" in one for one in told), task["name"]


def test_playbooks_hold_no_logic() -> None:
    for path in (ROOT / "playbooks").glob("*.yml"):
        for play in load(path):
            for task in play.get("tasks", []):
                actions = [key for key in task if key.startswith(("ansible.builtin.", "ohmykube."))]
                assert len(actions) == 1, path
            assert play["gather_facts"] is False


@pytest.mark.parametrize("path", NODE_CODE, ids=lambda path: path.name)
def test_node_code_runs_with_python_3_8_alone(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            names = [statement.module or ""]
        else:
            assert not isinstance(statement, ast.Match), path
            continue
        for name in names:
            ours = name.startswith("ansible_collections.ohmykube.cluster.plugins.module_utils")
            own = name == "ansible.module_utils.basic"
            assert ours or own or name.partition(".")[0] in sys.stdlib_module_names, name


def flattened(options: dict[str, Any]) -> dict[str, Any]:
    """Return option name -> its facts, suboptions as ``name/sub``."""
    result: dict[str, Any] = {}
    for name, about in options.items():
        result[name] = {key: about.get(key) for key in ("type", "elements", "choices", "default")}
        inner = about.get("suboptions") or about.get("options") or {}
        result |= {f"{name}/{sub}": facts for sub, facts in flattened(inner).items()}
    return result


@pytest.mark.parametrize("name", MODULES)
def test_module_documentation_equals_its_options(name: str) -> None:
    module = importlib.import_module(f"ansible_collections.ohmykube.cluster.plugins.modules.{name}")
    documented = yaml.safe_load(module.DOCUMENTATION)
    assert documented["module"] == name
    assert flattened(documented.get("options", {})) == flattened(getattr(module, "OPTIONS", {}))
    assert f"ohmykube.cluster.{name}" in yaml.safe_load(module.EXAMPLES)[0]
    assert yaml.safe_load(module.RETURN)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "plugins/filter").glob("*.py")), ids=lambda path: path.stem
)
def test_every_filter_is_documented(path: Path) -> None:
    module = importlib.import_module(
        f"ansible_collections.ohmykube.cluster.plugins.filter.{path.stem}"
    )
    for name, function in module.FilterModule().filters().items():
        about = load(path.with_name(f"{name}.yml"))["DOCUMENTATION"]
        positional = [part.strip() for part in about["positional"].split(",")]
        assert positional == [
            "_input",
            *function.__code__.co_varnames[1 : function.__code__.co_argcount],
        ]
        code = function.__code__
        named = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        assert set(about["options"]) == {*positional, *named}


def facts_of(role: str) -> set[str]:
    """Return what the tasks of a role make facts of."""
    found = {"ansible_facts"}
    for path in role_files(role, "tasks"):
        for task in every_task(load(path)):
            found |= set(task.get("ansible.builtin.set_fact", {}))
            found |= {task["register"]} if "register" in task else set()
    return found


def every_task(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return tasks, and those in blocks."""
    inner = (every_task(task.get("block", [])) for task in tasks)
    return [*tasks, *(task for found in inner for task in found)]


OF_ANOTHER_HOST = re.compile(r"hostvars\[[^\]]+\](?:\.|\[['\"])(\w+)")


@pytest.mark.parametrize("role", ROLES)
def test_of_another_host_a_role_reads_facts_alone(role: str) -> None:
    """Variables of plays, roles and tasks are not in ``hostvars``, whatever a host itself sees."""
    for path in role_files(role, "tasks", "handlers", "vars", "templates", "defaults"):
        assert set(OF_ANOTHER_HOST.findall(path.read_text())) <= facts_of(role), path


@pytest.mark.parametrize(
    "path", sorted((ROOT / "plugins/filter").glob("*.py")), ids=lambda path: path.stem
)
def test_of_another_host_a_filter_reads_facts_alone(path: Path) -> None:
    variables = {
        option
        for role in ROLES
        for entry in entry_points(role).values()
        for option in entry["options"]
    }
    text = path.read_text()
    used = set(re.findall(r"\.get\(\s*[\"'](\w+)", text) + re.findall(r"\[[\"'](\w+)[\"']\]", text))
    assert not used & variables


DESTROYS = re.compile(r"cluster_reset|tasks_from: reset|kubeadm reset|rm -rf|force", re.IGNORECASE)


def strings(value: Any) -> list[str]:
    """Return all texts in a document."""
    if isinstance(value, dict):
        return [text for inner in value.values() for text in strings(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in strings(inner)]
    return [value] if isinstance(value, str) else []


def messages(path: Path) -> list[str]:
    """Return what a file may say to a user: texts of tasks, and in Python all but documentation."""
    if path.suffix == ".yml":
        return strings(load(path))
    tree = ast.parse(path.read_text())
    named = ("DOCUMENTATION", "EXAMPLES", "RETURN")
    described = {
        id(part.value)
        for part in ast.walk(tree)
        if isinstance(part, ast.Expr)
        or (isinstance(part, ast.Assign) and getattr(part.targets[0], "id", "") in named)
    }
    return [
        part.value
        for part in ast.walk(tree)
        if isinstance(part, ast.Constant)
        and isinstance(part.value, str)
        and id(part) not in described
    ]


@pytest.mark.parametrize(
    "path",
    [*sorted((ROOT / "plugins").rglob("*.py")), *sorted((ROOT / "roles").glob("*/tasks/*.yml"))],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_no_message_advises_to_destroy(path: Path) -> None:
    """Who is refused something is never told to reset, delete or force something next."""
    for text in messages(path):
        advice = text.partition("Next:")[2]
        assert not DESTROYS.search(advice), text
