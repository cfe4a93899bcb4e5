"""The options of provider lima: ``spec.provider.options`` of cluster.yaml, checked all at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ohmykube.errors import ConfigError
from ohmykube.kit import paths

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ohmykube.model.cluster import Cluster

EVERY_NODE = "*"
MOST_DISKS = 16
_DISK = re.compile(r"([1-9][0-9]{0,5}) ?GiB")
_TEXTS = ("image", "digest", "template")
_SWITCHES = ("allowUnverifiedImage", "emulation", "routable")
KNOWN = (*_TEXTS, *_SWITCHES, "disks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the machines are to be."""

    image: str = ""
    """A name of ``images.yaml``, an https URL or an absolute path; empty for the default."""
    digest: str = ""
    """Of the image at a URL."""
    allow_unverified_image: bool = False
    template: Path | None = None
    """The user's own machine template, over which what a node needs is laid."""
    emulation: bool = False
    """Make machines although processors have to be emulated: an hour where it was minutes."""
    routable: bool = False
    """A second card in a network that the host routes to (socket_vmnet, macOS)."""
    disks: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Sizes in GiB of additional raw disks by node name; ``*`` is for those not named."""

    def disks_of(self, node: str) -> tuple[int, ...]:
        """Return the sizes in GiB of a node's additional disks."""
        return self.disks.get(node, self.disks.get(EVERY_NODE, ()))


def of(cluster: Cluster | None) -> Options:
    """Return the options of a cluster; the defaults for none.

    Raises:
        ConfigError: lists everything that is wrong with them.
    """
    if cluster is None:
        return Options()
    raw = dict(cluster.provider_options)
    disks, wrong = _disks(raw.get("disks", {}), {node.name for node in cluster.nodes})
    problems = [*_shapes(raw), *wrong]
    problems = problems or list(_contradictions(raw))
    if problems:
        raise ConfigError(
            "the options of provider lima are wrong",
            problems=tuple(problems),
            hint="ohmykube config validate",
            id="OMK-P-513",
        )
    return Options(
        image=raw.get("image", ""),
        digest=raw.get("digest", ""),
        allow_unverified_image=raw.get("allowUnverifiedImage", False),
        template=paths.expanded(raw["template"]) if "template" in raw else None,
        emulation=raw.get("emulation", False),
        routable=raw.get("routable", False),
        disks=disks,
    )


def _shapes(raw: Mapping[str, object]) -> Iterator[str]:
    yield from (_unknown(key) for key in sorted(map(str, raw)) if key not in KNOWN)
    for key in _TEXTS:
        value = raw.get(key, "-")
        if not (isinstance(value, str) and value and value.isprintable()):
            yield f"spec.provider.options.{key}: a text is needed, not {value!r}"
    for key in _SWITCHES:
        if not isinstance(raw.get(key, False), bool):
            yield f"spec.provider.options.{key}: must be true or false, not {raw[key]!r}"


def _contradictions(raw: Mapping[str, object]) -> Iterator[str]:
    if "template" in raw and ("image" in raw or "digest" in raw):
        yield "spec.provider.options.template: names its images itself; leave image out"
    if "digest" in raw and "image" not in raw:
        yield "spec.provider.options.digest: belongs to an image at a URL; set image too"
    # Whether it is there matters where a machine is made, and not where one is removed.
    if "template" in raw and not str(raw["template"]).startswith(("/", "~")):
        yield f"spec.provider.options.template: {raw['template']!r} is no absolute path"


def _unknown(key: str) -> str:
    near = difflib.get_close_matches(key, KNOWN, 1)
    meant = f"; did you mean {near[0]}?" if near else f" (known: {', '.join(KNOWN)})"
    return f"spec.provider.options.{key}: unknown option of provider lima{meant}"


def _disks(raw: object, nodes: set[str]) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    if not isinstance(raw, Mapping):
        return {}, [
            "spec.provider.options.disks: must map node names to lists such as [20GiB, 20GiB]"
        ]
    found, problems = {}, []
    for node, sizes in raw.items():
        where = f"spec.provider.options.disks.{node}"
        if node != EVERY_NODE and node not in nodes:
            problems.append(f"{where}: there is no such node")
        listed = isinstance(sizes, list) and len(sizes) <= MOST_DISKS
        matches = [_DISK.fullmatch(str(size)) for size in sizes] if listed else [None]
        if None in matches:
            problems.append(f"{where}: must be a list of sizes such as 20GiB, at most {MOST_DISKS}")
        found[str(node)] = tuple(int(match[1]) for match in matches if match)
    return found, problems
