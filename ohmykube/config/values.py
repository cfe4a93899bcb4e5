"""Single values of a cluster file: each function returns the value in its final form or says what
is wrong with it by raising ValueError with ``must …``.
"""

from __future__ import annotations

import ipaddress
import math
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ohmykube.config.problems import closest, echo
from ohmykube.kit import entrypoints
from ohmykube.model import names, versions
from ohmykube.model.cluster import Taint
from ohmykube.model.networks import AUTO, FAMILY_NAMES, IPV4, IPV6

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERSION = re.compile(r"v?([0-9]{1,3})\.([0-9]{1,3})(?:\.([0-9]{1,4}))?")
_DNS_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_DNS_LABEL}(\.{_DNS_LABEL})*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,62}\.?)*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")
_PLACE = r"(?P<host>[^:/@\s\[\]]+|\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]+\])"
_JUMP = re.compile(rf"(?:(?P<user>[^@]+)@)?{_PLACE}(?::(?P<port>[0-9]{{1,5}}))?")
_ENDPOINT = re.compile(rf"{_PLACE}:(?P<port>[0-9]{{1,5}})")
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
NODE_PREFIXES = {IPV4: 24, IPV6: 64}
"""Of what each node gets of the pod network: the defaults of Kubernetes."""
POD_PREFIXES = {IPV4: range(8, 25), IPV6: range(48, 65)}
"""The controller manager refuses to count more than 2^16 nodes."""
MACHINE_PREFIXES = {IPV4: range(16, 25), IPV6: range(48, 121)}
"""So that there is room for all nodes that a cluster may have."""
SERVICE_PREFIXES = {IPV4: range(12, 29), IPV6: range(108, 125)}
"""The API server takes 20 bits of addresses at most; the cluster's DNS has the tenth."""


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
    """IPv4 or IPv6 network in CIDR form, with no host bits set."""
    try:
        found = ipaddress.ip_network(text)
    except ValueError as error:
        corrected = _corrected(text)
        if corrected:
            raise ValueError(f"must be a network address: {corrected}, got {echo(text)}") from error
        raise ValueError(
            f"must be a network such as 10.244.0.0/16 or fd00:10:244::/56, got {echo(text)}"
        ) from error
    if "/" not in text:
        like = f"{text}/{16 if found.version == IPV4 else 56}"
        raise ValueError(f"must have a prefix length such as {like}, got {echo(text)}")
    if found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified:
        raise ValueError(f"must be a network that can be routed, got {echo(text)}")
    return str(found)


def _corrected(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return ""


def one_text(value: object) -> object:
    """Let a list of texts stand for them with commas between them."""
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return ",".join(value)
    return value


def pod_networks(text: str) -> str:
    """Network that is cut into one for each node, or two of them; ``auto``."""
    return _networks(text, POD_PREFIXES)


def service_networks(text: str) -> str:
    """Network of service addresses, within what the API server accepts, or two; ``auto``."""
    return _networks(text, SERVICE_PREFIXES)


def machine_networks(text: str) -> str:
    """Network of machines that a provider makes, or two of them; ``auto``."""
    return _networks(text, MACHINE_PREFIXES)


def _networks(text: str, prefixes: Mapping[int, range]) -> str:
    """One network, or one of each IP family."""
    if text == AUTO:
        return text
    found = [ipaddress.ip_network(network(part.strip())) for part in text.split(",")]
    versions = [one.version for one in found]
    if len(versions) > len(set(versions)):
        names = ", ".join(FAMILY_NAMES[version] for version in versions)
        raise ValueError(f"must be one network, or one of each of IPv4 and IPv6, got {names}")
    for one in found:
        known = prefixes[one.version]
        if one.prefixlen not in known:
            rule = f"a prefix length from {known[0]} to {known[-1]}"
            family = f" for {FAMILY_NAMES[one.version]}" if one.version != IPV4 else ""
            raise ValueError(f"must have {rule}{family}, got {echo(str(one))}")
    return ",".join(map(str, found))


def ipv4(text: str) -> str:
    """IPv4 address."""
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError as error:
        raise ValueError(f"must be an IPv4 address, got {echo(text)}") from error


def node_addresses(text: str) -> str:
    """Address of a node, or one of each IP family."""
    try:
        found = [ipaddress.ip_address(part.strip()) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(f"must be an IPv4 or IPv6 address, got {echo(text)}") from error
    _without_zone(text)
    for one in found:
        if one.is_loopback or one.is_link_local or one.is_multicast or one.is_unspecified:
            raise ValueError(f"must be an address that other nodes reach, got {echo(str(one))}")
    if len(found) > len({one.version for one in found}):
        raise ValueError(f"must be one address, or one of each family, got {echo(text)}")
    return ",".join(map(str, found))


def _without_zone(text: str) -> None:
    if "%" in text:
        raise ValueError(f"must be an address without the zone of one host, got {echo(text)}")


def address(text: str) -> str:
    """IPv4 or IPv6 address, or host name."""
    if re.fullmatch(r"[0-9.]+", text):
        return ipv4(text)
    if ":" in text:
        try:
            return str(ipaddress.IPv6Address(text))
        except ValueError as error:
            raise ValueError(f"must be an IP address or a host name, got {echo(text)}") from error
    if len(text) > 253 or not _HOST.fullmatch(text):
        raise ValueError(f"must be an IP address or a host name, got {echo(text)}")
    return text


def user(text: str) -> str:
    """Login name."""
    if not _USER.fullmatch(text):
        raise ValueError(f"must be a login name, got {echo(text)}")
    return text


def jump(text: str) -> str:
    """``[user@]host[:port]``, an IPv6 address in brackets."""
    form = _JUMP.fullmatch(text)
    if form is None or not _is_place(form) or not _USER.fullmatch(form["user"] or "root"):
        raise ValueError(f"must be [user@]host[:port], got {echo(text)}")
    return text


def _is_place(form: re.Match[str]) -> bool:
    try:
        address(form["host"].strip("[]"))
    except ValueError:
        return False
    return 1 <= int(form["port"] or 22) <= 65535


def endpoint(text: str) -> str:
    """``host:port``, an IPv6 address in brackets."""
    form = _ENDPOINT.fullmatch(text)
    if form is None or not _is_place(form):
        raise ValueError(f'must be "host:port", got {echo(text)}')
    return text


def alternative_name(text: str) -> str:
    """IP address or DNS name, ``*.`` allowed in front."""
    _without_zone(text)
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
