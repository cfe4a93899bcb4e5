"""Single values of a cluster file: each function returns the value in its final form or says what
is wrong with it by raising ValueError with ``must …``.
"""

from __future__ import annotations

import ipaddress
import math
import re
from urllib.parse import urlsplit

from ohmykube.config.problems import closest, echo
from ohmykube.kit import entrypoints
from ohmykube.model import names, versions
from ohmykube.model.cluster import Taint
from ohmykube.model.networks import AUTO

_VERSION = re.compile(r"v?([0-9]{1,3})\.([0-9]{1,3})(?:\.([0-9]{1,4}))?")
_DNS_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_DNS_LABEL}(\.{_DNS_LABEL})*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,62}\.?)*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")
_JUMP = re.compile(r"(?:(?P<user>[^@]+)@)?(?P<host>[^@:]+)(?::(?P<port>[0-9]{1,5}))?")
_ENDPOINT = re.compile(r"(?P<host>[^:/@\s]+):(?P<port>[0-9]{1,5})")
_HOST_KEY = re.compile(
    r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]{40,2000}=*"
)
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_QUANTITY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s?([A-Za-z]*)")
# As GNU's programs read sizes, and all options of the command line: only a B after the letter is
# decimal.
_UNITS = {
    "MiB": 1 << 20, "Mi": 1 << 20, "GiB": 1 << 30, "Gi": 1 << 30, "TiB": 1 << 40, "Ti": 1 << 40,
    "MB": 10**6, "M": 1 << 20, "GB": 10**9, "G": 1 << 30, "TB": 10**12, "T": 1 << 40,
}  # fmt: skip
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_KUBELET_LABELS = ("kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch")

SOURCES = ("mirror", "upstream", "build")
"""Those that are always there."""
SMALLEST_MEMORY_MIB = 256
LARGEST_MEMORY_MIB = 16 << 20
LARGEST_DISK_GIB = 64 << 10


def name(text: str) -> str:
    """Name of a cluster or node."""
    if not names.is_name(text):
        raise ValueError(f"must be {names.RULE}, got {echo(text)}")
    return text


def host_name(text: str) -> str:
    """Name of a node on a host that exists."""
    if not names.is_host_name(text):
        raise ValueError(f"must be {names.RULE_OF_HOST}, got {echo(text)}")
    return text


def source(text: str) -> str:
    """Name of a source of artifacts: one of ours, or one that an installed package brings."""
    if text in SOURCES:
        return text
    return one_of(text, tuple(dict.fromkeys((*SOURCES, *entrypoints.names("ohmykube.sources")))))


def prefix(text: str) -> str:
    """Start of node names, to which a number is appended."""
    if not names.is_name(text) or len(text) > names.LONGEST - 3:
        rule = f"lower-case letters, digits and hyphens, at most {names.LONGEST - 3}"
        raise ValueError(f"must be {rule}, got {echo(text)}")
    return text


def kubernetes_version(text: str) -> str:
    """``1.36``, ``1.36.3`` or ``v1.36.3``; returns the full version without the v."""
    form = _VERSION.fullmatch(text)
    if form is None:
        raise ValueError(f'must be a version such as "{versions.DEFAULT}", got {echo(text)}')
    major, minor, patch = form.groups()
    series = f"{int(major)}.{int(minor)}"
    if series not in versions.PATCHES:
        known = ", ".join(versions.PATCHES)
        raise ValueError(f"must be one of the supported versions {known}, got {echo(text)}")
    return versions.PATCHES[series] if patch is None else f"{series}.{int(patch)}"


def network(text: str) -> str:
    """IPv4 network in CIDR form, with no host bits set."""
    try:
        found = ipaddress.IPv4Network(text)
    except ValueError as error:
        corrected = _corrected(text)
        if corrected:
            raise ValueError(f"must be a network address: {corrected}, got {echo(text)}") from error
        raise ValueError(
            f"must be an IPv4 network such as 10.244.0.0/16, got {echo(text)}"
        ) from error
    if "/" not in text:
        raise ValueError(f"must have a prefix length such as {text}/16, got {echo(text)}")
    if found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified:
        raise ValueError(f"must be a network that can be routed, got {echo(text)}")
    return str(found)


def _corrected(text: str) -> str:
    try:
        return str(ipaddress.IPv4Network(text, strict=False))
    except ValueError:
        return ""


def pod_network(text: str) -> str:
    """Network that is cut into one /24 for each node."""
    if text == AUTO:
        return text
    found = ipaddress.IPv4Network(network(text))
    if not 8 <= found.prefixlen <= 24:
        raise ValueError(f"must have a prefix length from 8 to 24, got {echo(text)}")
    return str(found)


def service_network(text: str) -> str:
    """Network of service addresses, within what the API server accepts."""
    if text == AUTO:
        return text
    found = ipaddress.IPv4Network(network(text))
    if not 12 <= found.prefixlen <= 28:
        raise ValueError(f"must have a prefix length from 12 to 28, got {echo(text)}")
    return str(found)


def ipv4(text: str) -> str:
    """IPv4 address."""
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError as error:
        raise ValueError(f"must be an IPv4 address, got {echo(text)}") from error


def address(text: str) -> str:
    """IPv4 address or host name."""
    if re.fullmatch(r"[0-9.]+", text):
        return ipv4(text)
    if len(text) > 253 or not _HOST.fullmatch(text):
        raise ValueError(f"must be an IPv4 address or a host name, got {echo(text)}")
    return text


def user(text: str) -> str:
    """Login name."""
    if not _USER.fullmatch(text):
        raise ValueError(f"must be a login name, got {echo(text)}")
    return text


def jump(text: str) -> str:
    """``[user@]host[:port]``."""
    form = _JUMP.fullmatch(text)
    if form is None or not _is_place(form) or not _USER.fullmatch(form["user"] or "root"):
        raise ValueError(f"must be [user@]host[:port], got {echo(text)}")
    return text


def _is_place(form: re.Match[str]) -> bool:
    try:
        address(form["host"])
    except ValueError:
        return False
    return 1 <= int(form["port"] or 22) <= 65535


def endpoint(text: str) -> str:
    """``host:port``."""
    form = _ENDPOINT.fullmatch(text)
    if form is None or not _is_place(form):
        raise ValueError(f'must be "host:port", got {echo(text)}')
    return text


def alternative_name(text: str) -> str:
    """IPv4 address or DNS name, ``*.`` allowed in front."""
    address(text.removeprefix("*."))
    return text


def host_key(text: str) -> str:
    """Public host key: type and base64, without a comment."""
    found = " ".join(text.split()[:2])
    if not _HOST_KEY.fullmatch(found):
        raise ValueError(f'must be a public key such as "ssh-ed25519 AAAA...", got {echo(text)}')
    return found


def domain(text: str) -> str:
    """Lower-case DNS domain."""
    if len(text) > 200 or not _DOMAIN.fullmatch(text):
        raise ValueError(f"must be a lower-case DNS domain, got {echo(text)}")
    return text


def proxy_mode(text: str) -> str:
    """``iptables`` or ``nftables``."""
    if text == "ipvs":
        raise ValueError('must be "iptables" or "nftables"; ipvs is deprecated in Kubernetes')
    return one_of(text, ("iptables", "nftables"))


def one_of(text: str, known: tuple[str, ...]) -> str:
    """One word of a list."""
    if text not in known:
        choice = ", ".join(f'"{word}"' for word in known[:-1]) + f' or "{known[-1]}"'
        raise ValueError(f"must be {choice}, got {echo(text)}{closest(text, known)}")
    return text


def mirror(text: str) -> str:
    """http or https URL without credentials, or an absolute directory."""
    if text.startswith("/"):
        if "\0" in text or "\n" in text:
            raise ValueError(f"must be a path without control characters, got {echo(text)}")
        return text.rstrip("/") or "/"
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or re.search(r"[\s\x00-\x1f\x7f]", text) or parts.query or parts.fragment:
        raise ValueError(f"must be an http(s) URL or an absolute directory, got {echo(text)}")
    if "@" in parts.netloc:
        raise ValueError("must not carry a user or password: this file is no place for secrets")
    return text.rstrip("/")


def registries(table: dict[str, list[str]]) -> dict[str, list[str]]:
    """Registry (``host[:port]``) to the URLs of its mirrors."""
    for name, places in table.items():
        if not is_registry(name):
            raise ValueError(f"has a registry that is no host: {echo(name)}")
        if not places or any(place.startswith("/") for place in places):
            raise ValueError(f"must have http(s) URLs for {name}")
    return table


def is_registry(name: str) -> bool:
    """Tell whether a text names a registry as references of images do, ``host[:port]``."""
    host, colon, port = name.partition(":")
    good = port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 1 << 16
    return _DOMAIN.fullmatch(host) is not None and (good or not colon)


def label_key(text: str) -> str:
    """Key of a Kubernetes label or taint: ``[domain/]name``."""
    domain_part, slash, last = text.rpartition("/")
    good = _LABEL_NAME.fullmatch(last) is not None
    if slash:
        good = good and len(domain_part) <= 253 and _DOMAIN.fullmatch(domain_part) is not None
    if not good:
        raise ValueError(f"has a key that Kubernetes does not allow: {echo(text)}")
    return text


def label_key_of_ours(text: str) -> str:
    """Key of a label that is not the kubelet's own."""
    if label_key(text) in _KUBELET_LABELS:
        raise ValueError(f"has a key that the kubelet sets itself: {text}")
    return text


def label_value(text: str) -> str:
    """Value of a Kubernetes label or taint, may be empty."""
    if text and not _LABEL_NAME.fullmatch(text):
        rule = "at most 63 letters, digits, '-', '_' and '.', first and last a letter or digit"
        raise ValueError(f"must be {rule}, got {echo(text)}")
    return text


def taint(text: str) -> Taint:
    """``key=value:Effect`` or ``key:Effect``."""
    rest, colon, effect = text.rpartition(":")
    key, _equals, value = rest.partition("=")
    if not colon:
        raise ValueError(f"must be key=value:Effect or key:Effect, got {echo(text)}")
    if effect not in _EFFECTS:
        known = ", ".join(_EFFECTS)
        raise ValueError(f"must have one of the effects {known}, got {echo(text)}")
    return Taint(key=label_key(key), value=label_value(value), effect=effect)


def memory_mib(text: str) -> int:
    """Memory with its unit; returns whole MiB, rounded down."""
    found = math.floor(_bytes(text) / (1 << 20))
    if not SMALLEST_MEMORY_MIB <= found <= LARGEST_MEMORY_MIB:
        raise ValueError(f"must be from {SMALLEST_MEMORY_MIB}MiB to 16TiB, got {echo(text)}")
    return found


def disk_gib(text: str) -> int:
    """Disk with its unit; returns whole GiB, rounded up."""
    found = math.ceil(_bytes(text) / (1 << 30))
    if not 1 <= found <= LARGEST_DISK_GIB:
        raise ValueError(f"must be from 1GiB to 64TiB, got {echo(text)}")
    return found


def _bytes(text: str) -> float:
    form = _QUANTITY.fullmatch(text.strip())
    if form is None:
        raise ValueError(f"must be a size such as 4GiB or 512MiB, got {echo(text)}")
    number, unit = form.groups()
    if not unit:
        raise ValueError(f"must have a unit, such as {number}GiB or {number}MiB, got {echo(text)}")
    if unit not in _UNITS:
        known = ", ".join(_UNITS)
        raise ValueError(f"must have one of the units {known}, got {echo(text)}")
    return float(number) * _UNITS[unit]
