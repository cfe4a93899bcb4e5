"""``spec.trust``: files and texts become certificates, or what is wrong with them is told."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ohmykube.config import load, trust
from ohmykube.config.document import to_document
from ohmykube.config.yaml_source import Source
from ohmykube.errors import ConfigError
from ohmykube.kit import certificates
from ohmykube.planning import differences

if TYPE_CHECKING:
    from ohmykube.model.cluster import Cluster

DATA = Path(__file__).parents[2] / "data" / "trust"
ONE, TWO, LEAF = [(DATA / f"{name}.pem").read_text() for name in ("one", "two", "leaf")]
FOUND = certificates.authority(ONE)
assert FOUND is not None
BEGINS, ENDS = FOUND.begins, FOUND.ends
DAY = 86400.0


def load_at(base: Path, *entries: Any) -> Cluster:
    spec = {"trust": list(entries)}
    document = {"apiVersion": "ohmykube.dev/v1", "kind": "Cluster", "spec": spec}
    path = base / "cluster.yaml"
    path.write_text(yaml.safe_dump(document))
    return load.load_file(path)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "ca ä:b.pem").write_text(ONE)
    (tmp_path / "ca.der").write_bytes(ssl.PEM_cert_to_DER_cert(ONE))
    (tmp_path / "both.pem").write_text("# ours\n" + ONE + TWO)
    (tmp_path / "leaf.pem").write_text(LEAF)
    (tmp_path / "chain.pem").write_text(LEAF + ONE)
    (tmp_path / "key.pem").write_text(
        ONE + "-----BEGIN PRIVATE KEY-----\nA\n-----END PRIVATE KEY-----\n"
    )
    (tmp_path / "text.pem").write_text("hello")
    (tmp_path / "large.pem").write_bytes(b"\n" * (trust.LARGEST_BYTES + 1))
    return tmp_path


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], ()),
        (["ca ä:b.pem"], (ONE,)),
        (["./ca ä:b.pem", "ca.der"], (ONE,)),
        (["both.pem"], (ONE, TWO)),
        ([TWO, "ca.der"], (TWO, ONE)),
        ([f"\n{ONE}{TWO}"], (ONE, TWO)),
    ],
)
def test_files_and_texts_are_the_same_and_outlive_the_files(
    place: Path, entries: list[str], expected: tuple[str, ...]
) -> None:
    found = load_at(place, *entries)
    assert found.trust == expected
    document = to_document(found)
    for file in place.glob("*"):
        file.unlink()
    assert load.from_document(document, desired=True).trust == expected


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("none.pem", "No such file"),
        (".", "Is a directory"),
        ("leaf.pem", "is not the certificate of an authority, but of one server or person"),
        ("chain.pem", "give that of the authority that has signed it"),
        ("key.pem", "has a private key in it"),
        ("text.pem", 'has no certificate: it must be PEM (BEGIN CERTIFICATE) or DER: "text.pem"'),
        ("large.pem", "must have at most 1024 KiB"),
        (LEAF, "is not the certificate of an authority"),
        ("-----BEGIN PRIVATE KEY-----\nA\n-----END PRIVATE KEY-----", "has a private key in it"),
        (ONE[:200], "has no certificate"),
        ("", "must be a text that is not empty"),
        (3, "must be text"),
        ({"file": "ca.pem"}, "must be text"),
    ],
)
def test_what_is_no_authority_is_told_before_anything(place: Path, entry: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_at(place, "ca.der", entry)
    (problem,) = caught.value.problems
    assert problem.startswith("spec.trust[1], line ")
    assert said in problem
    assert "\nA" not in problem


@pytest.mark.parametrize(
    ("now", "problem", "warning"),
    [
        (BEGINS - 1, "is valid from", ""),
        (BEGINS + 1, "", ""),
        (ENDS - trust.SOON_SECONDS - 1, "", ""),
        (ENDS - trust.SOON_SECONDS + 1, "", "expires on"),
        (ENDS - 1, "", "expires on"),
        (ENDS + 1, "has expired on", ""),
    ],
)
@pytest.mark.parametrize("recorded", [False, True])
def test_a_certificate_out_of_its_time_is_good_for_nothing(
    now: float, problem: str, warning: str, recorded: bool
) -> None:
    """That one of a record has run out meanwhile stops nothing else."""
    lines = {} if recorded else {("spec", "trust", 0): 4}
    source = Source(label="f", data={}, lines=lines)
    reader = trust.Reader(source, Path(), desired=True, now=now)
    assert reader.read([ONE]) == (ONE,)
    told = [one.text for one in reader.problems]
    if recorded and "expired" in problem:
        assert (told, "has expired on" in reader.warnings[0]) == ([], True)
        return
    assert [problem in text for text in told] == ([True] if problem else [])
    assert [warning in text for text in reader.warnings] == ([True] if warning else [])
    if told:
        assert "Test Root one (Example Inc.)" in told[0]


def test_a_record_is_read_whatever_the_time_is() -> None:
    reader = trust.Reader(Source(label="f", data={}), Path(), desired=False, now=ENDS + DAY)
    assert reader.read([ONE, LEAF]) == (ONE, LEAF)
    assert (reader.problems, reader.warnings) == ([], [])


def test_there_are_not_too_many(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setattr(trust, "MOST_CERTIFICATES", 1)
    with pytest.raises(ConfigError) as caught:
        load_at(place, "both.pem")
    assert "must have at most 1 certificates: 2" in caught.value.problems[0]


@pytest.mark.parametrize(
    ("old", "new", "gone", "come"),
    [
        ((ONE,), (ONE, TWO), None, ["two"]),
        ((ONE, TWO), (TWO, ONE), None, None),
        ((ONE,), (TWO,), ["one"], ["two"]),
        ((ONE, TWO), (), ["one", "two"], None),
    ],
)
def test_a_plan_names_authorities_and_shows_no_bytes(
    place: Path, old: Any, new: Any, gone: list[str] | None, come: list[str] | None
) -> None:
    found = list(differences.of_clusters(load_at(place, *old), load_at(place, *new)))
    told = [[one.old, one.new] for one in found]
    names = [[n and [text.split()[2] for text in n] for n in pair] for pair in told]
    assert names == ([] if gone is come is None else [[gone, come]])
    assert "CERTIFICATE" not in str(told)
