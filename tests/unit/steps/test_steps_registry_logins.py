"""Logins of registries are found anew each time, and told to nobody but the nodes."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ohmykube.ansible import inventory
from ohmykube.ansible.registry_variables import registry_vars
from ohmykube.config import load
from ohmykube.config.document import to_document
from ohmykube.errors import ConfigError
from ohmykube.model.registry import LoginPlace, Registry
from ohmykube.steps.registry_logins import with_logins

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.model.cluster import Cluster


class AsText(yaml.SafeLoader):
    """Reads what Ansible is told not to evaluate."""


AsText.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))
CLUSTER = load.from_document({})
PASSWORD = 'pä:ss%20w"ord\\$'


def having(*registries: Registry) -> Cluster:
    return dataclasses.replace(CLUSTER, registries=registries)


def docker_config(path: Path, host: str, **entry: Any) -> Registry:
    path.write_text(json.dumps({"auths": {host: entry}}))
    return Registry(name=host, auth=LoginPlace(docker_config=path))


def pair(name: str, password: str) -> str:
    return base64.b64encode(f"{name}:{password}".encode()).decode()


def found(registry: Registry, **environ: str) -> tuple[str, str]:
    (one,) = with_logins(having(registry), environ).registries
    assert one.login is not None
    return one.login.username, one.login.password.reveal()


@pytest.mark.parametrize(
    "place",
    [
        LoginPlace(username="me", password_env="SECRET"),
        LoginPlace(username_env="NAME", password_env="SECRET"),
    ],
)
def test_a_login_comes_out_of_variables(place: LoginPlace) -> None:
    registry = Registry(name="r.example", auth=place)
    assert found(registry, NAME="me", SECRET=PASSWORD) == ("me", PASSWORD)
    assert found(registry, NAME="me", SECRET="other") == ("me", "other")


@pytest.mark.parametrize("host", ["r.example:5000", "docker.io"])
def test_a_login_comes_out_of_the_configuration_of_docker(tmp_path: Path, host: str) -> None:
    path = tmp_path / "config.json"
    kept = "https://index.docker.io/v1/" if host == "docker.io" else host
    registry = dataclasses.replace(docker_config(path, kept, auth=pair("me", PASSWORD)), name=host)
    assert found(registry) == ("me", PASSWORD)
    docker_config(path, kept, auth=pair("me", "other"))
    assert found(registry) == ("me", "other")


def test_all_that_is_missing_is_told_at_once_and_no_value(tmp_path: Path) -> None:
    tokens = docker_config(tmp_path / "tokens.json", "t.example", identitytoken="s3cret")
    registries = (
        Registry(name="a.example", auth=LoginPlace(username="me", password_env="NOT_SET")),
        Registry(name="b.example", auth=LoginPlace(username_env="EMPTY", password_env="FULL")),
        Registry(name="c.example", auth=LoginPlace(username="a", password_env="LINES")),
        Registry(name="d.example", auth=LoginPlace(username="a:s3cret", password_env="FULL")),
        Registry(name="e.example", auth=LoginPlace(docker_config=tmp_path / "none.json")),
        Registry(name="f.example", auth=LoginPlace(docker_config=tmp_path / "tokens.json")),
        tokens,
        Registry(name="g.example"),
    )
    environ = {"EMPTY": "", "FULL": "s3cret", "LINES": "s3cret\nmore"}
    with pytest.raises(ConfigError) as caught:
        with_logins(having(*registries), environ)
    lines = str(caught.value.why).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        *(f"{letter}.example" for letter in "abcdef"),
        "t.example",
    ]
    assert "NOT_SET is not set" in lines[0]
    assert "EMPTY is empty" in lines[1]
    assert "No such file" in lines[4]
    assert "docker login f.example" in lines[5]
    assert "s3cret" not in f"{caught.value}{caught.value.why}{caught.value.hint}"


def test_a_helper_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"credHelpers": {"r.example": "not-installed"}}))
    registry = Registry(name="r.example", auth=LoginPlace(docker_config=path))
    with pytest.raises(ConfigError) as caught:
        with_logins(having(registry))
    assert "docker-credential-not-installed" in str(caught.value.why)


def test_a_login_is_in_no_document_and_in_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the file of secrets beside an inventory has it, and output hides it."""
    monkeypatch.setitem(os.environ, "SECRET", PASSWORD)
    place = LoginPlace(username="me", password_env="SECRET")
    asked = having(Registry(name="r.example", auth=place))
    cluster = with_logins(asked)
    assert cluster == asked
    assert PASSWORD not in repr(cluster)
    assert PASSWORD not in json.dumps(to_document(cluster), ensure_ascii=False)
    shared = registry_vars(cluster.registries, "http://127.0.0.1:5055")
    path = inventory.write(tmp_path, [], shared)
    assert inventory.secrets_of(path) == (PASSWORD,)
    assert "ss%20w" not in path.read_text()
    secrets = yaml.load((tmp_path / inventory.SECRETS_FILE).read_text(), Loader=AsText)
    (option,) = secrets["cache_mirror_options"]
    assert option == {"url": "https://r.example", "username": "me", "password": PASSWORD}
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or file.stat().st_mode & 0o777 == 0o600
