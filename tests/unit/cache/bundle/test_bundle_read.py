"""Hostile and damaged bundles: all are refused, and nothing is written."""

from __future__ import annotations

import errno
import io
import json
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ohmykube.cache.bundle import document, import_bundle, parts, read
from ohmykube.errors import IntegrityError, Interrupted, NotFoundError, PermissionDenied
from ohmykube.kit import digest as digests
from ohmykube.kit import interrupt, plain_tar
from ohmykube.testing.reporter import RecordingReporter
from tests.unit.cache.bundle.conftest import QUIET


def rebuilt(bundle, change=None, *, head=None, members=None) -> bytes:
    """Return the bundle's bytes after a change of its documents, all else made to fit."""
    found = read.load(bundle)
    data = bundle.read_bytes()
    model = json.loads(found.manifest)
    documents = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": found.index,
        "refs.json": document.write_refs(found.refs),
        **(head or {}),
    }
    for name, body in documents.items():
        model["members"][name] = {"digest": digests.of_bytes(body), "size": len(body)}
    if change is not None:
        change(model)
    sink = bytearray()
    model["sum"] = ""
    model["sum"] = digests.of_bytes(document.text(model))
    for name, body in {"bundle.json": document.text(model), **documents, **(members or {})}.items():
        sink += plain_tar.header(name, len(body)) + body + bytes(plain_tar.padding(len(body)))
    sink += data[found.start : found.start + found.bundle.area]
    return bytes(sink + bytes(plain_tar.ending(len(sink))))


def refused(tmp_path, data: bytes, elsewhere, *, hashing: bool = True) -> str:
    """Return why a bundle is refused, having seen that the cache stays as it was."""
    path = tmp_path / "bad.omk.tar"
    path.write_bytes(data)
    with pytest.raises(IntegrityError) as caught:
        read.verify(read.load(path), QUIET)
    for take in (import_bundle.attach, import_bundle.copy) if hashing else ():
        with pytest.raises(IntegrityError):
            take(elsewhere, path, QUIET)
        assert elsewhere.refs() == ()
        assert elsewhere.attached() == ()
    assert caught.value.hint
    return f"{caught.value.message}: {caught.value.why}"


def test_rebuilding_changes_nothing_by_itself(bundle, tmp_path) -> None:
    assert rebuilt(bundle) == bundle.read_bytes()


@pytest.mark.parametrize("cut", [0, 100, 512, 3000, -1, -20_000])
def test_truncated(bundle, tmp_path, elsewhere, cut) -> None:
    why = refused(tmp_path, bundle.read_bytes()[:cut], elsewhere)
    assert "truncated" in why or "does not begin" in why
    assert not elsewhere.root.exists()


def test_trailing(bundle, tmp_path, elsewhere) -> None:
    data = bundle.read_bytes()
    assert "follows its end" in refused(tmp_path, data + bytes(512), elsewhere)
    assert "follows its end" in refused(tmp_path, data[:-1] + b"x", elsewhere)
    assert "follows its end" in refused(tmp_path, data + data, elsewhere)
    assert not elsewhere.root.exists()


def test_a_flipped_bit_is_found_wherever_it_is(bundle, tmp_path, elsewhere) -> None:
    """One in each 97 bytes: every member, header, padding and the end."""
    data = bytearray(bundle.read_bytes())
    path = tmp_path / "bad.omk.tar"
    for position in range(0, len(data), 97):
        data[position] ^= 1
        path.write_bytes(data)
        with pytest.raises(IntegrityError):
            read.verify(read.load(path), QUIET)
        data[position] ^= 1


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.data())
def test_anything_else_than_the_bundle_is_refused(bundle, tmp_path, seed) -> None:
    """Random edits: cut out, put in, overwritten, blocks exchanged."""
    good = bundle.read_bytes()
    data = bytearray(good)
    for _ in range(seed.draw(st.integers(1, 3))):
        start = seed.draw(st.integers(0, len(data)))
        length = seed.draw(st.sampled_from([0, 1, 7, 512, 1024, 10240]))
        data[start : start + length] = seed.draw(
            st.binary(max_size=600) | st.sampled_from([bytes(512), good[:512], good[512:2048]])
        )
    path = tmp_path / "edited.omk.tar"
    path.write_bytes(data)
    if bytes(data) == good:
        return
    with pytest.raises(IntegrityError) as caught:
        read.verify(read.load(path), QUIET)
    assert caught.value.message
    assert caught.value.hint


def hostile_members() -> dict[str, tarfile.TarInfo]:
    """Return headers that could do harm if somebody unpacked them."""
    made = {}
    for name in (
        "../../etc/passwd",
        "/etc/passwd",
        "blobs/sha256/../../x",
        "bundle.json",
        "x" * 99,
    ):
        made[name] = tarfile.TarInfo(name)
    for kind, label in (
        (tarfile.SYMTYPE, "symlink"), (tarfile.LNKTYPE, "hardlink"), (tarfile.CHRTYPE, "device"),
        (tarfile.FIFOTYPE, "fifo"), (tarfile.DIRTYPE, "directory"), (tarfile.XHDTYPE, "pax"),
        (tarfile.GNUTYPE_SPARSE, "sparse"), (tarfile.GNUTYPE_LONGNAME, "longname"),
    ):  # fmt: skip
        info = tarfile.TarInfo("oci-layout")
        info.type, info.linkname = kind, "/etc/passwd"
        made[label] = info
    return made


@pytest.mark.parametrize("label", hostile_members())
@pytest.mark.parametrize("place", ["first", "between", "last"])
def test_hostile_members(bundle, tmp_path, elsewhere, label, place) -> None:
    data = bundle.read_bytes()
    found = read.load(bundle)
    info = hostile_members()[label]
    info.mode = 0o4777
    member = info.tobuf(tarfile.GNU_FORMAT)[:512]
    end = found.start + found.bundle.area
    position = {"first": 0, "between": found.start, "last": end}[place]
    refused(tmp_path, data[:position] + member + data[position:], elsewhere)
    replaced = data[:position] + member + data[position + 512 :]
    refused(tmp_path, replaced, elsewhere)
    assert not elsewhere.root.exists()


def test_another_tar_is_no_bundle(tmp_path, elsewhere) -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("oci-layout"))
    assert "does not begin with bundle.json" in refused(tmp_path, sink.getvalue(), elsewhere)


def test_oversize(bundle, tmp_path, elsewhere) -> None:
    """Sizes are looked at before anything is read into memory."""
    data = bundle.read_bytes()
    block = plain_tar.header("bundle.json", 1 << 40)
    assert "bytes" in refused(tmp_path, block + data[512:], elsewhere)
    found = read.load(bundle)
    first = 512 + len(found.manifest) + plain_tar.padding(len(found.manifest))
    signature = plain_tar.header("bundle.json.sig", 1 << 30)
    assert "bundle.json.sig has" in refused(tmp_path, data[:first] + signature, elsewhere)

    def huge(model) -> None:
        model["members"]["index.json"]["size"] = 1 << 30

    assert "index.json has" in refused(tmp_path, rebuilt(bundle, huge), elsewhere)


def _set(model, path: str, value) -> None:
    *way, last = path.split(".")
    for step in way:
        model = model[int(step) if step.isdigit() else step]
    model[last] = value


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("schema", 2, "schema"),
        ("extra", 1, "extra"),
        ("tool", "x\x1b[2J", "tool"),
        ("tool", "x" * 501, "tool"),
        ("since", "sha256:abc", "since"),
        ("blobs", {}, "blobs"),
        ("blobs.0.size", -1, "size"),
        ("blobs.0.size", 1 << 41, "size"),
        ("blobs.0.size", "5", "size"),
        ("blobs.0.digest", "sha256:../../../../etc/passwd", "digest"),
        ("blobs.0.role", "root", "role"),
        ("blobs.0.kind", "Layer!", "kind"),
        ("blobs.1.offset", 512, "offset"),
        ("blobs.0.offset", 0, "offset"),
        ("members.x", {"digest": "sha256:" + "0" * 64, "size": 1}, "members"),
        ("members", {}, "does not name"),
        ("components.0.digest", "sha256:" + "0" * 64, "no blob of it"),
        ("absent", [{"digest": "sha256:" + "0" * 64, "size": 1, "kind": "x", "role": "node"}],
         "no older bundle"),
    ],
)  # fmt: skip
def test_lies_in_the_manifest(bundle, tmp_path, elsewhere, path, value, why) -> None:  # noqa: PLR0917 - three are fixtures
    data = rebuilt(bundle, lambda model: _set(model, path, value))
    assert why in refused(tmp_path, data, elsewhere)
    assert not elsewhere.root.exists()


def test_another_form_of_the_same_manifest(bundle, tmp_path, elsewhere) -> None:
    """There is one way to write it: nothing can hide in another."""
    found = read.load(bundle)
    loose = json.dumps(json.loads(found.manifest)).encode()
    head = (
        plain_tar.header("bundle.json", len(loose)) + loose + bytes(plain_tar.padding(len(loose)))
    )
    rest = bundle.read_bytes()[512 + len(found.manifest) + plain_tar.padding(len(found.manifest)) :]
    assert "sum or the form" in refused(tmp_path, head + rest, elsewhere)


def test_twice_the_same_blob(bundle, tmp_path, elsewhere) -> None:
    def twice(model) -> None:
        model["blobs"].append(dict(model["blobs"][0]))

    assert "named twice" in refused(tmp_path, rebuilt(bundle, twice), elsewhere)


def test_blobs_exchanged(bundle, tmp_path, elsewhere) -> None:
    def exchange(model) -> None:
        one, two = model["blobs"][:2]
        one["digest"], two["digest"] = two["digest"], one["digest"]

    assert "another member lies" in refused(tmp_path, rebuilt(bundle, exchange), elsewhere)


def test_lies_in_the_references(bundle, tmp_path, elsewhere) -> None:
    refs = json.loads(document.write_refs(read.load(bundle).refs))
    for path, value, why in (
        ("refs.0.digest", "sha256:" + "0" * 64, "leads to no blob"),
        ("refs.0.kind", "virus", "kind"),
        ("refs.0.name", "", "name"),
        ("refs.0.name", "new\nline", "name"),
        ("refs.0.signature", "trust me", "signature"),
        ("refs.0.pinned", True, "pinned"),
        ("refs.0.name", "registry.test/other:1", "does not list the images"),
        ("refs", [refs["refs"][0], refs["refs"][0]], "named twice"),
    ):
        changed = json.loads(json.dumps(refs))
        _set(changed, path, value)
        data = rebuilt(bundle, head={"refs.json": document.text(changed)})
        assert why in refused(tmp_path, data, elsewhere)


@pytest.mark.parametrize(
    "index", [b"[]", b"{}", b"\xff", b'{"manifests": [{}]}', b'{"manifests":[]}']
)
def test_an_index_that_does_not_fit(bundle, tmp_path, elsewhere, index) -> None:
    assert "index.json" in refused(tmp_path, rebuilt(bundle, head={"index.json": index}), elsewhere)


def test_a_document_with_another_digest(bundle, tmp_path, elsewhere) -> None:
    def change(model) -> None:
        model["members"]["refs.json"]["digest"] = "sha256:" + "0" * 64

    assert "does not have the digest" in refused(tmp_path, rebuilt(bundle, change), elsewhere)


def test_an_image_without_one_of_its_layers(workshop, tmp_path, elsewhere) -> None:
    whole = workshop.content
    lost = next(e for e in whole.entries if e.kind == "layer")
    from dataclasses import replace

    from ohmykube.cache.bundle import write

    part = replace(whole, entries=tuple(e for e in whole.entries if e is not lost))
    write.write(workshop.store, part, tmp_path / "part.omk.tar", write.Form(), QUIET)
    with pytest.raises(IntegrityError, match="is not a bundle") as caught:
        read.verify(read.load(tmp_path / "part.omk.tar"), QUIET)
    assert lost.digest in caught.value.why


def test_a_manifest_too_large_to_be_one(workshop, tmp_path) -> None:
    from dataclasses import replace

    from ohmykube.cache.bundle import write

    whole = workshop.content
    digest = workshop.store.put_bytes(b" " * (5 << 20))
    fat = document.Entry(digest=digest, size=5 << 20, kind="manifest", role="node")
    content = replace(whole, entries=(*whole.entries, fat))
    write.write(workshop.store, content, tmp_path / "fat.omk.tar", write.Form(), QUIET)
    with pytest.raises(IntegrityError, match="is not a bundle"):
        read.verify(read.load(tmp_path / "fat.omk.tar"), QUIET)


# -- parts ---------------------------------------------------------------------------------------


def test_the_one_bad_part_is_named(divided, tmp_path) -> None:
    bad = divided.with_name(divided.name + ".003")
    data = bytearray(bad.read_bytes())
    data[100] ^= 1
    bad.write_bytes(data)
    with pytest.raises(IntegrityError) as caught:
        parts.check(parts.find(divided))
    assert caught.value.message == f"damaged: {bad.name} of {divided}"
    assert bad.name in caught.value.hint


def test_a_damaged_blob_names_its_part(divided, elsewhere) -> None:
    found = read.load(divided)
    position, size = max(found.places().values())
    before = divided.with_name(found.source.holding(position + size - 1, 1))
    data = bytearray(before.read_bytes())
    data[(position + size - 1) % 4096] ^= 1
    before.write_bytes(data)
    with pytest.raises(IntegrityError) as caught:
        import_bundle.copy(elsewhere, divided, QUIET)
    assert before.name in caught.value.hint
    assert elsewhere.refs() == ()


def test_a_part_that_is_missing_short_or_strange(divided) -> None:
    second = divided.with_name(divided.name + ".002")
    data = second.read_bytes()
    second.write_bytes(data[:-1])
    with pytest.raises(IntegrityError):
        read.load(divided)
    second.unlink()
    with pytest.raises(NotFoundError, match=second.name):
        read.load(divided)
    second.write_bytes(data)
    assert read.load(divided)
    sums = divided.with_name(divided.name + ".sha256")
    good = sums.read_text()
    for text in ("", good + good, "x\n", good.replace("  ", "  ../"), good + "0" * 64 + "  a\n"):
        sums.write_text(text)
        with pytest.raises(IntegrityError, match="does not list the parts"):
            read.load(divided)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 40_000), length=st.integers(0, 9000), end=st.booleans())
def test_parts_read_as_one_file(divided, bundle, start, length, end) -> None:
    data = bundle.read_bytes()
    with parts.find(divided).open() as stream:
        if end:
            stream.seek(-min(start, len(data)), 2)
            start = len(data) - min(start, len(data))
        else:
            stream.seek(start)
        assert read.read(stream, length) == data[start : start + length]
        assert stream.tell() == min(max(start, 0) + length, max(len(data), start))
        stream.seek(-stream.tell(), 1)
        assert stream.readable()
        assert read.read(stream, 10) == data[:10]


# -- progress ------------------------------------------------------------------------------------


def test_bytes_are_told(bundle) -> None:
    reporter = RecordingReporter()
    total = read.verify(read.load(bundle), reporter)
    first, last = reporter.events[0], reporter.events[-1]
    assert (first.done, first.total, first.unit) == (0, total, "bytes")
    assert (last.done, last.status.value) == (total, "ok")


def test_a_stop_is_heard(bundle) -> None:
    found, reporter = read.load(bundle), RecordingReporter()
    interrupt.requested.set()
    with pytest.raises(Interrupted):
        read.verify(found, reporter)
    assert reporter.events[-1].status.value == "failed"


# -- media ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EACCES, PermissionDenied), (errno.EIO, IntegrityError)]
)
def test_media_that_cannot_be_read(bundle, monkeypatch, number, kind) -> None:
    def failing(*_: object) -> None:
        raise OSError(number, "from the medium")

    found = read.load(bundle)
    monkeypatch.setattr(parts.BundleFile, "open", failing)
    for call in (lambda: read.load(bundle), lambda: read.verify(found, QUIET)):
        with pytest.raises(kind, match="read") as caught:
            call()
        assert caught.value.hint


def test_another_failure_is_no_damage(bundle, monkeypatch) -> None:
    def failing(*_: object) -> None:
        raise OSError(errno.EMFILE, "too many")

    monkeypatch.setattr(parts.BundleFile, "open", failing)
    with pytest.raises(OSError, match="too many"):
        read.load(bundle)
