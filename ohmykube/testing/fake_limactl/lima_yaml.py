"""Machine templates: read, checked, filled with defaults and changed, as far as tests need it."""

from __future__ import annotations

import copy
import hashlib
import itertools
import re
from typing import TYPE_CHECKING, Any

import yaml

from ohmykube.kit import architecture, plain_yaml
from ohmykube.testing.fake_limactl.log import Fatal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_KNOWN = frozenset(
    {
        "additionalDisks", "arch", "audio", "base", "caCerts", "containerd", "copyToHost", "cpus",
        "disk", "dns", "env", "firmware", "guestInstallPrefix", "hostResolver", "images", "memory",
        "message", "minimumLimaVersion", "mountInotify", "mountType", "mounts",
        "nestedVirtualization", "networks", "os", "param", "plain", "portForwards", "probes",
        "propagateProxyEnv", "provision", "rosetta", "ssh", "timezone", "upgradePackages", "user",
        "video", "vmOpts", "vmType", "cpuType",
    }
)  # fmt: skip
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_DIGEST = r"sha(256:[0-9a-f]{64}|384:[0-9a-f]{96}|512:[0-9a-f]{128})"
_STEP = re.compile(r"\.([A-Za-z0-9_]+)|\[(\d+)\]|\.\"([^\"]+)\"")
_DEFAULTS: dict[str, Any] = {
    "vmType": "qemu",
    "os": "Linux",
    "cpus": 4,
    "memory": "4GiB",
    "disk": "100GiB",
    "mountType": "9p",
    "mountInotify": False,
    "ssh": {},
    "firmware": {"legacyBIOS": False},
    "audio": {"device": ""},
    "video": {"display": "none", "vnc": {"display": "127.0.0.1:0,to=9"}},
    "upgradePackages": False,
    "containerd": {},
    "guestInstallPrefix": "/usr/local",
    "hostResolver": {"enabled": True, "ipv6": False},
    "propagateProxyEnv": True,
    "caCerts": {"removeDefaults": False},
    "plain": False,
    "timezone": "",
    "nestedVirtualization": False,
}
"""What `list` shows of a template that says nothing; the architecture is the host's."""


def size(text: object) -> int:
    """Return the bytes of a size such as ``768MiB``; a bare number is bytes."""
    found = _SIZE.fullmatch(str(text).strip())
    if found is None:
        raise Fatal(f"invalid size: '{text}'")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def size_text(value: int) -> str:
    """Return bytes as limactl prints them."""
    for unit, factor in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= factor:
            return f"{value / factor:.4g}{unit}"
    return f"{value}B"


def read(text: str, where: str) -> dict[str, Any]:
    """Parse a template; raises Fatal as limactl does."""
    try:
        raw = plain_yaml.load(text)
    except yaml.YAMLError as error:
        raise Fatal(f"failed to unmarshal YAML ({where}): {error}") from error
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise Fatal(f"failed to unmarshal YAML ({where}): it is no mapping")
    for key, kind in (("cpus", int), ("images", list), ("networks", list), ("ssh", dict)):
        if key in raw and (not isinstance(raw[key], kind) or isinstance(raw[key], bool)):
            raise Fatal(
                f"failed to unmarshal YAML ({where}): cannot unmarshal "
                f"{type(raw[key]).__name__} into Go struct field LimaYAML.{key}"
            )
    return raw


def unknown_fields(raw: dict[str, Any]) -> list[str]:
    """Return the top-level fields that limactl only warns of."""
    return sorted(set(raw) - _KNOWN)


def check(raw: dict[str, Any], networks: Sequence[str]) -> None:
    """Raise Fatal for what limactl refuses."""
    if not raw.get("images"):
        raise Fatal("field `images` must be set")
    for index, image in enumerate(raw["images"]):
        digest = image.get("digest", "")
        if digest and not re.fullmatch(_DIGEST, digest):
            raise Fatal(
                f"field `images[{index}].digest` is invalid: {digest}: "
                "invalid checksum digest length"
            )
    for network in raw.get("networks") or []:
        if "lima" in network and network["lima"] not in networks:
            raise Fatal(f'network "{network["lima"]}" is not defined')
    for field in ("memory", "disk"):
        if field in raw and not _SIZE.fullmatch(str(raw[field]).strip()):
            raise Fatal(f"field `{field}` has an invalid value: invalid size: '{raw[field]}'")


def _mac(seed: str) -> str:
    digest = hashlib.sha256(seed.encode()).digest()
    return "52:55:55:" + ":".join(f"{byte:02x}" for byte in digest[:3])


def card_address(directory: Path) -> str:
    """Return the MAC of an instance's first card, which depends on its directory alone."""
    return _mac(f"fake-machine {directory}")


def filled(raw: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Return a template with the defaults that `list` shows."""
    arch = architecture.kernel_name(architecture.host())
    config: dict[str, Any] = {
        **copy.deepcopy(_DEFAULTS),
        "arch": arch,
        **{key: copy.deepcopy(value) for key, value in raw.items() if key in _KNOWN},
    }
    config["images"] = [{"arch": arch, **image} for image in config["images"]]
    config["ssh"] = {
        "localPort": 0,
        "loadDotSSHPubKeys": False,
        "forwardAgent": False,
        "forwardX11": False,
        "forwardX11Trusted": False,
        **config["ssh"],
    }
    archive = "https://github.com/containerd/nerdctl/releases/download/v2.2.1/nerdctl-full.tar.gz"
    archives = [{"location": archive, "arch": arch, "digest": f"sha256:{'0' * 64}"}]
    config["containerd"] = {"archives": archives, **config["containerd"]}
    config["containerd"] = {"system": False, "user": not config["plain"], **config["containerd"]}
    config["user"] = {"name": "lima", "comment": "", "uid": 1000, **config.get("user", {})}
    config["user"].setdefault("home", f"/home/{config['user']['name']}")
    config["user"].setdefault("shell", "/bin/bash")
    if "networks" in config:
        config["networks"] = [
            {
                "macAddress": _mac(f"fake-machine {directory / 'lima.yaml'} #{index}"),
                "interface": f"lima{index}",
                "metric": 100,
                **network,
            }
            for index, network in enumerate(config["networks"] or [])
        ]
    # Lists that are empty are not shown.
    return {key: value for key, value in config.items() if value != []}


def changed(raw: dict[str, Any], expressions: Sequence[str]) -> dict[str, Any]:
    """Return a template after assignments such as ``.cpus = 2`` or ``.networks[0].lima = "x"``."""
    result = copy.deepcopy(raw)
    for expression in expressions:
        for one in expression.split(" | "):
            _assign(result, one)
    return result


def _assign(target: dict[str, Any], expression: str) -> None:
    path, equals, value = expression.partition("=")
    steps = [_step(found) for found in _STEP.finditer(path.strip())]
    if not equals or not steps:
        raise Fatal(f"the fake limactl does not understand the expression {expression!r}")
    holder: Any = target
    for step, following in itertools.pairwise(steps):
        if isinstance(holder, dict):
            holder = holder.setdefault(step, [] if isinstance(following, int) else {})
        else:
            holder = holder[step]
    last = steps[-1]
    if isinstance(holder, list) and last == len(holder):
        holder.append(plain_yaml.load(value))
    else:
        holder[last] = plain_yaml.load(value)


def _step(found: re.Match[str]) -> str | int:
    return int(found[2]) if found[2] is not None else found[1] or found[3]


def refuse_shrinking(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Raise Fatal when a disk would become smaller."""
    before, after = old.get("disk", "100GiB"), new.get("disk", "100GiB")
    if size(after) < size(before):
        raise Fatal(f"field `disk`: shrinking the disk ({before} --> {after}) is not supported")


def warn_unknown(raw: dict[str, Any], where: str, warning: Callable[..., None]) -> None:
    """Warn of unknown fields."""
    for field in unknown_fields(raw):
        warning(
            "Non-strict YAML detected; please check for typos",
            comment=where,
            error=f'[1:1] unknown field "{field}"\n> 1 | {field}: {raw[field]}\n      ^\n',
        )
