"""The images of one node: what its containerd has and how it gets more, by ``ctr`` over ssh."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Protocol

from ohmykube.cache.archive import names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CERTS = "/etc/containerd/certs.d"
SURVEY_SECONDS = 60
TRANSFER_SECONDS = 3600.0
_LABELS = "io.cri-containerd.pinned=pinned io.cri-containerd.image=managed"
# sudo of some distributions drops /usr/local/bin, where ctr is.
_PREFIX = """\
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C
ctr="ctr --namespace k8s.io"
"""
_SURVEY = (
    _PREFIX
    + """\
echo @hosts
find "$certs" -name hosts.toml 2>/dev/null
echo @ours
find "$certs" -name hosts.toml -exec grep -lsF "$sign" {} +
echo @check
$ctr images check || exit 1
echo @labels
$ctr images ls || exit 1
echo @content
$ctr content ls -q || exit 1
echo @end
"""
)
# Pulling by digest makes containerd check the manifest as well; the name by digest is what the
# kubelet shows as the image's identity. What the tag meant before is let go: the kubelet's garbage
# collection takes its layers once no pod runs from them.
_PULL = _PREFIX + f"""\
set -e
labels="--label {_LABELS.replace(' ', ' --label ')}"
$ctr images pull --hosts-dir "$1" $labels "$3" >/dev/null
"""  # fmt: skip
_SETTLE = _PREFIX + f"""\
set -e
name=$1 exact=$2 old=$3
for to in "$name" "$exact"; do
    [ "$to" = "$4" ] || $ctr images tag --force "$4" "$to" >/dev/null
    $ctr images label "$to" {_LABELS} >/dev/null
done
[ -z "$old" ] || $ctr images rm "$old" >/dev/null
"""  # fmt: skip
_IMPORT = _PREFIX + "exec $ctr images import - >/dev/null\n"
_ROW = re.compile(
    r"(?P<name>\S+) +(?P<media>\S+) +(?P<digest>sha256:[0-9a-f]{64}) +(?P<status>\w+) +"
    r"\([^)]*\) +.*?(?P<unpacked>true|false) *"
)
_LISTED = re.compile(
    r"(?P<name>\S+) +\S+ +sha256:[0-9a-f]{64} +(?P<size>[0-9.]+ \S+|-) +\S+ +(?P<labels>\S+) *"
)


class Shell(Protocol):
    """Runs commands on one node, as ``NodeShell`` does."""

    node: str

    def __call__(self, argv: Sequence[str], stdin: str = "", timeout: float = 30) -> str:
        """Return a command's output; raises NodeError."""
        ...

    def feed(self, argv: Sequence[str], write: Callable[[IO[bytes]], None], timeout: float) -> None:
        """Run a command whose standard input is what ``write`` writes; raises NodeError."""
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

    def has(self, reference: str, digest: str) -> bool:
        """Tell whether a pod could start from the image now, and it would stay."""
        found = self.images.get(reference)
        return found is not None and found.digest == digest and found.usable and found.pinned

    def asks_us(self, reference: str) -> bool:
        """Tell whether containerd would ask this host's server for an image."""
        registry = reference.partition("/")[0]
        found = re.sub(r":([0-9]+)$", r"_\1_", registry)
        return (found if found in self.hosts else "_default") in self.ours


class NodeImages:
    """Operations on one node's images; all raise NodeError."""

    def __init__(self, shell: Shell, certs: str = CERTS) -> None:
        self._shell = shell
        self._certs = certs

    def survey(self, endpoint: str = "", token: str = "") -> Survey:
        """Look, in one connection; with ``endpoint`` and ``token`` also whom containerd asks."""
        # By standard input, not as arguments: a token has no place in a list of processes.
        sign = f"Bearer {token}" if endpoint else "\n"
        head = f"certs={_quoted(self._certs)}\nsign={_quoted(sign)}\n"
        text = self._shell(["sh", "-s"], head + _SURVEY, timeout=SURVEY_SECONDS)
        return parse_survey(text, self._certs)

    def pull(self, reference: str, digest: str, before: Survey) -> None:
        """Let containerd fetch an image, then name it; what it has already it does not fetch."""
        exact = exact_name(reference, digest)
        argv = ["sh", "-c", _PULL, "sh", self._certs, reference, exact]
        self._shell(argv, timeout=TRANSFER_SECONDS)
        self._settle(reference, exact, before, exact)

    def load(
        self, reference: str, digest: str, before: Survey, write: Callable[[IO[bytes]], None]
    ) -> None:
        """Import an archive that ``write`` writes and that names the image ``reference``."""
        self._shell.feed(["sh", "-c", _IMPORT], write, TRANSFER_SECONDS)
        self._settle(reference, exact_name(reference, digest), before, reference)

    def _settle(self, reference: str, exact: str, before: Survey, source: str) -> None:
        old = before.images.get(reference)
        stale = "" if old is None else exact_name(reference, old.digest)
        if stale == exact or stale not in before.images or _still_meant(before, reference, old):
            stale = ""
        # With a digest in it a reference is its own exact name.
        name = exact if "@" in reference else reference
        self._shell(["sh", "-c", _SETTLE, "sh", name, exact, stale, source])


def exact_name(reference: str, digest: str) -> str:
    """Return the name of an image by its digest."""
    return f"{names.repository_of(reference)}@{digest}"


def _still_meant(before: Survey, reference: str, old: NodeImage | None) -> bool:
    """Tell whether another tag of the repository means the same image."""
    repository = names.repository_of(reference)
    return any(
        image.digest == (old.digest if old else "")
        and image.reference != reference
        and "@" not in image.reference
        and names.repository_of(image.reference) == repository
        for image in before.images.values()
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def parse_survey(text: str, certs: str = CERTS) -> Survey:
    """Return what the survey printed."""
    parts: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if line.startswith("@"):
            current = parts.setdefault(line[1:], [])
        else:
            current.append(line)
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
        hosts=registries("hosts"),
        ours=registries("ours"),
    )
