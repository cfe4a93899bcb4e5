"""What was deployed once is not deployed again as long as the node's record shows that it is done.

A deployment is trusted only while every file, directory, program and unit of it is as it was
left; a change of any of them, or of what is asked for, lets the module look at all of it again.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ohmykube.cluster.plugins.module_utils import managed, node_state, storage

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import FakeNode, RunModule

pytestmark = pytest.mark.linux

SYSTEMCTL = r"""
[ "$1" = show ] || exit 0
shift; for unit in "$@"; do case "$unit" in *.service)
    echo "Id=$unit"
    echo "ActiveState=$(cat $NOTES/$unit.active 2>/dev/null || echo active)"
    echo "UnitFileState=$(cat $NOTES/$unit.file 2>/dev/null || echo enabled)"
    echo "NeedDaemonReload=$(cat $NOTES/$unit.reload 2>/dev/null || echo no)"
    echo ;; esac; done
"""
DIGEST = "sha256:" + "a" * 64
UNITS = {"one": ["a", "b"], "two": ["c"]}


@pytest.fixture
def machine(node: FakeNode) -> FakeNode:
    node.program("systemctl", SYSTEMCTL)
    return node


@pytest.fixture
def deploy(run_module: RunModule, machine: FakeNode) -> Callable[..., dict[str, Any]]:
    """Return what makes the deployment of a name, which has some of everything."""

    def run(name: str, digest: str = "d1", **more: Any) -> dict[str, Any]:
        program = machine.write(f"src/{name}", f"program {name}")
        params: dict[str, Any] = {
            "deployment": name,
            "digest": digest,
            "artifacts": [
                {
                    "name": f"tool-{name}",
                    "url": program.as_uri(),
                    "checksum": f"sha256:{node_state.digest_of(str(program))}",
                    "dest": str(machine.path(f"usr/bin/{name}")),
                }
            ],
            "files": [
                {"path": str(machine.path(f"etc/{name}.conf")), "content": "1"},
                {"path": str(machine.path(f"etc/{name}.old")), "state": "absent"},
            ],
            "directories": [str(machine.path(f"etc/{name}.d"))],
            "units": [
                {"name": unit, "enabled": True, "state": "started", "triggers": [f"tool-{name}"]}
                for unit in UNITS[name]
            ],
        }
        return run_module("deploy", **{**params, **more})

    return run


def begin() -> None:
    """Begin the record of a play anew, as ``node_prepare`` does."""
    record = managed.Managed()
    record.begin()
    record.note()


def test_what_is_as_it_was_left_is_told_with_its_digest(deploy: Callable[..., Any]) -> None:
    assert managed.intact() == {}
    deploy("one")
    deploy("two", "d2")
    settled = {"one": "d1", "two": "d2"}
    deploy("one")
    deploy("two", "d2")
    assert managed.intact() == settled
    begin()
    assert managed.intact() == settled, "the play that comes need not make them again"


def edited(machine: FakeNode) -> None:
    machine.write("etc/one.conf", "2")


def other_mode(machine: FakeNode) -> None:
    machine.path("etc/one.conf").chmod(0o600)


def removed(machine: FakeNode) -> None:
    machine.path("etc/one.conf").unlink()


def there_again(machine: FakeNode) -> None:
    machine.write("etc/one.old")


def no_directory(machine: FakeNode) -> None:
    shutil.rmtree(machine.path("etc/one.d"))


def replaced_program(machine: FakeNode) -> None:
    os.utime(machine.path("usr/bin/one"), (1, 1))


def removed_program(machine: FakeNode) -> None:
    machine.path("usr/bin/one").unlink()


def forgotten_program(machine: FakeNode) -> None:
    machine.path("var/lib/ohmykube/artifacts.json").unlink()


def forgotten_file(machine: FakeNode) -> None:
    managed.Managed().forget([str(machine.path("etc/one.conf"))])


def stopped(machine: FakeNode) -> None:
    (machine.notes / "a.service.active").write_text("inactive")


def disabled(machine: FakeNode) -> None:
    (machine.notes / "b.service.file").write_text("disabled")


def read_before(machine: FakeNode) -> None:
    (machine.notes / "b.service.reload").write_text("yes")


@pytest.mark.parametrize(
    "change",
    [
        edited,
        other_mode,
        removed,
        there_again,
        no_directory,
        replaced_program,
        removed_program,
        forgotten_program,
        forgotten_file,
        stopped,
        disabled,
        read_before,
    ],
    ids=lambda change: change.__name__,
)
def test_a_deployment_of_which_anything_differs_is_made_again(
    deploy: Callable[..., Any], machine: FakeNode, change: Callable[[FakeNode], None]
) -> None:
    for name in UNITS:
        deploy(name)
        deploy(name)
    change(machine)
    found = managed.intact()
    assert "one" not in found
    assert ("two" in found) is (change is not forgotten_program), "each is judged by its own"


def test_a_unit_that_is_still_to_be_restarted_leaves_the_deployment_undone(
    deploy: Callable[..., Any],
) -> None:
    """A run that is killed before its handlers has restarted nothing: the next one looks again."""
    assert deploy("one")["stale_units"] == ["a.service", "b.service"]
    assert managed.intact() == {}
    assert deploy("one")["stale_units"] == []
    assert managed.intact() == {"one": "d1"}


def test_a_deployment_replaces_all_of_its_former_self(
    deploy: Callable[..., Any], machine: FakeNode
) -> None:
    deploy("one")
    deploy("one", "d2", files=[], directories=[], units=[], artifacts=[])
    assert managed.intact() == {"one": "d2"}
    record = storage.read_json(str(machine.path("var/lib/ohmykube/managed.json")), {})
    assert [record[part] for part in ("files", "directories", "units")] == [{}, [], {}]


def test_what_was_removed_is_not_deployed(deploy: Callable[..., Any]) -> None:
    deploy("one")
    deploy("two")
    deploy("two")
    deploy("one", state="absent")
    assert managed.intact() == {"two": "d1"}


def test_what_no_deployment_has_is_forgotten_by_the_next_play(
    deploy: Callable[..., Any], run_module: RunModule, machine: FakeNode
) -> None:
    loose = str(machine.path("etc/loose"))
    deploy("two")
    run_module("deploy", files=[{"path": loose, "content": "x"}])
    assert loose in managed.files()
    begin()
    assert managed.files() == {str(machine.path(f"etc/two.{end}")) for end in ("conf", "old")}
    assert managed.units() == {"c.service"}


def test_check_mode_notes_nothing(run_module: RunModule, machine: FakeNode) -> None:
    conf = [{"path": str(machine.path("etc/one.conf")), "content": "1"}]
    run_module("deploy", check=True, deployment="one", digest="d1", files=conf)
    assert managed.intact() == {}


IMAGES = f"""\
REF TYPE DIGEST SIZE UNIT PLATFORMS LABELS
r.io/a:1 application/vnd {DIGEST} 25.7 MiB linux/amd64 {node_state.PINNED}
r.io/b:2 application/vnd {DIGEST} 25.7 MiB linux/amd64 -
"""
A = {"ref": "r.io/a:1"}
B = {"ref": "r.io/b:2"}
WANTED = [
    ([A], True),
    ([{**A, "digest": ""}], True),
    ([{**A, "digest": DIGEST}], True),
    ([{**A, "digest": "sha256:" + "b" * 64}], False),
    ([B], False),
    ([A, B], False),
    ([{"ref": "r.io/a:2"}], False),
]


@pytest.mark.parametrize(("wanted", "there"), WANTED)
def test_images_are_there_when_they_are_kept_with_the_digest_that_is_wanted(
    deploy: Callable[..., Any],
    run_module: RunModule,
    machine: FakeNode,
    wanted: list[dict[str, str]],
    *,
    there: bool,
) -> None:
    """What is not pinned may be gone at any moment."""
    machine.program("ctr", f"cat <<'END'\n{IMAGES}END")
    deploy("one")
    deploy("one")
    facts = run_module("node_prepare", check=True, manage_kernel=False)["ansible_facts"]
    told = facts["ohmykube_node"]["images"]
    names = {f"{one['ref']}@{one.get('digest', '')}" for one in wanted}
    assert (names <= set(told)) is there


@pytest.mark.parametrize("trusted", [True, False])
def test_where_containerd_does_not_answer_no_image_is_there(
    deploy: Callable[..., Any], run_module: RunModule, machine: FakeNode, *, trusted: bool
) -> None:
    machine.program("ctr", "echo no socket >&2; exit 1" if trusted else f"echo '{IMAGES}'")
    deploy("one")
    deploy("one")
    asked = {"check": True, "manage_kernel": False, "trust_record": trusted}
    facts = run_module("node_prepare", **asked)["ansible_facts"]
    assert facts["ohmykube_node"]["images"] == []


@pytest.mark.parametrize(("trusted", "told"), [(True, {"one": "d1"}), (False, {})])
def test_the_facts_of_a_node_name_its_deployments_where_the_record_is_trusted(
    deploy: Callable[..., Any],
    run_module: RunModule,
    *,
    trusted: bool,
    told: dict[str, str],
) -> None:
    deploy("one")
    deploy("one")
    asked = {"manage_kernel": False, "state": "present", "trust_record": trusted}
    facts = run_module("node_prepare", check=True, **asked)["ansible_facts"]
    assert facts["ohmykube_node"]["deployed"] == told
