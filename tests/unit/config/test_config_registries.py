"""``spec.registries``: what is said of them is checked, kept and compared, and holds no secret."""

from __future__ import annotations

import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ohmykube.config import load
from ohmykube.config.document import to_document
from ohmykube.errors import ConfigError
from ohmykube.kit.loopback import is_loopback
from ohmykube.model.registry import LoginPlace
from ohmykube.planning import differences

if TYPE_CHECKING:
    from ohmykube.model.cluster import Cluster

DATA = Path(__file__).parents[2] / "data" / "trust"
ONE, TWO = [(DATA / f"{name}.pem").read_text() for name in ("one", "two")]
BOTH_WAYS = [
    {"dockerConfig": "logins.json"},
    {"username": "me", "passwordEnv": "PASSWORD"},
    {"usernameEnv": "USER_NAME", "passwordEnv": "PASSWORD"},
]


def load_at(base: Path, registries: Any) -> Cluster:
    document = {"apiVersion": "ohmykube.dev/v1", "kind": "Cluster"}
    path = base / "cluster.yaml"
    path.write_text(yaml.safe_dump({**document, "spec": {"registries": registries}}))
    return load.load_file(path)


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"mirrors": ["https://m.example/hub/", "http://10.0.0.5:5000"]},
        {"mirrors": ["https://m.example"], "fallback": False},
        {"plainHTTP": True},
        {"ca": "ca.pem"},
        {"ca": ONE + TWO},
        *({"auth": auth} for auth in BOTH_WAYS),
    ],
)
@pytest.mark.parametrize("name", ["docker.io", "registry.example:5000", "10.0.0.5", "localhost:1"])
def test_what_is_said_outlives_the_files(tmp_path: Path, name: str, entry: dict[str, Any]) -> None:
    (tmp_path / "ca.pem").write_text(ONE)
    found = load_at(tmp_path, {name: entry})
    (registry,) = found.registries
    assert registry.name == name
    assert registry.login is None
    document = to_document(found)
    (tmp_path / "ca.pem").unlink()
    again = load.from_document(document, desired=True)
    assert again.registries == found.registries
    assert list(differences.of_clusters(found, again)) == []


def test_values_are_as_the_file_means_them(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(ONE)
    entry = {"mirrors": ["https://m.example/"], "ca": "ca.pem", "auth": BOTH_WAYS[0]}
    (found,) = load_at(tmp_path, {"r.example": entry}).registries
    assert (found.mirrors, found.ca) == (("https://m.example",), (ONE,))
    assert found.auth == LoginPlace(docker_config=tmp_path / "logins.json")


def test_changes_name_the_field_and_certificates_by_their_owner(tmp_path: Path) -> None:
    before = load_at(tmp_path, {"docker.io": {"ca": ONE, "auth": BOTH_WAYS[1]}})
    after = load_at(tmp_path, {"docker.io": {"ca": TWO, "auth": BOTH_WAYS[2]}})
    found = {one.field: (one.old, one.new) for one in differences.of_clusters(before, after)}
    assert set(found) == {
        'spec.registries["docker.io"].ca',
        'spec.registries["docker.io"].auth.username',
        'spec.registries["docker.io"].auth.usernameEnv',
    }
    assert "BEGIN" not in str(found)
    assert list(differences.of_clusters(before, before)) == []


@pytest.mark.parametrize(
    ("registries", "said"),
    [
        ({"https://r.example": {}}, "has a registry that is no host"),
        ({"r.example/team": {}}, "has a registry that is no host"),
        ({"r.example:": {}}, "has a registry that is no host"),
        ({"r.example:99999": {}}, "has a registry that is no host"),
        ({"index.docker.io": {}}, "is docker.io in names of images"),
        ({"registry-1.docker.io": {}}, "is docker.io in names of images"),
        ({"r.example": "https://m.example"}, "must be a mapping with mirrors"),
        ({"r.example": {"mirror": ["https://m"]}}, "unknown field"),
        ({"r.example": {"mirrors": "https://m"}}, "must have a list of URLs"),
        ({"r.example": {"mirrors": ["m.example"]}}, "must be an http(s) URL"),
        ({"r.example": {"mirrors": ["/srv/m"]}}, "must have http(s) URLs"),
        ({"r.example": {"mirrors": ["https://a", "https://a/"]}}, "has a mirror twice"),
        ({"r.example": {"mirrors": ["http://r.example"]}}, "mirror of itself"),
        ({"r.example": {"fallback": False}}, "must have mirrors"),
        ({"r.example": {"plainHTTP": "yes"}}, "must have true or false as plainHTTP"),
        ({"r.example": {"plainHTTP": True, "ca": ONE}}, "has ca, which plainHTTP has no use for"),
        ({"r.example": {"ca": "none.pem"}}, "No such file"),
        ({"r.example": {"ca": 3}}, "must have a file or PEM as ca"),
        ({"r.example": {"auth": {}}}, "must have dockerConfig"),
        ({"r.example": {"auth": {"passwordEnv": "A"}}}, "must have dockerConfig"),
        ({"r.example": {"auth": {**BOTH_WAYS[0], **BOTH_WAYS[1]}}}, "must have dockerConfig"),
        ({"r.example": {"auth": {"usernameEnv": 3}}}, "must have text as usernameEnv"),
        ({"r.example": {"auth": {"userEnv": "A"}}}, "unknown field"),
        ({f"r{number}.example": {} for number in range(51)}, "at most 50"),
    ],
)
def test_what_is_wrong_is_told_before_anything(
    tmp_path: Path, registries: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_at(tmp_path, registries)
    (problem,) = caught.value.problems
    assert problem.startswith("spec.registries")
    assert said in problem


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        ({"username": "me", "password": "s3cret!"}, "no place for secrets"),
        ({"token": "s3cret!"}, "no place for secrets"),
        ({"username": "me", "passwordEnv": "s3cret!"}, "the name of a variable"),
        ("me:s3cret!", "must have dockerConfig"),
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(
    tmp_path: Path, auth: Any, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_at(tmp_path, {"r.example": {"auth": auth}})
    (problem,) = caught.value.problems
    assert said in problem
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in problem


def test_a_mirror_with_a_password_in_its_url_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_at(tmp_path, {"r.example": {"mirrors": ["https://me:s3cret@m.example"]}})
    assert "no place for secrets" in str(caught.value.problems)
    assert "s3cret" not in str(caught.value.problems)


@pytest.mark.parametrize(
    ("host", "itself"),
    [
        ("127.0.0.1:5000", True),
        ("127.9.9.9", True),
        ("localhost:5000", True),
        ("a.localhost", True),
        ("[::1]:5000", True),
        ("host.ohmykube.internal:5000", False),
        ("10.0.0.5:5000", False),
        ("localhost.example", False),
    ],
)
def test_a_mirror_that_is_each_node_itself_is_warned_of(
    tmp_path: Path, host: str, *, itself: bool
) -> None:
    path = tmp_path / "cluster.yaml"
    spec = f"spec: {{registries: {{docker.io: {{mirrors: ['http://{host}']}}}}}}"
    path.write_text(f"apiVersion: ohmykube.dev/v1\nkind: Cluster\n{spec}\n")
    warnings = load.load(path).warnings
    assert any("is each node itself" in one for one in warnings) is itself


def test_the_loopback_has_all_its_names() -> None:
    assert is_loopback(urllib.parse.urlsplit("//localhost"))
    assert not is_loopback(urllib.parse.urlsplit(""))
