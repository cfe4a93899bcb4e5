"""`down` leaves no trace of a cluster in the user's kubeconfigs, and takes nothing else out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.errors import ConfigError
from ohmykube.kit import paths
from ohmykube.kube.kubeconfig import rename
from ohmykube.progress import Message
from ohmykube.state import layout
from ohmykube.steps.context import Services
from ohmykube.testing.reporter import RecordingReporter
from ohmykube.workflows import session
from ohmykube.workflows.down import down
from ohmykube.workflows.merged_kubeconfigs import merge
from tests.unit.workflows.begun_run import begin

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("world")

ADMIN = {
    "clusters": [{"cluster": {"server": "https://cp1:6443", "certificate-authority-data": "CA"}}],
    "users": [{"user": {"token": "t"}}],
}
THEIRS = b"""\
kind: Config   # J\xfcrgen's
clusters:
- name: prod
  cluster: {server: https://prod}
users: [{name: prod, user: {}}]
contexts:
- name: prod
  context: {cluster: prod, user: prod}
- name: test
  context: {cluster: prod, user: prod}
current-context: prod
"""


@pytest.fixture
def services() -> Services:
    """One cluster called dev, whose `up` has come to its kubeconfig."""
    services = Services(paths=paths.from_environment(), reporter=RecordingReporter())
    made(services, "dev")
    return services


def made(services: Services, name: str, authority: str = "CA") -> None:
    with session.working(
        services, load.from_overrides(Overrides(name=name, provider="fake", workers=0))
    ) as ctx:
        begin(ctx)
    text = rename(yaml.safe_dump(ADMIN).replace("CA", authority), name, "127.0.0.1", 6443)
    (services.state.directory(name) / layout.KUBECONFIG).write_text(text)


def semantic(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_bytes().decode("latin-1"))


def warnings(services: Services) -> list[str]:
    assert isinstance(services.reporter, RecordingReporter)
    return [one.text for one in services.reporter.of(Message) if one.level == "warning"]


@pytest.mark.parametrize("times", [1, 2, 3])
def test_every_file_is_as_it_was_before(services: Services, tmp_path: Path, times: int) -> None:
    files = [tmp_path / name for name in ("a", "b")]
    for path in files:
        path.write_bytes(THEIRS)
        for _ in range(times):
            merge(services, "dev", path)
        assert semantic(path)["current-context"] == "ohmykube-dev"
    down(services, "dev")
    assert [path.read_bytes() for path in files] == [THEIRS, THEIRS]


def test_the_current_context_goes_back_to_one_that_exists(
    services: Services, tmp_path: Path
) -> None:
    path = tmp_path / "config"
    made(services, "other")
    merge(services, "other", path)
    merge(services, "dev", path)
    down(services, "other")
    assert semantic(path)["current-context"] == "ohmykube-dev"
    down(services, "dev")
    assert semantic(path) == {
        "apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": [],
        "current-context": "",
    }  # fmt: skip


def test_what_the_user_has_chosen_since_stays(services: Services, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_bytes(THEIRS)
    merge(services, "dev", path)
    path.write_bytes(
        path.read_bytes().replace(b"current-context: ohmykube-dev", b"current-context: test")
    )
    down(services, "dev")
    assert path.read_bytes() == THEIRS.replace(b"current-context: prod", b"current-context: test")


def test_a_cluster_of_the_same_name_that_was_made_elsewhere_stays(
    services: Services, tmp_path: Path
) -> None:
    path = tmp_path / "config"
    merge(services, "dev", path)
    path.write_bytes(path.read_bytes().replace(b"CA", b"CA-of-another"))
    before = path.read_bytes()
    down(services, "dev")
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [None, b"", b"a: [", b"x: &l []\ncontexts: *l\n", THEIRS])
def test_down_ends_whatever_became_of_the_file(
    services: Services, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "config"
    merge(services, "dev", path)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert down(services, "dev").existed
    assert services.state.names() == ()
    assert path.exists() is (content is not None)
    assert content is None or path.read_bytes() == content
    assert len(warnings(services)) == (content == b"a: [")


def test_a_file_that_cannot_be_changed_is_named(services: Services, tmp_path: Path) -> None:
    path = tmp_path / "config"
    merge(services, "dev", path)
    path.write_bytes(path.read_bytes().replace(b"contexts:\n", b"contexts: &l\n") + b"x: *l\n")
    down(services, "dev")
    (warning,) = warnings(services)
    assert str(path) in warning
    assert "ohmykube-dev" in warning


@pytest.mark.parametrize(
    "written",
    [
        '"prod"',
        "'prod'",
        '  "prod"   # mine',
        "!!str prod",
        '"p\\x72od"',
        "|-\n  prod",
        '""',
        "~",
        "'gone'",
    ],
)
@pytest.mark.parametrize("times", [1, 2])
def test_the_current_context_comes_back_as_it_was_written(
    services: Services, tmp_path: Path, written: str, times: int
) -> None:
    path = tmp_path / "config"
    before = THEIRS.replace(b"context: prod\n", b"context: " + written.encode() + b"\n")
    path.write_bytes(before)
    for _ in range(times):
        merge(services, "dev", path)
    assert semantic(path)["current-context"] == "ohmykube-dev"
    down(services, "dev")
    if written in ("~", "'gone'"):
        assert not semantic(path)["current-context"]
    else:
        assert path.read_bytes() == before


def test_a_refused_merge_leaves_the_file_to_its_owner(services: Services, tmp_path: Path) -> None:
    """Their own entries of our name survive `--merge` and the `down` after it."""
    path = tmp_path / "config"
    theirs = THEIRS.replace(b"name: prod", b"name: ohmykube-dev").replace(
        b" prod", b" ohmykube-dev"
    )
    path.write_bytes(theirs)
    with pytest.raises(ConfigError, match="not of this cluster"):
        merge(services, "dev", path)
    down(services, "dev")
    assert path.read_bytes() == theirs
