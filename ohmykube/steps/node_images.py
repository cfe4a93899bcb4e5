"""The images of one node: what its containerd has and how it gets more, by ``ctr`` over ssh."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Protocol

from ohmykube.cache.archive import image_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CERTS = "/etc/containerd/certs.d"
SURVEY_SECONDS = 60
TRANSFER_SECONDS = 3600.0
_PINNED = "io.cri-containerd.pinned=pinned"
# containerd's CRI sets it itself once it has named the image by its ID, and leaves an image alone
# that has it already: right only for a name that goes.
_MANAGED = "io.cri-containerd.image=managed"
# sudo of some distributions drops /usr/local/bin, where ctr is.
_PREFIX = """\
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C
ctr="ctr --namespace k8s.io"
"""
_ASIDE = """\
out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT
"""
_STORED = """\
$ctr snapshots ls >"$out/snapshots" & snapshots=$!
$ctr content ls -q >"$out/content" || exit 1
wait "$snapshots" || exit 1
"""
_TELL = """\
for part in $parts content snapshots; do
  echo "@$part"
  cat "$out/$part"
done
echo @end
"""
# All questions at once: most of the time of each is the start of a program.
# "$@" says which images, as filters; none means all.
_SURVEY = (
    _PREFIX
    + """\
echo @hosts
find "$certs" -name hosts.toml 2>/dev/null
echo @ours
find "$certs" -name hosts.toml -exec grep -lsFf /dev/fd/3 {} + 3<<EOF
$sign
EOF
"""
    + _ASIDE
    + """\
$ctr images check "$@" >"$out/check" & check=$!
$ctr images ls "$@" >"$out/labels" & labels=$!
"""
    + _STORED
    + """\
wait "$check" || exit 1
wait "$labels" || exit 1
parts="check labels"
"""
    + _TELL
)
# containerd answers this from its database alone; for "check", and for "ls" without -q, manifest
# and config of each image are read, which takes ten times as long.
_HELD = (
    _PREFIX
    + _ASIDE
    + """\
$ctr images ls -q "$@" >"$out/names" & names=$!
"""
    + _STORED
    + """\
wait "$names" || exit 1
parts=names
"""
    + _TELL
)
# $1 is the name to give, $2 the name by digest, $3 a name that means nothing any more, $4 certs.d,
# $5 the name by digest of the repacked image when it comes by that, which is not kept.
# Pulling by digest makes containerd check the manifest as well; the name by digest is what the
# kubelet shows as the image's identity. What the tag meant before is let go: the kubelet's garbage
# collection takes its layers once no pod runs from them.
_NAME = f"""\
name() {{
  [ "$1" != "$2" ] || return 0
  $ctr images tag --force "$1" "$2" >/dev/null
  $ctr images label "$2" {_PINNED} >/dev/null
}}
"""
# A node without a terminal tells nobody that its connection has ended, except by the end of the
# standard input: then the pull must end too, or containerd keeps what it was writing locked.
_PULL = f"""\
certs=$4
fetch() {{
  $ctr images pull --hosts-dir "$certs" "$@" </dev/null >/dev/null 3<&- &
  pull=$!
  {{ while read -r _; do :; done; kill "$pull"; }} <&3 >/dev/null 2>&1 &
  watch=$!
  code=0
  wait "$pull" || code=$?
  kill "$watch" 2>/dev/null || :
  wait "$watch" 2>/dev/null || :
  return "$code"
}}
exec 3<&0
[ -z "$5" ] || fetch --label {_MANAGED} "$5"
fetch --label {_PINNED} "$2"
exec 3<&-
name "$2" "$1"
[ -z "$5" ] || $ctr images rm "$5" >/dev/null
"""
_IMPORT = f"""\
$ctr images import - >/dev/null
$ctr images label "$1" {_PINNED} >/dev/null
name "$1" "$2"
"""
_SETTLE = """\
[ -z "$3" ] || $ctr images rm "$3" >/dev/null
"""
_ROW = re.compile(
    r"(?P<name>\S+) +(?P<media>\S+) +(?P<digest>sha256:[0-9a-f]{64}) +(?P<status>\w+) +"
    r"\([^)]*\) +.*?(?P<unpacked>true|false) *"
)
_LISTED = re.compile(
    r"(?P<name>\S+) +\S+ +sha256:[0-9a-f]{64} +(?P<size>[0-9.]+ \S+|-) +\S+ +(?P<labels>\S+) *"
)

_AMOUNT = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?) (?P<unit>B|KiB|MiB|GiB|TiB)")
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


class Shell(Protocol):
    """Runs commands on one node, as ``NodeShell`` does."""

    node: str

    def __call__(self, argv: Sequence[str], stdin: str = "", timeout: float = 30) -> str:
        """Return a command's output; raises NodeError."""
        ...

    def feed(self, argv: Sequence[str], write: Callable[[IO[bytes]], None], timeout: float) -> None:
        """Run a command whose standard input is what ``write`` writes; raises NodeError."""
        ...

    def hold(self, argv: Sequence[str], timeout: float) -> None:
        """Run a command whose standard input ends with us or with it; raises NodeError."""
        ...


@dataclass(frozen=True, slots=True)
class NodeImage:
    """One image of a node by one of its names."""

    reference: str
    digest: str
    usable: bool
    """All of it is there and unpacked."""
    pinned: bool
    size: str
    """As containerd says it, such as ``7.7 MiB``."""

    @property
    def size_bytes(self) -> int | None:
        """The same in bytes; None when containerd does not tell."""
        found = _AMOUNT.fullmatch(self.size)
        return int(float(found["number"]) * _UNITS[found["unit"]]) if found else None


@dataclass(frozen=True, slots=True)
class Survey:
    """What a node's containerd has, and whom it asks for images."""

    images: Mapping[str, NodeImage]
    """By reference."""
    content: frozenset[str] = frozenset()
    """Digests of the blobs that are there."""
    hosts: frozenset[str] = frozenset()
    """Registries with a ``hosts.toml``."""
    ours: frozenset[str] = field(default_factory=frozenset)
    """Those of ``hosts`` that lead to this host's server with our token."""
    unpacked: frozenset[str] = frozenset()
    """Chain IDs of the layers that are unpacked."""

    def has(self, reference: str, digest: str) -> bool:
        """Tell whether a pod could start from the image now, and it would stay."""
        found = self.images.get(reference)
        return found is not None and found.digest == digest and found.usable and found.pinned

    def asks_us(self, reference: str) -> bool:
        """Tell whether containerd would ask this host's server for an image."""
        registry = reference.partition("/")[0]
        found = re.sub(r":([0-9]+)$", r"_\1_", registry)
        return (found if found in self.hosts else "_default") in self.ours


@dataclass(frozen=True, slots=True)
class Held:
    """What a node's containerd holds of some images."""

    names: frozenset[str]
    """References that mean the digest asked for, and that nothing collects."""
    there: frozenset[str]
    """Digests of all blobs that are there, and chain IDs of all layers that are unpacked."""


class NodeImages:
    """Operations on one node's images; all raise NodeError."""

    def __init__(self, shell: Shell, certs: str = CERTS) -> None:
        self._shell = shell
        self._certs = certs

    def survey(self, token: str = "", references: Sequence[str] = ()) -> Survey:
        """Look, in one connection.

        Args:
            token: of the server, to see whom containerd asks.
            references: only images of their repositories are looked at, by whatever name; none
                means all, for which containerd needs several times longer.
        """
        # By standard input, not as an argument: a token has no place in a list of processes.
        head = f"certs={_quoted(self._certs)}\nsign={_quoted(f'Bearer {token}')}\n"
        argv = ["sh", "-s", "--", *_filters(references)]
        text = self._shell(argv, head + _SURVEY, timeout=SURVEY_SECONDS)
        return parse_survey(text, self._certs)

    def held(self, images: Mapping[str, str]) -> Held:
        """Look, in a fraction of a survey's time, at images by reference and their digests."""
        argv = ["sh", "-s", "--", *(_exactly(*image) for image in images.items())]
        parts = _parts(self._shell(argv, _HELD, timeout=SURVEY_SECONDS))
        return Held(
            names=frozenset(parts.get("names", [])),
            there=frozenset(parts.get("content", [])) | _committed(parts),
        )

    def pull(self, reference: str, digest: str, before: Survey, by: str = "") -> None:
        """Let containerd fetch an image, then name it; what it has already it does not fetch.

        Args:
            reference: the image's name.
            digest: of its manifest.
            before: what the node had.
            by: digest of another manifest with the same config that unpacks to the same layers; it
                is pulled first, and leaves no name behind.
        """
        argv = self._argv(_PULL, reference, digest, before)
        self._shell.hold([*argv, exact_name(reference, by) if by else ""], TRANSFER_SECONDS)

    def load(
        self, reference: str, digest: str, before: Survey, write: Callable[[IO[bytes]], None]
    ) -> None:
        """Import an archive that ``write`` writes and that names the image ``reference``."""
        # Never with --no-unpack: containerd takes an archive that lacks a blob for good then.
        self._shell.feed(self._argv(_IMPORT, reference, digest, before), write, TRANSFER_SECONDS)

    def _argv(self, script: str, reference: str, digest: str, before: Survey) -> list[str]:
        exact = exact_name(reference, digest)
        # With a digest in it a reference is its own exact name.
        name = reference if image_names.tag_of(reference) else exact
        stale = _stale(before, reference, exact)
        text = _PREFIX + "set -e\n" + _NAME + script + _SETTLE
        return ["sh", "-c", text, "sh", name, exact, stale, self._certs]


def _filters(references: Sequence[str]) -> list[str]:
    """Return what makes containerd list the images of some repositories alone.

    Its filters know no escapes, so a dot is any character, and some more may be listed.
    """
    found = dict.fromkeys(image_names.repository_of(reference) for reference in references)
    return [f"name~=|^{repository}[:@]|" for repository in found]


def _exactly(reference: str, digest: str) -> str:
    """Return what makes containerd list one image, if its name means a digest and it is pinned."""
    pinned = 'labels."io.cri-containerd.pinned"==pinned'
    return f'name=="{reference}",target.digest=="{digest}",{pinned}'


def exact_name(reference: str, digest: str) -> str:
    """Return the name of an image by its digest."""
    return f"{image_names.repository_of(reference)}@{digest}"


def _stale(before: Survey, reference: str, exact: str) -> str:
    """Return the name by digest of what a tag meant before, if nothing else needs that name."""
    old = before.images.get(reference)
    if old is None:
        return ""
    name = exact_name(reference, old.digest)
    if name == exact or name not in before.images:
        return ""
    repository = image_names.repository_of(reference)
    meant = (
        image.digest == old.digest
        and image.reference not in (reference, name)
        and image_names.repository_of(image.reference) == repository
        for image in before.images.values()
    )
    return "" if any(meant) else name


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def parse_survey(text: str, certs: str = CERTS) -> Survey:
    """Return what the survey printed."""
    parts = _parts(text)
    listed = {m["name"]: m for line in parts.get("labels", []) if (m := _LISTED.fullmatch(line))}
    images = {}
    for line in parts.get("check", []):
        row = _ROW.fullmatch(line)
        if row is not None:
            more = listed.get(row["name"])
            images[row["name"]] = NodeImage(
                reference=row["name"],
                digest=row["digest"],
                # Where containerd drops layers once unpacked, an image is whole without them.
                usable=row["unpacked"] == "true",
                pinned=more is not None and "io.cri-containerd.pinned=pinned" in more["labels"],
                size=more["size"] if more is not None else "",
            )

    def registries(key: str) -> frozenset[str]:
        paths = [line.removeprefix(certs).strip("/") for line in parts.get(key, [])]
        return frozenset(path.partition("/")[0] for path in paths)

    return Survey(
        images=images,
        content=frozenset(parts.get("content", [])),
        unpacked=_committed(parts),
        hosts=registries("hosts"),
        ours=registries("ours"),
    )


def _parts(text: str) -> dict[str, list[str]]:
    """Return the lines below each ``@title``."""
    parts: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if line.startswith("@"):
            current = parts.setdefault(line[1:], [])
        else:
            current.append(line)
    return parts


def _committed(parts: Mapping[str, list[str]]) -> frozenset[str]:
    """Return the chain IDs of the layers that are unpacked."""
    snapshots = [line.split() for line in parts.get("snapshots", [])]
    return frozenset(words[0] for words in snapshots if words[-1:] == ["Committed"])
