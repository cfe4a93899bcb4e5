"""The command line of the fake limactl."""

from __future__ import annotations

import os
import re
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ohmykube.testing.fake_limactl import instances, networks_disks, power
from ohmykube.testing.fake_limactl.daemons import wait
from ohmykube.testing.fake_limactl.faults import Fault
from ohmykube.testing.fake_limactl.lima_home import Home
from ohmykube.testing.fake_limactl.log import Ended, Fatal, Hung, Killed, LimactlLog
from ohmykube.testing.fake_limactl.profile import PROFILES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_GLOBAL = {"--tty": False, "--log-format": True, "--log-level": True, "--debug": False}
_SHORT = {"-f": "--force", "-q": "--quiet", "-y": "--yes", "-n": "--name"}
_FLAGS: dict[str, dict[str, bool]] = {
    "list": {"--json": False, "--quiet": False, "--format": True},
    "create": {"--name": True},
    "start": {"--timeout": True},
    "stop": {"--force": False},
    "delete": {"--force": False},
    "clone": {"--set": True},
    "edit": {"--set": True, "--cpus": True, "--memory": True, "--disk": True},
    "shell": {"--workdir": True},
    "protect": {},
    "unprotect": {},
    "validate": {},
    "info": {},
    "disk create": {"--size": True, "--format": True},
    "disk list": {"--json": False},
    "disk delete": {"--force": False},
    "disk resize": {"--size": True},
    "disk unlock": {},
    "network create": {"--gateway": True, "--mode": True},
    "network list": {"--json": False},
    "network delete": {"--force": False},
}
"""Of each verb, its flags and whether they take a value."""
_TIME = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


@dataclass(slots=True)
class Arguments:
    """What was typed."""

    verb: str = ""
    flags: dict[str, list[str]] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    def one(self, flag: str, default: str = "") -> str:
        """Return the last value of a flag."""
        return self.flags.get(flag, [default])[-1]


def understand(argv: Sequence[str]) -> Arguments:
    """Read a command line; raises Fatal for what the real one does not take either."""
    found = Arguments()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word.startswith("-") and word != "-":
            _flag(found, word, rest)
        elif not found.verb:
            found.verb = f"{word} {rest.pop(0)}" if word in ("disk", "network") and rest else word
            if found.verb not in _FLAGS:
                raise Fatal(f'unknown command "{word}" for "limactl"')
        else:
            found.names.append(word)
            if found.verb == "shell":  # what follows is the guest's
                found.names += rest
                break
    return found


def _flag(found: Arguments, word: str, rest: list[str]) -> None:
    name, equals, value = word.partition("=")
    name = _SHORT.get(name, name)
    known = {**_GLOBAL, "--yes": False, "--version": False, **_FLAGS.get(found.verb, {})}
    if name not in known:
        raise Fatal(f"unknown flag: {name}")
    if known[name] and not equals:
        if not rest:
            raise Fatal(f"flag needs an argument: {name}")
        value = rest.pop(0)
    found.flags.setdefault(name, []).append(value or "true")


def _seconds(text: str) -> float:
    found = _TIME.fullmatch(text)
    if not found or not text:
        raise Fatal(f'invalid argument "{text}" for "--timeout" flag')
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(hours * 3600 + minutes * 60 + seconds)


class Program:
    """One call."""

    def __init__(self, home: Home, arguments: Arguments, *, stdin: TextIO, out: TextIO) -> None:
        self.home = home
        self.arguments = arguments
        self.stdin = stdin
        self.out = out

    def perform(self) -> None:
        """Do what the verb says; raises Fatal or Ended."""
        verbs: dict[str, Callable[[], None]] = {
            "list": self.list,
            "create": self.create,
            "start": self.start,
            "stop": self.stop,
            "delete": self.delete,
            "clone": self.clone,
            "edit": self.edit,
            "shell": self.shell,
            "protect": lambda: instances.protect(self.home, self.name(), on=True),
            "unprotect": lambda: instances.protect(self.home, self.name(), on=False),
            "validate": lambda: instances.validate(self.home, self.name()),
            "info": self.info,
        }
        if self.arguments.verb in verbs:
            verbs[self.arguments.verb]()
        elif self.arguments.verb.startswith("disk"):
            self.disk()
        else:
            self.network()

    def name(self, index: int = 0) -> str:
        """Return the name at a place; raises Fatal when it was not given."""
        if len(self.arguments.names) <= index:
            raise Fatal(f"requires at least {index + 1} arg(s), only received {index}")
        return self.arguments.names[index]

    def flag(self, name: str) -> bool:
        """Tell whether a flag was given."""
        return self.arguments.one(name, "false") != "false"

    def list(self) -> None:
        """List instances."""
        as_json = self.flag("--json") or self.arguments.one("--format") == "json"
        kind = "names" if self.flag("--quiet") else "json" if as_json else "table"
        instances.list_(self.home, self.arguments.names, kind=kind, out=self.out)

    def create(self) -> None:
        """Create from a file or from the standard input."""
        source = self.name()
        name = self.arguments.one("--name")
        if source == "-":
            text = self.stdin.read()
        else:
            try:
                text = Path(source).read_text()
            except FileNotFoundError as error:
                raise Fatal(f"open {source}: no such file or directory") from error
            name = name or Path(source).stem
        instances.create(self.home, name, text, source)

    def start(self) -> None:
        """Start."""
        power.start(self.home, self.name(), _seconds(self.arguments.one("--timeout", "10m")))

    def stop(self) -> None:
        """Stop."""
        power.stop(self.home, self.name(), force=self.flag("--force"))

    def delete(self) -> None:
        """Delete, then look after the networks."""
        late = instances.delete(self.home, self.arguments.names, force=self.flag("--force"))
        power.reconcile(self.home)
        if late:
            raise Fatal("\n".join(late))

    def clone(self) -> None:
        """Clone."""
        expressions = self.arguments.flags.get("--set", [])
        instances.clone(self.home, self.name(), self.name(1), expressions)

    def edit(self) -> None:
        """Edit."""
        instances.edit(self.home, self.name(), self.arguments.flags.get("--set", []))

    def shell(self) -> None:
        """Answer for the guest."""
        power.shell(self.home, self.name(), self.arguments.names[1:], self.out)

    def info(self) -> None:
        """Refuse as one does whose templates are not installed."""
        raise Fatal(f"template {self.home.profile.quote('default.yaml')} not found")

    def disk(self) -> None:
        """Do what concerns disks."""
        verb, one = self.arguments.verb, self.arguments.one
        if verb == "disk create":
            kind = one("--format", "qcow2")
            networks_disks.disk_create(self.home, self.name(), size=one("--size"), kind=kind)
        elif verb == "disk list":
            networks_disks.disk_list(self.home, self.out)
        elif verb == "disk delete":
            networks_disks.disk_delete(self.home, self.arguments.names, force=self.flag("--force"))
        elif verb == "disk resize":
            networks_disks.disk_resize(self.home, self.name(), size=one("--size"))
        else:
            networks_disks.disk_unlock(self.home, self.arguments.names)

    def network(self) -> None:
        """Do what concerns networks."""
        verb, one = self.arguments.verb, self.arguments.one
        if verb == "network create":
            mode, gateway = one("--mode", "user-v2"), one("--gateway")
            networks_disks.network_create(self.home, self.name(), gateway=gateway, mode=mode)
        elif verb == "network list":
            networks_disks.network_list(self.home, self.out)
        else:
            networks_disks.network_delete(
                self.home, self.arguments.names, force=self.flag("--force")
            )


def main(
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    stdin: TextIO,
    out: TextIO,
    err: TextIO,
    cwd: Path | None = None,
) -> int:
    """Perform one call and return its exit code; raises Killed or Hung for those faults."""
    profile = PROFILES[environ.get("FAKE_LIMA_PROFILE") or "2.0.3"]
    output = LimactlLog(err)
    root = Path(environ.get("LIMA_HOME") or Path(environ["HOME"], ".lima"))
    home = Home(root, profile, output, environ, cwd=cwd or Path.cwd())
    try:
        if environ.get("FAKE_LIMA_AS_ROOT"):
            instances.root_refused(home, err)
        arguments = understand(argv)
        output.as_json = arguments.one("--log-format") == "json"
        if home.fault(Fault.SLOW, arguments.names[0] if arguments.names else ""):
            wait(lambda: False, home.seconds("FAKE_LIMA_SLOW_SECONDS", 0.2))
        if "--version" in arguments.flags:
            out.write(f"limactl version {profile.version}\n")
            return 0
        Program(home, arguments, stdin=stdin, out=out).perform()
    except Fatal as error:
        output.fatal(str(error))
        return 1
    except Ended as ended:
        return ended.code
    finally:
        out.flush()
    return 0


def run() -> int:
    """Be the program."""
    argv = sys.argv[1:]
    try:
        return main(argv, os.environ, stdin=sys.stdin, out=sys.stdout, err=sys.stderr)
    except Killed:
        os.kill(os.getpid(), signal.SIGKILL)
        return 1
    except Hung:
        while True:
            signal.pause()
