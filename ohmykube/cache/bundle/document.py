"""``bundle.json`` and ``refs.json``: what is in a bundle, written one way and read strictly."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import pydantic

from ohmykube.cache.bundle import tar_layout
from ohmykube.cache.store import Ref
from ohmykube.errors import IntegrityError
from ohmykube.kit import digest as digests
from ohmykube.kit import plain_tar
from ohmykube.model.artifact import Kind  # noqa: TC001 - pydantic reads it at run time

if TYPE_CHECKING:
    from collections.abc import Iterable

SCHEMA = 1
MAX_BYTES = 16 << 20
"""Larger documents are refused."""
_MOST = 100_000
_LARGEST = 1 << 40

Digest = Annotated[str, pydantic.Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Size = Annotated[int, pydantic.Field(ge=0, lt=_LARGEST)]
Text = Annotated[str, pydantic.Field(max_length=500, pattern=r"^[ -~]*$")]
Word = Annotated[str, pydantic.Field(max_length=40, pattern=r"^[a-z][a-z0-9-]*$")]
Role = Literal["node", "control-plane", "machine", "host", "other"]
ROLES: tuple[Role, ...] = ("node", "control-plane", "machine", "host", "other")
"""For whom a blob is, in the order in which blobs lie in a bundle: every node, control planes only,
making machines, this host, anything else."""


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(
        frozen=True, strict=True, extra="forbid", populate_by_name=True
    )


class Item(_Part):
    """A member other than a blob; ``size`` in bytes."""

    digest: Digest
    size: Size


class Entry(_Part):
    """A blob; ``size`` in bytes."""

    digest: Digest
    size: Size
    kind: Word
    """``manifest``, ``layer`` (configs too), or the kind of the artifact that it is."""
    role: Role


class Placed(Entry):
    """A blob of this archive; ``offset`` of its content in bytes from the end of ``refs.json``.

    Not from the start of the file: a signature put in later moves no offset.
    """

    offset: Size


class Component(_Part):
    """One thing that somebody made and gave a version."""

    kind: Word
    name: Text
    version: Text
    arch: Text
    digest: Digest
    licence: Text = "unknown"
    part_of: Text = ""
    """Name of the artifact that it is packed in; its digest is then that artifact's."""


class Bundle(_Part):
    """The whole of ``bundle.json``."""

    schema_: Annotated[Literal[1], pydantic.Field(alias="schema")]
    tool: Text
    name: Text
    kubernetes: Text
    """Version without a leading v; empty for an export of the cache."""
    arch: Text
    provider: Text
    since: Annotated[str, pydantic.Field(pattern=r"^(sha256:[0-9a-f]{64})?$")]
    """Digest of the ``bundle.json`` of the bundle that this one adds to; empty for a whole one."""
    members: dict[Literal["oci-layout", "index.json", "refs.json"], Item]
    blobs: Annotated[tuple[Placed, ...], pydantic.Field(max_length=_MOST, strict=False)]
    absent: Annotated[tuple[Entry, ...], pydantic.Field(max_length=_MOST, strict=False)]
    """Blobs that belong to it and lie in the older bundle."""
    components: Annotated[tuple[Component, ...], pydantic.Field(max_length=_MOST, strict=False)]
    lacks: Annotated[tuple[Text, ...], pydantic.Field(max_length=100, strict=False)]
    """What could not be put in, one sentence each."""
    sum: Annotated[str, pydantic.Field(pattern=r"^(sha256:[0-9a-f]{64})?$")] = ""
    """Digest of this document with an empty ``sum``: a flipped bit shows without a signature."""

    @property
    def whole(self) -> dict[str, Entry]:
        """Return all blobs by digest, those of the older bundle too."""
        return {entry.digest: entry for entry in (*self.blobs, *self.absent)}

    @property
    def area(self) -> int:
        """Return the bytes that the blobs take in the tar."""
        return sum(plain_tar.room(entry.size) for entry in self.blobs)


class _Ref(_Part):
    kind: Annotated[Kind, pydantic.Field(strict=False)]
    name: Annotated[Text, pydantic.Field(min_length=1)]
    version: Text
    arch: Text
    digest: Digest
    size: Size
    source: Text
    url: Text = ""
    content_digest: Annotated[str, pydantic.Field(pattern=r"^(sha256:[0-9a-f]{64})?$")] = ""
    upstream_sum: Text = ""
    signature: Literal["", "unchecked", "verified", "absent", "failed"] = ""
    index: Annotated[str, pydantic.Field(pattern=r"^(sha256:[0-9a-f]{64})?$")] = ""


class _Refs(_Part):
    schema_: Annotated[Literal[1], pydantic.Field(alias="schema")]
    refs: Annotated[tuple[_Ref, ...], pydantic.Field(max_length=_MOST, strict=False)]


M = TypeVar("M", bound=_Part)


def verifying(label: str) -> str:
    """Return the command that checks a bundle, as a shell takes it whatever the file is called."""
    name = f"./{label}" if label.startswith("-") else label
    return f"ohmykube bundle verify {shlex.quote(name)}"


def bad(label: str, why: str) -> IntegrityError:
    """Return the error for a bundle that must not be used; ``label`` names the file."""
    return IntegrityError(
        f"{label} is not a bundle that can be trusted",
        why=why,
        hint=f"copy it again from where it was made, then: {verifying(label)}",
        id="OMK-I-402",
    )


def text(document: object) -> bytes:
    """Return JSON in the one form that is written."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=True).encode() + b"\n"


def _parse(model: type[M], data: bytes, what: str, label: str) -> M:
    try:
        return model.model_validate_json(data)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise bad(label, f"{what}: {where}: {first['msg']}") from error


def write(bundle: Bundle) -> bytes:
    """Return ``bundle.json``, its sum filled in."""
    content = bundle.model_dump(mode="json", by_alias=True)
    content["sum"] = ""
    content["sum"] = digests.of_bytes(text(content))
    return text(content)


def read(data: bytes, label: str) -> Bundle:
    """Read ``bundle.json`` and check that it does not contradict itself.

    Raises:
        IntegrityError: it is anything else than what ``write`` makes.
    """
    bundle = _parse(Bundle, data, tar_layout.MANIFEST, label)
    if write(bundle) != data:
        raise bad(
            label, f"{tar_layout.MANIFEST}: it does not have the sum or the form that it should"
        )
    if set(bundle.members) != set(tar_layout.HEAD):
        raise bad(label, f"{tar_layout.MANIFEST}: it does not name {', '.join(tar_layout.HEAD)}")
    if len(bundle.whole) != len(bundle.blobs) + len(bundle.absent):
        raise bad(label, f"{tar_layout.MANIFEST}: a blob is named twice")
    if bool(bundle.absent) and not bundle.since:
        raise bad(label, f"{tar_layout.MANIFEST}: blobs are missing and no older bundle is named")
    position = 0
    for entry in bundle.blobs:
        if entry.offset != position + plain_tar.BLOCK:
            raise bad(label, f"{tar_layout.MANIFEST}: {entry.digest} has a wrong offset")
        position += plain_tar.room(entry.size)
    unknown = {c.digest for c in bundle.components} - set(bundle.whole)
    if unknown:
        raise bad(label, f"{tar_layout.MANIFEST}: {min(unknown)} of a component is no blob of it")
    return bundle


def placed(entries: Iterable[Entry]) -> tuple[Placed, ...]:
    """Return blobs with their offsets, in the given order."""
    found, position = [], 0
    for entry in entries:
        offset = position + plain_tar.BLOCK
        found.append(Placed(**entry.model_dump(), offset=offset))
        position += plain_tar.room(entry.size)
    return tuple(found)


def write_refs(refs: Iterable[Ref]) -> bytes:
    """Return ``refs.json``: what a reference says about the blob, not about this host's use."""
    fields = _Ref.model_fields
    entries: list[dict[str, Any]] = [
        {name: value for name, value in asdict(ref).items() if name in fields}
        for ref in sorted(refs, key=lambda ref: ref.key)
    ]
    return text({"schema": SCHEMA, "refs": entries})


def read_refs(data: bytes, label: str) -> tuple[Ref, ...]:
    """Read ``refs.json``; raises IntegrityError."""
    found = _parse(_Refs, data, tar_layout.REFS, label)
    return tuple(Ref(**entry.model_dump()) for entry in found.refs)
