"""The inventory text: goldens, quoting, names, secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ohmykube.ansible import inventory
from ohmykube.ansible.inventory import HostEntry
from ohmykube.ansible.variables import CacheAccess, NodeTraits
from ohmykube.errors import ConfigError, ProviderError
from ohmykube.kit.secret import Secret
from ohmykube.model.cluster import Cluster, Node, Role, Taint
from ohmykube.model.machine import Machine, MachineState, SshTarget

GOLDEN = Path(__file__).parents[2] / "data" / "inventory"
EVIL = "{{ lookup('pipe', 'touch /nowhere') }}"


def _cluster(*nodes: Node) -> Cluster:
    return Cluster(name="dev", kubernetes_version="1.36.3", provider="nspawn", nodes=nodes)


def _machines(*nodes: Node) -> dict[str, Machine]:
    return {
        node.name: Machine(
            cluster="dev",
            node=node.name,
            state=MachineState.RUNNING,
            address=f"10.88.0.{number}",
            ssh=SshTarget(address=f"10.88.0.{number}", user="root"),
        )
        for number, node in enumerate(nodes, 11)
    }


def _write(tmp_path: Path, *nodes: Node, token: str = "golden-token") -> Path:
    hosts, shared = inventory.compose(
        cluster=_cluster(*nodes),
        lock=None,
        machines=_machines(*nodes),
        access=CacheAccess(endpoint="http://127.0.0.1:5055", token=Secret(token)),
        ssh_config=Path("/run/omk/ssh_config"),
        node_traits=NodeTraits(system_containers=True),
    )
    return inventory.write(tmp_path / "inventory", hosts, shared)


THREE = (
    Node(name="dev-cp-1", role=Role.CONTROL_PLANE, taints=()),
    Node(
        name="dev-w-1",
        role=Role.WORKER,
        labels={"tier": "web", EVIL: EVIL, "looks": "1.10", "empty": ""},
        taints=(Taint(key="gpu", effect="NoSchedule"),),
    ),
    Node(name="dev-w-2", role=Role.WORKER),
)


@pytest.mark.parametrize(
    ("name", "nodes"), [("three_nodes.yml", THREE), ("one_node.yml", THREE[:1])]
)
def test_rendered_text_is_as_the_golden(tmp_path: Path, name: str, nodes: tuple[Node]) -> None:
    assert _write(tmp_path, *nodes).read_text() == (GOLDEN / name).read_text()


def test_a_secret_is_not_in_the_inventory_but_beside_it(tmp_path: Path) -> None:
    path = _write(tmp_path, *THREE, token="s3cr3t-token")
    secrets = path.parent / inventory.SECRETS_FILE
    assert "s3cr3t-token" not in path.read_text()
    assert "s3cr3t-token" in secrets.read_text()
    assert inventory.secrets_of(path) == ("s3cr3t-token",)
    for file in (path, secrets):
        assert file.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("length", "hidden"), [(1, False), (7, False), (8, True), (64, True)])
def test_what_is_short_is_no_secret_to_hide(tmp_path: Path, length: int, hidden: bool) -> None:
    path = _write(tmp_path, *THREE, token="x" * length)
    assert inventory.secrets_of(path) == (("x" * length,) if hidden else ())


def test_an_inventory_of_others_has_no_secrets_of_ours(tmp_path: Path) -> None:
    assert inventory.secrets_of(tmp_path / "hosts.yml") == ()


def test_a_secret_that_would_get_into_the_text_is_refused() -> None:
    with pytest.raises(TypeError, match="Secret"):
        inventory.render([], {"a": {"b": Secret("x")}})


def test_a_node_without_machine_is_an_error() -> None:
    with pytest.raises(ProviderError, match='node "dev-cp-1" has no machine'):
        inventory.compose(
            cluster=_cluster(THREE[0]),
            lock=None,
            machines={},
            access=None,
            ssh_config=None,
            node_traits=NodeTraits(system_containers=False),
        )


@pytest.mark.parametrize(
    "name",
    [
        "",
        "A",
        "-a",
        "a-",
        "a..b",
        "10.0.0.1",
        "a" * 64,
        "a\nb",
        "a:",
        "localhost",
        "all",
        "-oProxyCommand=x",
        EVIL,
    ],
)
def test_a_name_that_ansible_would_understand_otherwise_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        inventory.render([HostEntry(name=name, group="kube_node")], {})


def test_a_variable_name_is_never_text_from_outside() -> None:
    with pytest.raises(ValueError, match="no variable name"):
        inventory.render([], {"a: {}\nb": 1})


class _Reader(yaml.SafeLoader):
    """Reads as Ansible does: what stands behind !unsafe is resolved as plain text would be."""


def _unsafe(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> object:
    tag = loader.resolve(yaml.ScalarNode, node.value, (True, False))
    return loader.construct_object(yaml.ScalarNode(tag, node.value))


_Reader.add_constructor("!unsafe", _unsafe)

_scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.text())
_data = st.recursive(
    _scalars,
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=12,
)


@given(_data)
def test_any_data_comes_back_as_it_was(value: object) -> None:
    text = inventory.variables_to_yaml({"x": value})
    assert yaml.load(text, Loader=_Reader) == {"x": value}


@pytest.mark.parametrize("text", ["1.10", "true", "null", "~", "2024-01-01", "<<", "=", "", "0x1f"])
def test_text_that_looks_like_another_type_stays_text(text: str) -> None:
    assert yaml.load(inventory.to_yaml([text]), Loader=_Reader) == [text]


@given(st.text())
def test_text_that_can_hold_a_template_is_tagged(text: str) -> None:
    if any(mark in text for mark in ("{{", "{%", "{#")):
        assert inventory.to_yaml([text]).startswith("- !unsafe ")


@pytest.mark.parametrize("text", ["{{ x }}", "{% x %}", "{# x #}", "1{{ x }}"])
def test_a_template_is_tagged_as_value_and_as_key(text: str) -> None:
    assert inventory.to_yaml({text: text}).count("!unsafe") == 2
