"""What the user's own ssh configuration says of a host, where the cluster file says nothing.

``ssh -G`` is asked, so ``Host``, ``Match``, ``Include`` and tokens mean what they mean to ssh. A
cluster file's own values are given to it as on a command line, where they win.
"""

from __future__ import annotations

import os
import pwd
import re
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.errors import ConfigError
from ohmykube.kit import files, process, shell
from ohmykube.model.machine import SshTarget
from ohmykube.providers.ssh import host_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ohmykube.model.cluster import Host

DEFAULT_USER = "root"
"""Login name where neither the cluster file nor ssh's configuration has one."""

SSH_PORT = 22
SYSTEM_FILE = Path("/etc/ssh/ssh_config")
_SECONDS = 20
_TOKEN = re.compile(r"%(.)")

# How a host is found and proves itself, and how we do. What ssh does then (terminals, forwards,
# shared connections, host keys that are not known) is for whoever runs it to say.
_OPTIONS = (
    "AddressFamily", "BindAddress", "BindInterface", "CASignatureAlgorithms", "CertificateFile",
    "Ciphers", "GlobalKnownHostsFile", "HostKeyAlgorithms", "HostKeyAlias", "IdentitiesOnly",
    "IdentityAgent", "IdentityFile", "KexAlgorithms", "KnownHostsCommand", "MACs",
    "PKCS11Provider", "ProxyCommand", "ProxyJump", "ProxyUseFdpass", "PubkeyAcceptedAlgorithms",
    "RequiredRSASize", "RevokedHostKeys", "SecurityKeyProvider", "UserKnownHostsFile",
    "VerifyHostKeyDNS",
)  # fmt: skip
_ONE_PATH = frozenset(
    ("CertificateFile", "IdentityAgent", "IdentityFile", "PKCS11Provider", "RevokedHostKeys")
)
_OF_KNOWN_HOSTS = frozenset(
    ("GlobalKnownHostsFile", "HostKeyAlias", "KnownHostsCommand", "UserKnownHostsFile")
)


def own_files() -> tuple[Path, ...]:
    """Return the files that ssh reads for this user, who is not the one of ``$HOME`` to it."""
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    return (home / ".ssh" / "config", SYSTEM_FILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """How ssh would log in to a host."""

    address: str
    port: int
    user: str
    options: tuple[tuple[str, str], ...]
    """Further lines of its ``Host`` entry: keyword and value, quoted as ssh wants it."""


def login(host: Host, configuration: Sequence[Path]) -> Login:
    """Return how ssh logs in to a host with the user's configuration.

    Args:
        host: as the cluster file has it; what it says wins.
        configuration: the user's files, the first that says something wins.

    Raises:
        ConfigError: ssh cannot read the configuration.
        PrerequisiteError: ssh is not installed.
    """
    if not configuration:
        user, port = host.user or DEFAULT_USER, host.port or SSH_PORT
        return Login(address=host.address, port=port, user=user, options=())
    given = [] if host.user is None else ["-l", host.user]
    given += [] if host.port is None else ["-p", str(host.port)]
    given += [] if host.jump is None else ["-o", f"ProxyJump={host.jump}"]
    with tempfile.TemporaryDirectory(prefix="omk-ssh-") as directory:
        path = Path(directory) / "config"
        included = "".join(f'Include "{one}"\n' for one in configuration)
        # Of two values ssh takes the first, so the last line is a default.
        files.write(path, f"Host *\n{included}Host *\nUser {DEFAULT_USER}\n")
        said = _asked("-F", str(path), *given, host.address)
    usual = _asked("-F", "none", *given, host.address)
    return Login(
        address=said["hostname"][0],
        port=int(said["port"][0]),
        user=said["user"][0],
        options=tuple(_lines(host, said, usual)),
    )


class Logins:
    """The logins of hosts; each is found out once."""

    def __init__(self, configuration: Iterable[Path]) -> None:
        self._configuration = tuple(path for path in configuration if path.exists())
        self._found: dict[Host, Login] = {}

    def of(self, host: Host) -> Login:
        """Return how ssh logs in to a host (see ``login``)."""
        if host not in self._found:
            self._found[host] = login(host, self._configuration)
        return self._found[host]

    def target(self, host: Host, known_hosts: Path | None) -> SshTarget:
        """Return how to reach a host; with ``known_hosts`` its keys alone are trusted."""
        found = self.of(host)
        jumps = host.jump is not None or any(option == "ProxyJump" for option, _ in found.options)
        return SshTarget(
            address=found.address,
            user=found.user,
            port=found.port,
            identity_file=host.identity_file,
            known_hosts=known_hosts,
            jump=host.jump,
            options=found.options,
            jump_files=self._configuration if jumps else (),
            become=host.become,
        )

    def known_hosts_line(self, host: Host) -> str:
        """Return a known_hosts line for a pinned key; empty for a host without one."""
        if host.host_key is None:
            return ""
        found = self.of(host)
        return host_keys.known_hosts_line(host.host_key, found.address, found.port)


def _lines(
    host: Host, said: Mapping[str, list[str]], usual: Mapping[str, list[str]]
) -> list[tuple[str, str]]:
    left_out = set(_OF_KNOWN_HOSTS) if host.host_key else set()
    if host.identity_file is not None:
        left_out |= {"IdentityFile", "IdentitiesOnly"}
    if host.jump is not None:
        left_out |= {"ProxyJump", "ProxyCommand", "ProxyUseFdpass"}
    known_as = said.get("hostkeyalias", [host.address])[0]
    lines = []
    for option in _OPTIONS:
        values = said.get(option.lower(), [])
        if option in left_out or values == usual.get(option.lower(), []):
            continue
        for value in values:
            meant = _of_alias(value, host.address, known_as)
            lines.append((option, _quoted(meant) if option in _ONE_PATH else meant))
    return lines


def _of_alias(value: str, alias: str, known_as: str) -> str:
    """Resolve the tokens that mean the name on the command line, where we give the node's."""
    names = {"n": alias, "k": known_as}
    return _TOKEN.sub(lambda found: names.get(found[1], found[0]), value)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _asked(*argv: str) -> dict[str, list[str]]:
    """Return what ``ssh -G`` says, by option in lower case."""
    try:
        told = process.run(["ssh", "-G", *argv], timeout=_SECONDS).stdout
    except process.CommandFailed as error:
        raise ConfigError(
            f"ssh cannot read its configuration for host {argv[-1]}",
            why=process.tail(error.result.stderr, 4) or error.message,
            hint=f"ssh -G {shell.word(argv[-1])}",
            id="OMK-V-490",
        ) from error
    options: dict[str, list[str]] = defaultdict(list)
    for line in told.splitlines():
        option, _, value = line.partition(" ")
        options[option].append(value)
    return options
