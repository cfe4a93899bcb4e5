"""`ohmykube cache serve`: what the options mean, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from ohmykube.cli.config import output_schema
from ohmykube.kit.secret import Secret
from tests.data.cli.fake_mirror import HEX, FakeMirror


@pytest.fixture
def mirror(fakes, monkeypatch) -> FakeMirror:
    made = FakeMirror(("fetched",))
    monkeypatch.setattr(type(fakes), "mirror", made)
    return made


def test_defaults(cli, mirror) -> None:
    outcome = cli("cache", "serve", "--progress", "plain")
    assert outcome.code == 0
    assert outcome.out == "3 requests answered, 6.7 MiB sent to 1 client\n"
    assert "fetched docker.io/a" in outcome.err
    options = mirror.options
    assert (options.host, options.port, options.token) == ("127.0.0.1", 5055, None)
    assert (options.registries, options.clusters, options.offline) == ((), (), False)
    assert (options.open_to_all, options.status_line) == (False, False)


def test_options(cli, mirror, tmp_path) -> None:
    (tmp_path / "token").write_text("t0k\n")
    outcome = cli(
        *("cache", "serve", "--listen", "[::]:80", "--mirror", "a.example", "--mirror", "b=http://c"),
        *("--cluster", "dev", "--cluster", "two", "--offline", "--open-to-all"),
        *("--token-file", str(tmp_path / "token")),
    )  # fmt: skip
    assert outcome.code == 0
    options = mirror.options
    assert (options.host, options.port, options.token) == ("::", 80, Secret("t0k"))
    assert options.registries == ("a.example", "b=http://c")
    assert (options.clusters, options.offline, options.open_to_all) == (("dev", "two"), True, True)
    assert "t0k" not in outcome.out + outcome.err


def test_localhost_is_an_address(cli, mirror) -> None:
    assert cli("cache", "serve", "--listen", "localhost:1").code == 0
    assert mirror.options.host == "127.0.0.1"


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_events_come_as_they_happen_and_fit_the_schema(cli, mirror, form) -> None:
    outcome = cli("cache", "serve", "-o", form)
    if form == "json":
        documents = [json.loads(line) for line in outcome.out.splitlines()]
    else:
        documents = list(yaml.safe_load_all(outcome.out))
    validator = jsonschema.Draft202012Validator(output_schema.schema())
    for document in documents:
        validator.validate(document)
    event, end = documents
    assert (event["kind"], event["event"], event["bytes"]) == ("CacheEvent", "fetched", 7)
    assert (event["image"], event["digest"], event["node"]) == ("docker.io/a", HEX, "")
    assert (end["kind"], end["requests"], end["sent"]) == ("CacheServed", 3, 7_000_000)


@pytest.mark.parametrize("text", ["5055", ":5055", "a:b", "a:99999", "a:", ""])
def test_addresses_that_are_none(cli, mirror, text) -> None:
    outcome = cli("cache", "serve", "--listen", text)
    assert outcome.code == 2
    assert "OMK-I-610" in outcome.err
    assert mirror.options is None


@pytest.mark.parametrize("content", [b"", b"two words", b"\xff\xfe", b"\xc3\xa9", None])
def test_tokens_that_are_none(cli, mirror, tmp_path, content) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    _refused(cli, mirror, path)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/full", "/dev/null", "."])
def test_a_token_is_not_read_without_end(cli, mirror, name) -> None:
    _refused(cli, mirror, Path(name))


def _refused(cli, mirror, path: Path) -> None:
    outcome = cli("cache", "serve", "--token-file", str(path))
    assert outcome.code in (2, 9)
    assert "token" in outcome.err
    assert mirror.options is None
