"""The commands on the cache, on a real one: what they print, what they remove, how they end."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.exceptions import BadParameter

from ohmykube.cache.fsck import Damaged, Verified
from ohmykube.cache.signatures import Report
from ohmykube.cache.store import Ref, Signature, Store
from ohmykube.cli._run import run
from ohmykube.cli.cache import options, results, texts
from ohmykube.errors import LockedError
from ohmykube.model.artifact import Kind
from ohmykube.state.record import Record
from ohmykube.state.store import StateStore
from ohmykube.ui import console
from tests import image_maker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.cli.conftest import Outcome


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home / "cache")


@pytest.fixture
def image(store: Store) -> image_maker.Image:
    """An image, two versions of a binary and a package, and something that nobody needs."""
    image = image_maker.image(20_000, 30_000)
    image.put(store)
    store.set_ref(
        Ref(Kind.IMAGE, "registry.example/team/app:v2", "v2", "amd64", image.digest, 9, "load")
    )
    for version in ("v1.0", "v2.0"):
        data = version.encode() * 500
        digest = store.put_bytes(data)
        store.set_ref(Ref(Kind.BINARY, "tool", version, "arm64", digest, len(data), "build"))
    package = store.put_bytes(b"package")
    store.set_ref(
        Ref(
            Kind.PACKAGE, "kubeadm", "1.36.3", "amd64", package, 7, "upstream",
            upstream_sum=package, signature=Signature.VERIFIED, pinned=True,
        )
    )  # fmt: skip
    return image


@pytest.fixture
def cli(home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Outcome]:
    from tests.unit.cli.conftest import Outcome

    def call(*argv: str) -> Outcome:
        env = {"OHMYKUBE_HOME": str(home), "HOME": str(tmp_path), "COLUMNS": "80"}
        capsys.readouterr()
        code = run(["cache", *argv], environ=env)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Put somebody before the terminal who gives an answer; returns what he was asked."""

    def sit(text: str) -> list[str]:
        asked: list[str] = []

        def ask(question: str, _talk: object) -> str:
            asked.append(question)
            return text

        monkeypatch.setattr(console, "can_ask", lambda _talk: True)
        monkeypatch.setattr(console, "ask", ask)
        return asked

    return sit


def record(home: Path, digest: str) -> None:
    lock = {"sets": [{"artifacts": [{"digest": digest}]}]}
    StateStore(home / "state").create(
        Record(id="", name="dev", document={}, provider="fake", kubernetes_version="1", lock=lock)
    )


def rot(store: Store, digest: str) -> None:
    path = store.path(digest)
    path.chmod(0o644)
    path.write_bytes(b"?" + path.read_bytes()[1:])


def grow_old(store: Store) -> None:
    for path in (store.layout / "blobs/sha256").iterdir():
        os.utime(path, (1, 1))


def check_document(document: dict[str, Any], kind: str) -> None:
    assert document["kind"] == kind
    wanted = results.KINDS[kind].__annotations__.keys() | {"apiVersion", "kind"}
    assert document.keys() == wanted


def test_the_group_explains_itself(cli) -> None:
    outcome = cli()
    assert outcome.code == 0
    for name in ("ls", "stats", "verify", "fsck", "prune", "rm", "serve", "export", "import"):
        assert f"\n  {name}" in outcome.out


@pytest.mark.parametrize("name", ["ls", "stats", "verify", "fsck", "prune", "rm"])
def test_help_fits_80_columns(cli, name) -> None:
    outcome = cli(name, "--help")
    assert outcome.code == 0
    assert max(map(len, outcome.out.splitlines())) <= 80
    assert "Examples:" in outcome.out


@pytest.mark.parametrize("argv", [("ls",), ("stats",), ("verify",), ("fsck",), ("prune", "--yes")])
def test_an_empty_cache_is_no_failure(cli, home, argv) -> None:
    outcome = cli(*argv)
    assert (outcome.code, outcome.err.count("error")) == (0, 0)
    assert cli(*argv, "-o", "yaml").code == 0


def test_ls(cli, store, image, home) -> None:
    record(home, image.digest)
    with store.lease("cluster dev", [store.refs()[0].digest]):
        outcome = cli("ls")
    assert outcome.code == 0
    assert max(map(len, outcome.out.splitlines())) <= 80
    lines = [line.split() for line in outcome.out.splitlines()]
    assert ["IMAGE", "VERSION", "SIZE", "USED"] in lines
    assert ["registry.example/team/app", "v2", "50.2", "KiB", "dev"] in lines
    assert ["tool", "(arm64)", "v2.0", "2.0", "KiB", "-"] in lines
    assert ["tool", "(arm64)", "v1.0", "2.0", "KiB", "cluster", "dev"] in lines
    assert ["kubeadm", "1.36.3", "7", "B", "pinned"] in lines
    document = cli("ls", "tool", "-o", "json").document
    check_document(document, "CachedArtifacts")
    assert [item["version"] for item in document["items"]] == ["v1.0", "v2.0"]
    assert document["items"][0]["addedAt"].endswith("+00:00")
    assert cli("ls", "no such thing").out == "Nothing here.\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-100, "now"), (5, "now"), (65, "1m ago"), (7300, "2h ago"), (3 * 86_400 + 5, "3d ago")],
)
def test_ls_tells_how_long_ago(cli, store, seconds, text) -> None:
    digest = store.put_bytes(b"x")
    used = time.time() - seconds
    store.set_ref(Ref(Kind.FILE, "f", "1", "noarch", digest, 1, "x", last_used_at=used))
    assert cli("ls").out.splitlines()[1].endswith(f"1 B    {text}")


def test_signatures_of_an_empty_cache(cli) -> None:
    assert cli("verify", "--signatures").out == "Nothing here.\n"


def test_prune_without_options_tells_the_same_command(cli, store) -> None:
    store.put_bytes(b"junk")
    grow_old(store)
    assert "try: ohmykube cache prune --yes" in cli("prune").err


def test_ls_tells_what_lacks_something(cli, store, image) -> None:
    store.discard(image.layers[0])
    assert "incomplete: image/registry.example/team/app:v2@v2/amd64" in cli("ls").out


def test_a_damaged_record_does_not_hide_the_cache(cli, store, image, home) -> None:
    record(home, image.digest)
    for path in (home / "state").rglob("record.json*"):
        path.write_text("{")
    outcome = cli("ls")
    assert outcome.code == 0
    assert "registry.example" in outcome.out
    assert "warning" in outcome.err
    assert cli("prune", "--yes").code != 0, "what the cluster needs is not known"


def test_stats(cli, store, image, tmp_path) -> None:
    store.set_ref(Ref(Kind.IMAGE, "again:v2", "v2", "amd64", image.digest, 9, "load"))
    lone = store.put_bytes(b"lone")
    bundles = [tmp_path / "a.tar", tmp_path / "b.tar"]
    for bundle in bundles:
        bundle.write_bytes(b"x")
        store.attach(bundle, {lone: (0, 1)})
    bundles[1].unlink()
    store.count("hits", 3)
    store.count("misses", 1)
    with store.lease("cluster dev", []):
        outcome = cli("stats")
        document = cli("stats", "-o", "json").document
    check_document(document, "CacheStatistics")
    size = sum(store.locate(digest).size for digest in store.digests())
    assert (document["uniqueSize"], document["unreferencedSize"]) == (size, 4)
    images = next(kind for kind in document["kinds"] if kind["kind"] == "image")
    assert images["logicalSize"] == 2 * images["uniqueSize"]
    assert document["dedupeRatio"] > 1.5
    assert document["totals"]["hits"] == 3
    assert document["attached"] == {str(bundles[0]): 1, str(bundles[1]): 0}
    assert "3 of 4 (75 %)" in outcome.out
    assert "cluster dev, pid" in outcome.out
    assert "changed or gone" in outcome.out
    assert "(nothing refers to)" in outcome.out


def test_stats_tell_what_is_wrong_with_the_index(cli, store, image) -> None:
    store._index._close()
    (store.root / "index.db").unlink()
    (store.root / "index.db").mkdir()
    assert "index.db" in cli("stats").out


def test_verify_names_what_is_hit_and_the_next_command(cli, store, image) -> None:
    assert "all of them intact" in cli("verify", "--jobs", "1").out
    rot(store, image.layers[0])
    assert cli("verify", "tool@v1.0").code == 0
    outcome = cli("verify")
    assert outcome.code == 12
    assert "registry.example/team/app" in outcome.out
    assert "OMK-I-308" in outcome.err
    assert "ohmykube image load registry.example/team/app:v2" in outcome.err
    assert not store.has(image.layers[0])
    rot(store, store.refs()[1].digest)
    outcome = cli("verify", "-o", "json")
    check_document(outcome.document, "CacheVerified")
    assert outcome.document["damaged"][0]["neededBy"] == ["binary/tool@v2.0/arm64"]
    assert "ohmykube up" in outcome.err
    assert cli("verify").code == 0


def test_verify_says_when_nobody_needs_what_is_damaged(cli, store) -> None:
    rot(store, store.put_bytes(b"lone"))
    outcome = cli("verify")
    assert outcome.code == 12
    assert "nothing refers to them" in outcome.err


def test_many_users_of_a_damaged_blob_are_counted(cli, store) -> None:
    digest = store.put_bytes(b"shared")
    for number in range(5):
        store.set_ref(Ref(Kind.FILE, f"f{number}", "1", "noarch", digest, 6, "x"))
    rot(store, digest)
    assert "file f0, file f1 and 3 more" in cli("verify").out


def test_verify_an_unknown_name(cli, image) -> None:
    outcome = cli("verify", "too")
    assert outcome.code == 6
    assert "similar: tool" in outcome.err


def test_signatures(cli, store, image) -> None:
    outcome = cli("verify", "--signatures")
    assert outcome.code == 0
    assert "1 verified" in outcome.out
    assert "2 absent: built on this host" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80
    check_document(cli("verify", "--signatures", "-o", "json").document, "CacheSignatures")
    assert cli("verify", "--signatures", "kubeadm").code == 0
    assert cli("verify", "--signatures", "nothing").code == 6


def test_a_wrong_signature_is_a_failure(store, image) -> None:
    good, bad = (
        Report(ref=replace(store.refs()[0], signature=state), state=state, why="")
        for state in (Signature.VERIFIED, Signature.FAILED)
    )
    assert texts.bad_signatures([good]) is None
    error = texts.bad_signatures([good, bad])
    assert error is not None
    assert (error.id, error.exit_code) == ("OMK-I-309", 12)


def test_a_failure_names_what_there_is_room_for_and_counts_the_rest(store, image) -> None:
    ref = store.refs()[0]
    refs = [replace(ref, name=f"app{n}", signature=Signature.FAILED) for n in range(10)]
    for many, end in ((8, "app7"), (9, "app7"), (10, "app7")):
        lost = tuple(Damaged(digest="", size=1, refs=(one,), why="") for one in refs[:many])
        found = Verified(blobs=20, size=9, seconds=1, jobs=1, damaged=lost)
        wrong = [Report(ref=one, state=Signature.FAILED, why="") for one in refs[:many]]
        for error in (texts.damage(found), texts.bad_signatures(wrong)):
            assert error is not None
            names, _, rest = (error.why or "").partition(" and ")
            assert names.count(",") == 7
            assert end in names.split(", ")[-1]
            assert rest == ("" if many == 8 else f"{many - 8} more")


def test_fsck_finds_and_rebuilds(cli, store, image) -> None:
    assert cli("fsck").out == "All parts of the cache agree.\n"
    store.discard(store.refs()[0].digest)
    outcome = cli("fsck")
    assert outcome.code == 12
    assert "binary tool v1.0" in outcome.out
    assert "ohmykube cache fsck --rebuild" in outcome.err
    outcome = cli("fsck", "--rebuild", "-o", "json")
    assert outcome.code == 0
    check_document(outcome.document, "CacheChecked")
    assert outcome.document["refsDropped"] == 1
    rot(store, image.layers[0])
    outcome = cli("fsck", "--rebuild")
    assert outcome.code == 12
    assert "OMK-I-308" in outcome.err
    assert "The index is new" in outcome.out


def test_prune_shows_asks_and_removes(cli, store, image, home, answer) -> None:
    record(home, image.digest)
    grow_old(store)
    outcome = cli("prune", "--all", "--dry-run")
    assert outcome.code == 0
    assert "Would free 3.9 KiB" in outcome.out
    assert "what can be made again here" in outcome.out
    assert len(store.refs()) == 4
    outcome = cli("prune", "--all", "--max-size", "1k", "--older-than", "1d", "--keep-k8s", "2")
    assert outcome.code == 2, "nobody to ask"
    again = "--all --max-size 1024 --older-than 86400s --keep-k8s 2 --yes"
    assert f"try: ohmykube cache prune {again}" in outcome.err
    asked = answer("n")
    outcome = cli("prune", "--all")
    assert outcome.code == 2
    assert "Would free 3.9 KiB" in asked[0]
    assert len(store.refs()) == 4
    answer("y")
    outcome = cli("prune", "--all", "-o", "json")
    assert outcome.code == 0
    check_document(outcome.document, "CachePruned")
    assert outcome.document["freed"] == 4000
    assert outcome.document["artifacts"] == ["binary/tool@v1.0/arm64", "binary/tool@v2.0/arm64"]
    assert [ref.name for ref in store.refs()] == ["registry.example/team/app:v2", "kubeadm"]


def test_prune_says_what_is_too_young(cli, store) -> None:
    store.put_bytes(b"young")
    outcome = cli("prune", "--yes")
    assert outcome.code == 0
    assert "5 B are not needed but younger than an hour" in outcome.out


def test_prune_takes_sizes_ages_and_releases(cli, store, image) -> None:
    grow_old(store)
    outcome = cli("prune", "--max-size", "1GiB", "--older-than", "1h", "--keep-k8s", "1", "--yes")
    assert outcome.code == 0
    assert len(store.refs()) == 4, "all came a moment ago"
    assert cli("prune", "--max-size", "1k", "--yes").code == 0
    assert [ref.name for ref in store.refs()] == ["kubeadm"]
    for option in (("--max-size", "much"), ("--older-than", "ever"), ("--keep-k8s", "-1")):
        assert cli("prune", *option).code == 2


@pytest.mark.parametrize(
    ("text", "age"), [("30d", 2_592_000.0), ("12h", 43_200.0), ("1.5m", 90.0), ("2w", 1_209_600.0)]
)
def test_ages(text, age) -> None:
    assert options.Age().convert(text, None, None) == age


@pytest.mark.parametrize("text", ["", "-1", "10", "x", "1y", "GiB"])
def test_no_ages(text) -> None:
    with pytest.raises(BadParameter):
        options.Age().convert(text, None, None)


def test_rm_asks_and_removes_with_the_blobs(cli, store, image, answer) -> None:
    outcome = cli("rm", "tool")
    assert outcome.code == 2
    assert "binary/tool@v1.0/arm64" in outcome.err
    outcome = cli("rm", "tool@v1.0", "--dry-run")
    assert (outcome.code, len(store.refs())) == (0, 4)
    assert "Would remove 1, which frees 2.0 KiB" in outcome.out
    assert cli("rm", "tool@v1.0").code == 2, "nobody to ask"
    asked = answer("yes")
    outcome = cli("rm", "tool", "--every")
    assert outcome.code == 0
    assert "tool (arm64)" in asked[0]
    assert "Removed 2, which frees 3.9 KiB" in outcome.out
    outcome = cli("rm", "registry.example/team/app:v2", "--yes", "-o", "json")
    check_document(outcome.document, "CacheRemoved")
    assert outcome.document["freed"] > 50_000
    assert [ref.name for ref in store.refs()] == ["kubeadm"]
    assert len(store.digests()) == 1


def test_rm_by_digest_and_kind(cli, store, image) -> None:
    short = store.refs()[0].digest[7:19]
    assert cli("rm", short, "--yes").code == 0
    assert cli("rm", "binary/tool@v2.0/arm64", "--yes").code == 0
    assert cli("rm", "package/tool", "--yes").code == 6


def test_rm_spares_what_a_cluster_or_a_program_needs(cli, store, image, home) -> None:
    record(home, image.digest)
    outcome = cli("rm", "registry.example/team/app:v2", "--yes")
    assert outcome.code == 5
    assert "by dev" in outcome.err
    assert store.has(image.digest)


def test_rm_keeps_shared_blobs(cli, store, image) -> None:
    store.set_ref(Ref(Kind.IMAGE, "again:v2", "v2", "amd64", image.digest, 9, "load"))
    outcome = cli("rm", "again:v2", "--yes")
    assert "which frees 0 B" in outcome.out
    assert store.has(image.digest)


def test_rm_while_somebody_uses_the_cache_leaves_the_blobs_to_prune(cli, store, image) -> None:
    with store.using():
        outcome = cli("rm", "tool@v1.0", "--yes")
    assert outcome.code == 0
    assert "2.0 KiB stay until: ohmykube cache prune" in outcome.out
    assert len(store.refs()) == 3
    with pytest.raises(LockedError), store.using(), store.alone():
        pass


def test_progress_lines_have_bytes(cli, store, image) -> None:
    outcome = cli("verify", "--progress", "json")
    lines = [json.loads(line) for line in outcome.err.splitlines()]
    items = [line for line in lines if line["type"] == "item"]
    assert items[-1]["done"] == items[-1]["total"] > 50_000
    assert items[-1]["unit"] == "bytes"
    assert lines[-1]["type"] == "result"
