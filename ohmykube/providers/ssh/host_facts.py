"""Facts about a host in one round trip: its marker, its address, and what preflight checks."""

from __future__ import annotations

import ipaddress
import json
import shlex
from dataclasses import dataclass
from typing import Any

MARKER = "/var/lib/ohmykube/machine.json"
"""Says which cluster and node a host belongs to."""

# POSIX shell and what every Linux has; a fact that cannot be found is left out.
FACTS_SCRIPT = r"""
say() { printf '%s=%s\n' "$1" "$2"; }
say uid "$(id -u)"
[ -e "$MARKER" ] && say marker "$(tr -d '\n' <"$MARKER")"
say arrived "${SSH_CONNECTION:-}"
say addresses "$(ip -o addr show 2>/dev/null | awk '{sub("/.*","",$4); printf "%s ", $4}')"
for to in 192.0.2.1 2001:db8::1; do
  ip route get $to 2>/dev/null | sed -n 's/.* src \([0-9a-f.:]*\).*/route=\1/p'
done | head -n 1
say cards "$(ip -o addr show 2>/dev/null | awk '{sub("/.*","",$4); printf "%s=%s ", $4, $2}')"
if command -v ip >/dev/null; then
  for to in ${SERVICES:-}; do ip route get "$to" >/dev/null 2>&1 || printf '%s ' "$to"; done |
    sed 's/^/unrouted=/'
  echo
fi
say machine "$(uname -m)"
say python "$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)"
[ -d /run/systemd/system ] && say systemd yes
say cpus "$(nproc 2>/dev/null || grep -c ^processor /proc/cpuinfo)"
say memory_kib "$(awk '$1=="MemTotal:"{print $2}' /proc/meminfo)"
say disk_kib "$(df -Pk /var/lib 2>/dev/null | awk 'NR==2{print $4}')"
say swaps "$(awk 'NR>1' /proc/swaps 2>/dev/null | wc -l)"
say listening "$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
  awk '$4=="0A"{n=split($2,a,":"); printf "%s ", a[n]}')"
PATH=$PATH:/usr/sbin:/sbin
for m in overlay br_netfilter; do
  if [ -d "/sys/module/$m" ] || grep -qw "$m" /proc/filesystems || modprobe -n -q "$m" 2>/dev/null
  then say "module_$m" yes; fi
done
[ -e /proc/sys/net/bridge ] && say module_br_netfilter yes
for p in apt-get dnf yum zypper pacman apk; do
  if command -v "$p" >/dev/null 2>&1; then say packager "$p"; break; fi
done
if [ -r /etc/os-release ]; then . /etc/os-release; say system "${ID:-} ${VERSION_ID:-}"; fi
exit 0
"""

PUT_MARKER_SCRIPT = r"""
set -eu
d=$(dirname "$MARKER")
mkdir -p "$d"; chmod 0755 "$d"
t=$(mktemp "$d/.machine.XXXXXX")
trap 'rm -f "$t"' EXIT
printf '%s\n' "$CONTENT" >"$t"
chmod 0644 "$t"
# A link cannot replace a marker that another run has put there in the meantime.
ln "$t" "$MARKER" 2>/dev/null || true
cat "$MARKER"
"""

REMOVE_MARKER_SCRIPT = r"""
set -eu
if [ -e "$MARKER" ] && [ "$(tr -d '\n' <"$MARKER")" = "$CONTENT" ]; then
  rm -f "$MARKER"
  rmdir "$(dirname "$MARKER")" 2>/dev/null || true
fi
"""


def script(text: str, **variables: str) -> str:
    """Return a script with its variables set first, quoted."""
    known = {"MARKER": MARKER, **variables}
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in known.items()) + text


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """To whom a host belongs."""

    cluster: str
    node: str
    id: str
    """Id of the cluster, so that two users' clusters of one name are distinct."""

    def text(self) -> str:
        """Return the marker's one line."""
        content = {"schema": 1, "cluster": self.cluster, "node": self.node, "id": self.id}
        return json.dumps(content, sort_keys=True)


def parse_marker(text: str) -> Marker:
    """Return a marker; what cannot be read is somebody else's: its fields are empty."""
    try:
        content: Any = json.loads(text)
        return Marker(
            cluster=str(content["cluster"]), node=str(content["node"]), id=str(content["id"])
        )
    except (ValueError, KeyError, TypeError):
        return Marker(cluster="", node="", id="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts of a host, as it wrote them; empty where it could not find out."""

    values: dict[str, str]

    def number(self, key: str) -> int | None:
        """Return a fact as a number, None when it is none."""
        text = self.values.get(key, "")
        return int(text) if text.isdecimal() else None

    def text(self, key: str) -> str:
        """Return a fact as text."""
        return self.values.get(key, "")

    @property
    def marker(self) -> Marker | None:
        """Who owns the host; None when it has no marker."""
        return parse_marker(self.values["marker"]) if "marker" in self.values else None

    @property
    def addresses(self) -> tuple[str, ...]:
        """All addresses of the host."""
        return tuple(self.text("addresses").split())

    def card(self, address: str) -> str:
        """Return the network interface with an address; empty where there is none."""
        pairs = (pair.split("=", 1) for pair in self.text("cards").split() if "=" in pair)
        return dict(pairs).get(address, "")

    @property
    def ports(self) -> frozenset[int]:
        """TCP ports on which something listens."""
        return frozenset(int(port, 16) for port in self.text("listening").split())

    def address(self, wished: str | None, reached: str) -> str:
        """Return the address at which other nodes reach the host.

        The one wished for; else the one at which our connection arrived, which behind NAT or a jump
        host is not the one that we dialled; else that of its default route.
        """
        if wished:
            return wished
        arrived = self.text("arrived").split()
        candidates = (arrived[2] if len(arrived) == 4 else "", self.text("route"), reached)
        for candidate in candidates:
            if _usable(candidate):
                return candidate
        return reached


def _usable(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_link_local)


def parse(output: str) -> Facts:
    """Return the facts in the output of ``FACTS_SCRIPT``."""
    pairs = (line.split("=", 1) for line in output.splitlines() if "=" in line)
    return Facts(values={key: value.strip() for key, value in pairs})
