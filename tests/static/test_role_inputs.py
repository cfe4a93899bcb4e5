"""What a role's scenario reads: a change of any kind reaches the roles that use it."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
ALL = {"cache", "containerd", "flannel", "kubeadm", "local_path", "metrics_server", "node"}
CLUSTERS = {"flannel", "local_path", "metrics_server"}
"""Those whose scenario begins with a cluster."""


def load() -> ModuleType:
    path = ROOT / "tools" / "role_inputs.py"
    spec = importlib.util.spec_from_file_location("role_inputs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


inputs = load()


@pytest.fixture(scope="module")
def reached() -> dict[str, set[str]]:
    """Return each file that any scenario reads, with the roles of those."""
    found: dict[str, set[str]] = {}
    for role in inputs.roles():
        for path in inputs.files(role):
            found.setdefault(str(path.relative_to(ROOT)), set()).add(role)
    return found


@pytest.mark.parametrize(
    ("path", "roles"),
    [
        # The role itself, all its parts, and those that build on it.
        # Its cluster stays for the scenario after it.
        ("roles/local_path/tasks/main.yml", {"local_path", "metrics_server"}),
        ("roles/metrics_server/tasks/main.yml", {"metrics_server"}),
        ("roles/flannel/tasks/main.yml", CLUSTERS),
        ("roles/flannel/templates/flannel.yaml.j2", CLUSTERS),
        ("roles/kubeadm/handlers/main.yml", {"kubeadm"} | CLUSTERS),
        ("roles/kubeadm/tasks/reset.yml", {"kubeadm"} | CLUSTERS),
        ("roles/cache/defaults/main.yml", {"cache", "kubeadm"} | CLUSTERS),
        ("roles/cache/meta/argument_specs.yml", {"cache", "kubeadm"} | CLUSTERS),
        ("roles/containerd/tasks/main.yml", ALL - {"node"}),
        ("roles/node/tasks/assert.yml", ALL),
        # Modules, what modules import, and what that imports.
        ("plugins/modules/kube_apply.py", CLUSTERS),
        ("plugins/modules/kubeadm_join.py", {"kubeadm"} | CLUSTERS),
        ("plugins/modules/images.py", {"cache", "kubeadm"} | CLUSTERS),
        ("plugins/modules/deploy.py", ALL - {"node"}),
        ("plugins/module_utils/registries.py", {"cache", "kubeadm"} | CLUSTERS),
        ("plugins/module_utils/units.py", ALL),
        ("plugins/module_utils/storage.py", ALL),
        # Filters, and what they import.
        ("plugins/filter/containerd.py", ALL - {"node"}),
        ("plugins/filter/kubeadm.py", ALL - {"node"}),
        ("plugins/filter/problems.py", ALL),
        ("plugins/plugin_utils/merge.py", ALL - {"node"}),
        # The scenario, those whose playbooks it imports, and what these name.
        ("molecule/cache/prepare.yml", {"cache"}),
        ("molecule/node/molecule.yml", {"node"}),
        ("molecule/default/verify_role.yml", ALL),
        ("molecule/default/create.yml", ALL),
        ("tests/data/mirror/plain_mirror.py", {"cache"}),
        # What verifies.
        ("tests/testinfra/test_kubeadm.py", {"kubeadm"}),
        ("tests/testinfra/conftest.py", ALL),
        ("tests/conftest.py", ALL),
        # What makes nodes and writes the inventory: by imports, entry points and as data.
        (".config/molecule/config.yml", ALL),
        ("inventory_templates/hosts.yml.j2", ALL),
        ("ohmykube/testing/nodes.py", ALL),
        ("ohmykube/ansible/variables.py", ALL),
        ("ohmykube/providers/nspawn/machines.py", ALL),
        ("ohmykube/cache/sources/build.py", ALL),
        ("ohmykube/cache/data/sets/containerd.yaml", ALL),
        ("ohmykube/addons/flannel/set.yaml", ALL),
        ("ohmykube/steps/serve.py", ALL),
        ("ohmykube/workflows/down.py", ALL),
        ("tools/molecule_run.py", ALL),
        # What no scenario reads.
        ("roles/cache/README.md", set()),
        ("ohmykube/cli/cluster/up.py", set()),
        ("ohmykube/ui/live.py", set()),
        ("ohmykube/providers/lima/provider.py", set()),
        ("plugins/inventory/lima.py", set()),
        ("docs/architecture.md", set()),
        ("tests/unit/test_errors.py", set()),
    ],
)
def test_a_change_reaches_the_roles_that_use_it(
    reached: dict[str, set[str]], path: str, roles: set[str]
) -> None:
    assert (ROOT / path).is_file()
    assert reached.get(path, set()) == roles


def test_no_role_is_forgotten() -> None:
    assert set(inputs.roles()) == ALL
    for role in inputs.roles():
        assert (ROOT / "molecule" / role / "converge.yml").is_file()
        assert (ROOT / "tests" / "testinfra" / f"test_{role}.py").is_file()


@pytest.mark.parametrize("place", ["roles/*/*", "plugins/modules", "plugins/filter"])
def test_no_file_of_the_roles_reaches_nobody(reached: dict[str, set[str]], place: str) -> None:
    """And none of what they, or our playbooks, call."""
    playbooks = "".join(path.read_text() for path in (ROOT / "playbooks").glob("*.yml"))
    called = set(re.findall(r"ohmykube\.cluster\.(\w+)", playbooks))
    found = [p for d in ROOT.glob(place) if d.is_dir() for p in d.rglob("*") if p.is_file()]
    names = [str(p.relative_to(ROOT)) for p in found if "__pycache__" not in p.parts]
    assert names
    rest = [name for name in names if name not in reached]
    assert [name for name in rest if Path(name).stem not in called] == []


def test_every_import_of_a_role_s_module_is_followed(reached: dict[str, set[str]]) -> None:
    helpers = (ROOT / "plugins" / "module_utils").glob("*.py")
    unused = {str(p.relative_to(ROOT)) for p in helpers} - reached.keys()
    assert unused == set()


def test_every_glob_means_a_file() -> None:
    """A name that was misspelt, or a file that was moved, is noticed."""
    for role in inputs.roles():
        for glob in inputs.inputs(role):
            assert any(ROOT.glob(glob)), glob


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of what is looked at, to be changed."""
    for name in ("roles", "plugins", "playbooks", "molecule", "ohmykube"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_a_new_file_and_a_new_use_are_seen(copy: Path) -> None:
    assert "plugins/modules/kube_apply.py" not in inputs.inputs("node", copy)
    tasks = copy / "roles" / "node" / "tasks"
    (tasks / "more.yml").write_text("- ohmykube.cluster.kube_apply:\n")
    assert tasks / "more.yml" in inputs.files("node", copy)
    assert "plugins/modules/kube_apply.py" in inputs.inputs("node", copy)
    assert "plugins/module_utils/kubectl.py" in inputs.inputs("node", copy)


def test_a_name_that_is_nowhere_is_refused(copy: Path) -> None:
    play = copy / "molecule" / "node" / "converge.yml"
    play.write_text(play.read_text() + "    - role: ohmykube.cluster.nowhere\n")
    with pytest.raises(LookupError, match="nowhere"):
        inputs.inputs("node", copy)


def test_only_the_collection_s_own_names_are_used() -> None:
    """Names are followed where they are written in full: a short one would not be seen."""
    for path in (ROOT / "molecule").rglob("*.yml"):
        for play in yaml.safe_load(path.read_text()) or ():
            for role in play.get("roles", ()) if isinstance(play, dict) else ():
                name = role["role"] if isinstance(role, dict) else role
                assert name.startswith("ohmykube.cluster."), path
