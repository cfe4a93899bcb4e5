"""The Lima template of a machine: self-contained, in plain mode, nothing left to defaults.

Plain mode means no mounts, no containerd, no guest agent and no scripts of Lima's: a machine with a
user, a key and a network, and Ansible does the rest. limactl only warns of fields that it does not
know, so ``differences`` compares what it made with what was asked for.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from ohmykube.errors import ConfigError
from ohmykube.kit import architecture, plain_yaml, shell
from ohmykube.providers.lima import images, marker, names

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.providers.lima.images import Image

MINIMUM_VERSION = "2.0.0"
USER = "omk"
"""Login name in every machine; Lima's own choice would be the host's user, who may be `nobody`."""
VMNET_SOCKET = "/var/run/socket_vmnet"
ROUTABLE_CARD = "lima0"
_METRIC = 300
"""Behind eth0's 200: the default route stays in the cluster's network."""
GIB = 1 << 30
MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What can be changed of a machine that is stopped."""

    cpus: int | None = None
    memory_mib: int | None = None
    disk_gib: int | None = None


def shape(cpus: float | None, memory_mib: int | None, disk_gib: int | None) -> Shape:
    """Return the shape that a node asks for; part of a processor is a whole one."""
    return Shape(
        cpus=None if cpus is None else max(1, math.ceil(cpus)),
        memory_mib=memory_mib,
        disk_gib=disk_gib,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LimaTemplate:
    """Everything that makes one machine."""

    id: str
    instance: str
    shape: Shape
    network: str
    """Empty for a machine that is never started."""
    image: Image | None
    """None when ``base`` names the images."""
    base: Mapping[str, Any] | None = None
    """The user's own Lima template."""
    disks: int = 0
    """How many additional disks; they are made beforehand."""
    emulation: bool = False
    routable: bool = False
    system: str = sys.platform


def render(wanted: LimaTemplate) -> str:
    """Return the text for ``limactl create``."""
    content = {**(wanted.base or {}), **_required(wanted)}
    if wanted.image is not None:
        content["images"] = [_image(wanted.image)]
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1 << 20)
    return f"{marker.signature(wanted.id)}\n{text}"


def _required(wanted: LimaTemplate) -> dict[str, Any]:
    """What is ours to say, whatever the user's template says."""
    mac = wanted.system == "darwin"
    base = wanted.base or {}
    content: dict[str, Any] = {
        "minimumLimaVersion": MINIMUM_VERSION,
        "vmType": "vz" if mac else "qemu",
        "plain": True,
        "mounts": [],
        "containerd": {"system": False, "user": False},
        "portForwards": [],
        "user": {"name": USER, "home": f"/home/{USER}", "shell": "/bin/bash", "uid": 1000},
        "ssh": {"localPort": 0, "loadDotSSHPubKeys": False, "forwardAgent": False},
    }
    if mac:
        # Over vsock the network daemon would not know the port, and could not tell the address.
        content["ssh"]["overVsock"] = False
    if wanted.emulation and not mac:
        options = dict(base.get("vmOpts") or {})
        qemu = dict(options.get("qemu") or {})
        # Otherwise QEMU is told to use the host's processor, which it can only with acceleration.
        types = dict.fromkeys(architecture.KERNEL_NAMES.values(), "max") | _types(qemu)
        options["qemu"] = {**qemu, "cpuType": types}
        content["vmOpts"] = options
    return content | own_fields(wanted)


def _types(qemu: Mapping[str, Any]) -> dict[str, str]:
    """Return the processors that the user's template names by architecture, if they can be."""
    named = qemu.get("cpuType") or {}
    return {arch: kind for arch, kind in named.items() if kind and not f"{kind}".startswith("host")}


def own_fields(wanted: LimaTemplate) -> dict[str, Any]:
    """Return the fields in which a machine differs from others of the same image."""
    networks: list[dict[str, Any]] = [{"lima": wanted.network}] if wanted.network else []
    if wanted.routable:
        card = {"socket": VMNET_SOCKET, "interface": ROUTABLE_CARD, "metric": _METRIC}
        networks.append(card)
    content: dict[str, Any] = {"networks": networks, **shape_fields(wanted.shape)}
    if wanted.disks:
        content["additionalDisks"] = disk_entries(wanted.instance, wanted.disks)
    return content


def disk_entries(instance: str, count: int) -> list[dict[str, Any]]:
    """Return what a template says of additional disks, which the guest gets unformatted."""
    return [
        {"name": names.disk(instance, number), "format": False} for number in range(1, count + 1)
    ]


def shape_fields(shape: Shape) -> dict[str, Any]:
    """Return the fields of a template for the size of a machine, those that are given."""
    fields = {
        "cpus": shape.cpus,
        "memory": None if shape.memory_mib is None else f"{shape.memory_mib}MiB",
        "disk": None if shape.disk_gib is None else f"{shape.disk_gib}GiB",
    }
    return {key: value for key, value in fields.items() if value is not None}


def expressions(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return yq expressions that set fields, for ``edit`` and ``clone``."""
    return tuple(f".{key} = {json.dumps(value)}" for key, value in fields.items())


def _image(image: Image) -> dict[str, str]:
    found = {"location": image.location, "arch": image.arch}
    return found | ({"digest": image.digest} if image.digest else {})


def load(path: Path, *, unverified: bool) -> dict[str, Any]:
    """Return the user's own Lima template.

    Args:
        path: a Lima YAML file.
        unverified: take images without a digest, and templates that build on others.

    Raises:
        ConfigError: it is none, or what it boots from is not proved.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _unusable(path, str(error)) from error
    if not isinstance(content, dict):
        raise _unusable(path, "it holds no mapping")
    entries = content.get("images", [])
    if not isinstance(entries, list) or not all(_is_image(one) for one in entries):
        raise _unusable(path, "`images` must be a list of mappings with a location")
    if not entries and not content.get("base"):
        raise _unusable(path, "`images` is missing")
    if content.get("base") and not unverified:
        raise _unusable(path, "what its `base` brings cannot be proved; embed it with limactl")
    for one in entries:
        for part in (one, one.get("kernel"), one.get("initrd")):
            if isinstance(part, dict):
                location, digest = str(part.get("location", "")), str(part.get("digest", ""))
                arch = str(one.get("arch", ""))
                images.verified(
                    images.Image(location=location, arch=arch, digest=digest), unverified=unverified
                )
    return content


def _is_image(entry: object) -> bool:
    return isinstance(entry, Mapping) and isinstance(entry.get("location"), str)


def _unusable(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"the machine template {path} cannot be used",
        why=why,
        hint=f"limactl template copy --embed-all {shell.word(path)} -  (shows it whole)",
        id="OMK-P-514",
    )


def differences(text: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what limactl made otherwise than ``text`` asks for, as ``field: made, not wanted``."""
    wanted = plain_yaml.load(text)
    watched = ("plain", "vmType", "networks", "additionalDisks", "images", "user", "mounts")
    return tuple(
        f"{key}: {config.get(key)!r}, not {wanted[key]!r}"
        for key in watched
        if key in wanted and not _within(wanted[key], config.get(key))
    )


def _within(wanted: object, made: object) -> bool:
    """Tell whether everything that is wanted is there; limactl fills in more."""
    if isinstance(wanted, Mapping):
        there = made if isinstance(made, Mapping) else {}
        return all(_within(value, there.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list):
        entries = made if isinstance(made, list) else []
        pairs = zip(wanted, entries, strict=False)
        return len(wanted) <= len(entries) and all(_within(one, other) for one, other in pairs)
    return wanted == made
