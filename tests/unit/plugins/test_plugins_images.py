"""images: registry host files and pulls, with fake ctr and systemd."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ohmykube.cluster.plugins.module_utils import node_state, pulls, registries

if TYPE_CHECKING:
    from .conftest import FakeNode, RunModule

pytestmark = pytest.mark.linux

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
PAUSE = {"ref": "registry.k8s.io/pause:3.10.2", "digest": DIGEST}
PROXY = {"ref": "registry.k8s.io/kube-proxy:v1.36.3", "digest": OTHER}
# One file for each image name: pulls run at the same time. A pull brings the digest asked for.
# The CRI sets its label a look later than the image is there.
CTR = r"""
shift 2
mkdir -p $NOTES/images
file() { echo "$NOTES/images/$(echo "$1" | tr / _)"; }
row() { echo "$1 type $2 1 MiB linux/amd64 $3" >"$(file "$1")"; }
case "$*" in
"images ls")
  echo "REF TYPE DIGEST SIZE PLATFORMS LABELS"
  cat $NOTES/images/* 2>/dev/null || true
  [ -e $NOTES/no-cri ] || for each in $NOTES/images/*; do
    [ -e "$each" ] && ! grep -q image=managed "$each" || continue
    sed -i s/$/,io.cri-containerd.image=managed/ "$each"
  done ;;
"images pull"*)
  for last; do :; done
  [ -e $NOTES/offline ] && exit 1
  [ -e $NOTES/as-it-is ] && [ "${last#*@}" = "$(cat $NOTES/as-it-is)" ] && exit 1
  row "$last" "${last#*@}" io.cri-containerd.pinned=pinned ;;
"images tag --force"*) row "$5" "${4#*@}" - ;;
"images rm"*) rm "$(file "$3")" ;;
"images label"*) row "$3" "$(cut -d' ' -f3 "$(file "$3")")" "$4" ;;
esac
"""
SYSTEMD_RUN = r"""
[ -e $NOTES/refuse-always ] && exit 1
if [ -e $NOTES/refuse ]; then rm $NOTES/refuse; exit 1; fi
if [ -s $NOTES/leaving ]; then sed -i 1d $NOTES/leaving; exit 1; fi
if [ -e $NOTES/taken ]; then mv $NOTES/taken $NOTES/running; exit 1; fi
while [ "$1" != -- ]; do shift; done
shift
if [ -e $NOTES/background ]; then touch $NOTES/running; else "$@" || true; fi
"""
SYSTEMCTL = r"""
state=inactive; [ -e $NOTES/running ] && state=active
if [ -s $NOTES/running ]; then
  sed -i 1d $NOTES/running
  [ -s $NOTES/running ] || rm $NOTES/running
fi
load=not-found; [ -s $NOTES/leaving ] && load=loaded && state=deactivating
printf 'Id=x\nLoadState=%s\nActiveState=%s\n' $load $state
"""


@pytest.fixture
def machine(node: FakeNode) -> FakeNode:
    node.program("ctr", CTR)
    node.program("systemd-run", SYSTEMD_RUN)
    node.program("systemctl", SYSTEMCTL)
    node.program("journalctl", "echo 'pull access denied'")
    return node


def converge(run_module: RunModule, node: FakeNode, **more: Any) -> dict[str, Any]:
    directory = str(node.path("etc/containerd/certs.d"))
    return run_module("images", registry_config_path=directory, **more)


def test_pulls_what_is_missing(run_module: RunModule, machine: FakeNode) -> None:
    first = converge(run_module, machine, images=[PAUSE, PROXY])
    assert first["changed"] is True
    assert first["pulled"] == [PAUSE["ref"], PROXY["ref"]]
    pulls = [call for call in machine.calls("ctr") if " pull " in call]
    assert any(call.endswith(f"registry.k8s.io/pause@{DIGEST}") for call in pulls)
    second = converge(run_module, machine, images=[PAUSE, PROXY])
    assert second["changed"] is False
    assert second["present"] == [PAUSE["ref"], PROXY["ref"]]


def test_other_digest_is_pulled_again(run_module: RunModule, machine: FakeNode) -> None:
    converge(run_module, machine, images=[PAUSE])
    again = converge(run_module, machine, images=[{**PAUSE, "digest": OTHER}])
    assert again["pulled"] == [PAUSE["ref"]]


def test_the_repacked_form_comes_first_and_leaves_no_name(
    run_module: RunModule, machine: FakeNode
) -> None:
    image = {**PAUSE, "repacked": OTHER}
    assert converge(run_module, machine, images=[image])["pulled"] == [PAUSE["ref"]]
    pulls = [call.rsplit("@")[-1] for call in machine.calls("ctr") if " pull " in call]
    assert pulls == [OTHER, DIGEST]
    names = {path.name for path in (machine.notes / "images").iterdir()}
    assert names == {"registry.k8s.io_pause:3.10.2", f"registry.k8s.io_pause@{DIGEST}"}
    again = converge(run_module, machine, images=[image])
    assert (again["changed"], again["present"]) == (False, [PAUSE["ref"]])


def test_without_its_repacked_form_an_image_comes_as_it_is(
    run_module: RunModule, machine: FakeNode
) -> None:
    (machine.notes / "as-it-is").write_text(OTHER)
    image = {**PAUSE, "repacked": OTHER}
    assert converge(run_module, machine, images=[image])["pulled"] == [PAUSE["ref"]]
    assert not any(" rm " in call for call in machine.calls("ctr"))


def test_an_image_is_there_once_the_cri_has_taken_it_over(
    run_module: RunModule, machine: FakeNode
) -> None:
    """Only then it has the name by its ID, which a node that stops before would never get."""
    converge(run_module, machine, images=[PAUSE, PROXY])
    for path in (machine.notes / "images").iterdir():
        assert pulls.MANAGED in path.read_text()
    labels = [call for call in machine.calls("ctr") if pulls.MANAGED in call]
    assert labels == [], "the CRI gives no name to what has its label already"
    (machine.notes / "no-cri").touch()
    other = {**PROXY, "ref": "registry.k8s.io/etcd:3"}
    converge(run_module, machine, images=[other], wait=False)
    done = converge(run_module, machine, images=[other], timeout=1, fails=True)
    assert done["msg"] == "containerd's CRI did not take over registry.k8s.io/etcd:3"


def test_without_digest_any_will_do(run_module: RunModule, machine: FakeNode) -> None:
    assert converge(run_module, machine, images=[{"ref": PAUSE["ref"]}])["changed"] is True
    assert converge(run_module, machine, images=[{"ref": PAUSE["ref"]}])["changed"] is False


def test_background(run_module: RunModule, machine: FakeNode) -> None:
    (machine.notes / "background").touch()
    done = converge(run_module, machine, images=[PAUSE], wait=False)
    assert (done["changed"], done["running"], done["pulled"]) == (True, True, [PAUSE["ref"]])


@pytest.mark.parametrize("wait", [False, True])
def test_what_an_earlier_call_pulls_is_waited_for(
    run_module: RunModule, machine: FakeNode, *, wait: bool
) -> None:
    """Its mirrors may be gone with the run that made it: what it did not pull is pulled now."""
    (machine.notes / "running").write_text("a look\n" * 3)
    done = converge(run_module, machine, images=[PAUSE, PROXY], wait=wait)
    assert done["pulled"] == [PAUSE["ref"], PROXY["ref"]]
    assert len(machine.calls("systemd-run")) == 1
    assert not (machine.notes / "running").exists(), "not before the other one has ended"
    (machine.notes / "running").write_text("a look\n" * 3)
    again = converge(run_module, machine, images=[PAUSE, PROXY], wait=wait)
    assert (again["changed"], again["running"], again["pulled"]) == (False, False, [])
    assert len(machine.calls("systemd-run")) == 1


def test_check_mode_waits_for_nobody(run_module: RunModule, machine: FakeNode) -> None:
    (machine.notes / "running").touch()
    done = converge(run_module, machine, images=[PAUSE], check=True)
    assert (done["running"], done["pulled"]) == (True, [PAUSE["ref"]])


def test_the_unit_has_a_description_of_one_line(run_module: RunModule, machine: FakeNode) -> None:
    """Without one, systemd writes the command into the unit's file and cannot read it again."""
    converge(run_module, machine, images=[PAUSE])
    (call,) = machine.calls("systemd-run")
    assert "--description=Pull images for ohmykube" in call


def test_a_unit_that_is_still_going_away_is_tried_again(
    run_module: RunModule, machine: FakeNode
) -> None:
    (machine.notes / "refuse").touch()
    assert converge(run_module, machine, images=[PAUSE])["pulled"] == [PAUSE["ref"]]
    assert len(machine.calls("systemd-run")) == 2


def test_a_unit_whose_pulls_take_long_to_end_is_waited_for(
    run_module: RunModule, machine: FakeNode
) -> None:
    (machine.notes / "leaving").write_text("a look\n" * 5)
    assert converge(run_module, machine, images=[PAUSE])["pulled"] == [PAUSE["ref"]]
    assert len(machine.calls("systemd-run")) == 6


def test_a_unit_that_never_goes_away_is_a_failure_at_the_time_limit(
    run_module: RunModule, machine: FakeNode
) -> None:
    (machine.notes / "leaving").write_text("a look\n" * 9999)
    done = converge(run_module, machine, images=[PAUSE], timeout=1, fails=True)
    assert "could not be started" in done["msg"]
    assert 4 <= len(machine.calls("systemd-run")) < 9999


def test_a_unit_that_a_killed_run_has_just_started_is_waited_for(
    run_module: RunModule, machine: FakeNode
) -> None:
    (machine.notes / "taken").write_text("a look\n" * 3)
    assert converge(run_module, machine, images=[PAUSE], wait=False)["pulled"] == [PAUSE["ref"]]
    assert len(machine.calls("systemd-run")) == 2


def test_a_unit_that_never_starts_is_a_failure(run_module: RunModule, machine: FakeNode) -> None:
    (machine.notes / "refuse-always").touch()
    assert "systemd-run" in converge(run_module, machine, images=[PAUSE], fails=True)["msg"]
    assert len(machine.calls("systemd-run")) == 4


def test_failed_pull_shows_the_log(run_module: RunModule, machine: FakeNode) -> None:
    (machine.notes / "offline").touch()
    result = converge(run_module, machine, images=[PAUSE], fails=True)
    assert result["msg"].endswith("could not pull registry.k8s.io/pause:3.10.2")
    assert "pull access denied" in result["output"]


def test_waits_no_longer_than_told(run_module: RunModule, machine: FakeNode) -> None:
    (machine.notes / "running").touch()
    result = converge(run_module, machine, images=[PAUSE], timeout=0, fails=True)
    assert "within 0 s" in result["msg"]


def test_check_mode(run_module: RunModule, machine: FakeNode) -> None:
    mirrors = {"_default": ["http://127.0.0.1:5055"]}
    result = converge(run_module, machine, images=[PAUSE], mirrors=mirrors, check=True)
    assert result["pulled"] == [PAUSE["ref"]]
    assert machine.calls("systemd-run") == []
    assert not machine.path("etc/containerd").exists()


def test_check_mode_before_containerd_is_there(run_module: RunModule, machine: FakeNode) -> None:
    machine.program("ctr", "echo 'no socket' >&2; exit 1")
    assert converge(run_module, machine, images=[PAUSE], check=True)["changed"] is True
    assert "ctr" in converge(run_module, machine, images=[PAUSE], fails=True)["msg"]


def test_host_files(run_module: RunModule, machine: FakeNode) -> None:
    mirrors = {
        "_default": ["http://127.0.0.1:5055"],
        "my.registry:5000": ["https://mirror.example"],
    }
    params = {"mirrors": mirrors, "token": "s3cret", "token_scope": "http://127.0.0.1:5055"}
    first = converge(run_module, machine, **params)
    assert "s3cret" not in str(first)
    root = machine.path("etc/containerd/certs.d")
    default = root / "_default/hosts.toml"
    assert default.stat().st_mode & 0o777 == 0o600
    host = tomllib.loads(default.read_text())["host"]["http://127.0.0.1:5055"]
    assert host["capabilities"] == ["pull", "resolve"]
    assert host["header"] == {"Authorization": ["Bearer s3cret"]}
    other = tomllib.loads((root / "my.registry_5000_/hosts.toml").read_text())
    assert "header" not in other["host"]["https://mirror.example"]
    assert converge(run_module, machine, **params)["changed"] is False
    machine.write("etc/containerd/certs.d/theirs/hosts.toml", "server = 'x'\n")
    assert len(converge(run_module, machine, state="absent")["files"]) == 2
    assert not default.exists()
    assert (root / "theirs/hosts.toml").exists()


@pytest.mark.parametrize(
    "params",
    [
        {"images": [{"ref": "registry.k8s.io/pause"}]},
        {"images": [{"ref": "x; rm -rf /:1"}]},
        {"images": [{"ref": "r.io/a:1", "digest": "sha256:short"}]},
        {"images": [{**PAUSE, "repacked": "sha256:short"}]},
        {"images": [{"ref": PAUSE["ref"], "repacked": OTHER}]},
        {"mirrors": {"../etc": ["http://h"]}},
        {"mirrors": {"r.io": "http://h"}},
        {"servers": {"../etc": "http://h"}},
        {"servers": {"r.io": ["http://h"]}},
        {"parallel": 0},
    ],
)
def test_bad_values(run_module: RunModule, machine: FakeNode, params: dict[str, Any]) -> None:
    assert converge(run_module, machine, fails=True, **params)["msg"]
    assert machine.calls("systemd-run") == []


def test_listing_of_ctr() -> None:
    text = (
        "REF TYPE DIGEST SIZE PLATFORMS LABELS\n"
        f"r.io/a:1 application/vnd {DIGEST} 25.7 MiB linux/amd64 a=b,{node_state.PINNED}\n"
    )
    assert node_state.listing(text) == {"r.io/a:1": (DIGEST, ["a=b", node_state.PINNED])}


def test_toml_quotes() -> None:
    text = registries.hosts_toml([{"url": 'http://h/"\\x'}])
    assert list(tomllib.loads(text)["host"]) == ['http://h/"\\x']


PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
TWO = {
    "mirrors": {
        "docker.io": ["https://a.example/hub", "https://b.example"],
        "quay.io": ["https://b.example"],
    },
    "mirror_options": [
        {"url": "https://a.example/hub/", "token": "s3cret", "override_path": True, "ca": PEM},
        {"url": "https://b.example", "username": "me", "password": "pass4711"},
    ],
}


def test_what_single_mirrors_need(run_module: RunModule, machine: FakeNode) -> None:
    first = converge(run_module, machine, **TWO)
    assert first["changed"] is True
    assert "s3cret" not in str(first)
    assert "pass4711" not in str(first)
    root = machine.path("etc/containerd/certs.d")
    hosts = tomllib.loads((root / "docker.io/hosts.toml").read_text())["host"]
    assert list(hosts) == ["https://a.example/hub", "https://b.example"]
    one, other = hosts.values()
    assert one["header"] == {"Authorization": ["Bearer s3cret"]}
    assert one["override_path"] is True
    assert PEM in Path(one["ca"]).read_text()
    assert other == {
        "capabilities": ["pull", "resolve"],
        "header": {"Authorization": ["Basic bWU6cGFzczQ3MTE="]},
    }
    assert converge(run_module, machine, **TWO)["changed"] is False
    assert converge(run_module, machine, check=True, **TWO)["changed"] is False
    gone = converge(run_module, machine, state="absent", **TWO)
    assert len(gone["files"]) == 3
    assert list(root.iterdir()) == []
    assert converge(run_module, machine, state="absent", **TWO)["changed"] is False


def test_a_mirror_that_is_not_wanted_any_more_goes(
    run_module: RunModule, machine: FakeNode
) -> None:
    converge(run_module, machine, **TWO)
    machine.write("etc/containerd/certs.d/quay.io/theirs.pem", "x")
    left = {"mirrors": {"docker.io": ["https://b.example"]}}
    checked = converge(run_module, machine, check=True, **left)
    assert converge(run_module, machine, **left)["files"] == checked["files"]
    root = machine.path("etc/containerd/certs.d")
    assert sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()) == [
        "docker.io/hosts.toml",
        "quay.io/theirs.pem",
    ]


def test_mirrors_only(run_module: RunModule, machine: FakeNode) -> None:
    converge(run_module, machine, fallback=False, **TWO)
    root = machine.path("etc/containerd/certs.d")
    found = tomllib.loads((root / "docker.io/hosts.toml").read_text())
    assert found["server"] == "https://b.example"
    assert found["header"] == {"Authorization": ["Basic bWU6cGFzczQ3MTE="]}
    assert list(found["host"]) == ["https://a.example/hub"]
    assert "host" not in tomllib.loads((root / "quay.io/hosts.toml").read_text())


def test_a_registry_is_asked_itself_where_and_as_its_server_says(
    run_module: RunModule, machine: FakeNode
) -> None:
    """Mirrors come first; one that has no server is asked by https, unless mirrors are all."""
    params = {
        **TWO,
        "servers": {"quay.io": "https://b.example", "lab.example:5000": "http://lab.example:5000"},
    }
    for fallback, of_hub in ((True, None), (False, "https://b.example")):
        converge(run_module, machine, fallback=fallback, **params)
        found = {
            path.parent.name: tomllib.loads(path.read_text())
            for path in machine.path("etc/containerd/certs.d").rglob("hosts.toml")
        }
        assert found["docker.io"].get("server") == of_hub
        assert found["lab.example_5000_"] == {
            "server": "http://lab.example:5000",
            "capabilities": ["pull", "resolve"],
        }
        quay = found["quay.io"]
        assert (quay["server"], list(quay["host"])) == ("https://b.example", ["https://b.example"])
        assert quay["header"] == {"Authorization": ["Basic bWU6cGFzczQ3MTE="]}
        assert converge(run_module, machine, fallback=fallback, **params)["changed"] is False
    gone = converge(run_module, machine, state="absent", **params)
    assert len(gone["files"]) == 4


@pytest.mark.parametrize(
    "options",
    [
        [{"url": "https://c.example"}],
        [{"url": "https://b.example", "ca": "/etc/ssl/ca.pem"}],
        [{"url": "https://b.example", "token": "t", "username": "u"}],
    ],
)
def test_bad_mirror_options(
    run_module: RunModule, machine: FakeNode, options: list[dict[str, Any]]
) -> None:
    result = converge(
        run_module, machine, mirrors=TWO["mirrors"], mirror_options=options, fails=True
    )
    assert result["msg"]
    assert not machine.path("etc/containerd").exists()


MODERN = """
version = 3
[plugins]
  [plugins.'io.containerd.cri.v1.images']
    snapshotter = 'overlayfs'
    [plugins.'io.containerd.cri.v1.images'.registry]
      config_path = '%s'
  [plugins.'io.containerd.transfer.v1.local']
    config_path = '/other'
"""
OLDER = """
[plugins]
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "%s"
    [plugins."io.containerd.grpc.v1.cri".registry.auths]
"""


@pytest.mark.parametrize("form", [MODERN, OLDER])
def test_containerd_that_does_not_read_the_files(
    run_module: RunModule, machine: FakeNode, form: str
) -> None:
    directory = str(machine.path("etc/containerd/certs.d"))
    mirrors = {"_default": ["http://127.0.0.1:5055"]}
    for path, reads in (("", False), ("/etc/docker", False), (f"/x:{directory}/", True)):
        machine.program("containerd", "cat <<'END'\n" + form % path + "\nEND\n")
        checked = converge(run_module, machine, mirrors=mirrors, check=True)
        assert checked["changed"] is True
        if reads:
            assert converge(run_module, machine, mirrors=mirrors)["changed"] is True
        else:
            message = converge(run_module, machine, mirrors=mirrors, fails=True)["msg"]
            assert f"does not read host files in {directory}" in message
            assert (path or "not set") in message
            assert not machine.path("etc/containerd").exists()
    machine.program("containerd", "cat <<'END'\n" + form % "" + "\nEND\n")
    assert converge(run_module, machine, mirrors=mirrors, check_config=False)["changed"] is False
    assert converge(run_module, machine, state="absent")["changed"] is True


def test_containerd_that_cannot_tell(run_module: RunModule, machine: FakeNode) -> None:
    mirrors = {"_default": ["http://127.0.0.1:5055"]}
    machine.program("containerd", "echo broken >&2; exit 1")
    assert converge(run_module, machine, mirrors=mirrors)["config_path"] is None
    machine.program("containerd", "echo 'version = 3'")
    assert converge(run_module, machine, mirrors=mirrors)["config_path"] is None


def test_a_registry_section_without_a_path() -> None:
    assert registries.config_path('[plugins."io.containerd.grpc.v1.cri".registry]\n  x = 1') == []
