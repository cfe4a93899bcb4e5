"""limactl, one method for each verb: argv in, types out, no policy.

Every call has a hard time limit after which its process group is ended, and a private working
directory, because a rejected edit leaves ``lima.REJECTED.yaml`` there. The caller holds whatever
lock keeps mutating calls apart.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import yaml

from ohmykube.errors import PrerequisiteError
from ohmykube.kit import plain_yaml, process
from ohmykube.providers.lima.limactl_errors import LimactlError, Reason, failure
from ohmykube.providers.lima.limactl_output import (
    Disk,
    Info,
    Instance,
    LogEntry,
    Malformed,
    Network,
    Status,
    lines,
    log_entries,
)
from ohmykube.providers.lima.version_workarounds import Quirk, Version

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")

QUICK_SECONDS = 60.0
"""Calls that only read or write small files take 0.15 s; a hung host agent adds 3 s each."""
CREATE_SECONDS = 1800.0
"""Downloads and converts the image."""
COPY_SECONDS = 600.0
STOP_SECONDS = 240.0
"""limactl itself gives a guest that ignores the power button 190 s."""
START_MARGIN_SECONDS = 60.0
"""``start --timeout`` bounds the wait for the guest only, and not the wait for the network."""
_FORGET = ("LIMA_INSTANCE", "LIMA_SHELL", "LIMA_WORKDIR")


class Runner(Protocol):
    """Runs a program to its end; the signature is that of ``kit.process.run``."""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        check: bool = True,
    ) -> process.Result:
        """Run it."""
        ...


class Limactl:
    """One limactl over one LIMA_HOME.

    Args:
        home: LIMA_HOME; made by limactl itself when absent.
        program: name on PATH, or path.
        environ: variables on top of ours, such as those that force emulation.
        start_margin: seconds that ``start`` may take beyond its time limit.
        run: for tests.

    All methods raise ``PrerequisiteError`` (OMK-P-402 not installed, OMK-P-401 root),
    ``ResourceError`` (OMK-P-413 no space) or ``LimactlError`` with its reason.
    """

    def __init__(
        self,
        home: Path,
        *,
        program: str = "limactl",
        environ: Mapping[str, str] | None = None,
        start_margin: float = START_MARGIN_SECONDS,
        run: Runner = process.run,
    ) -> None:
        self.home = home
        self.program = program
        self._run = run
        self._margin = start_margin
        self._extra = dict(environ or {})
        self._version: Version | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of a limactl that works on this home."""
        ours = {name: value for name, value in os.environ.items() if name not in _FORGET}
        return {**ours, **self._extra, "LIMA_HOME": str(self.home)}

    def version(self) -> Version:
        """Return the version of the program; asked once."""
        if self._version is None:
            result = self._call("tell its version", ["--version"])
            words = result.stdout.split()
            if words[:2] != ["limactl", "version"] or len(words) != 3:
                raise _unreadable("tell its version", result.stdout[:200])
            self._version = Version.parse(words[2])
        return self._version

    def info(self) -> Info:
        """Return what limactl says of itself; it refuses where its own templates are missing."""
        doing = "tell about itself"
        return _one(doing, self._json(doing, ["info"]), Info.parse)

    # --- instances

    def list(self, *names: str) -> tuple[Instance, ...]:
        """Return all instances, or those of ``names`` that are there, sorted by name.

        A directory without lima.yaml is not listed, whether limactl trips over it (quirk
        HALF_MADE_BREAKS_LIST) or calls it broken: see ``half_made``. An instance whose lima.yaml
        cannot be read is listed with status UNKNOWN and an empty ``config``.
        """
        doing = "list the instances"
        argv = ["list", "--json", *names]
        result = self._call(doing, argv, check=False)
        if result.code != 0 and not (names and "unmatched instances" in result.stderr):
            error = failure(doing, result, timed_out=False)
            if names or not self._trips_over_directory(error):
                raise error
            # Asked by name it only looks at those.
            there = self._directories(whole=True)
            return self.list(*there) if there else ()
        found = [_one(doing, raw, Instance.parse) for raw in _lines(doing, result.stdout)]
        whole = [one for one in found if one.config or one.status is not Status.BROKEN]
        return tuple(sorted(whole, key=lambda instance: instance.name))

    def _trips_over_directory(self, error: Exception) -> bool:
        reason = error.reason if isinstance(error, LimactlError) else None
        known = reason in (Reason.HALF_MADE, Reason.ABSENT)
        return known and Quirk.HALF_MADE_BREAKS_LIST.of(self.version())

    def half_made(self) -> tuple[str, ...]:
        """Return the names of directories of instances without lima.yaml."""
        return self._directories(whole=False)

    def _directories(self, *, whole: bool) -> tuple[str, ...]:
        if not self.home.is_dir():
            return ()
        found = [path for path in self.home.iterdir() if path.is_dir() and path.name[0] not in "._"]
        return tuple(sorted(p.name for p in found if (p / "lima.yaml").exists() == whole))

    def create(
        self, name: str, template: str, *, timeout: float = CREATE_SECONDS
    ) -> tuple[LogEntry, ...]:
        """Make an instance from the text of a template, with its disk, and do not start it.

        Before 2.2 a failed one leaves its directory (quirk FAILED_CREATE_LEAVES_DIRECTORY).
        """
        argv = ["create", f"--name={name}", "-"]
        return self._told(f"create {name}", argv, timeout=timeout, input=template)

    def start(self, name: str, *, timeout: float) -> tuple[LogEntry, ...]:
        """Start an instance and wait until the guest is up; no more than ``timeout`` seconds.

        Returns at once on one that runs, ready or not. Reason NOT_READY leaves it running. An
        absent one is refused here, for limactl would make a default one.
        """
        if not (self.home / name / "lima.yaml").is_file():
            raise LimactlError(
                f"there is no instance {name} to start",
                reason=Reason.ABSENT,
                why=f"{self.home / name / 'lima.yaml'} does not exist",
            )
        argv = ["start", f"--timeout={max(int(timeout), 1)}s", name]
        return self._told(f"start {name}", argv, timeout=timeout + self._margin)

    def stop(
        self, name: str, *, force: bool = False, timeout: float = STOP_SECONDS
    ) -> tuple[LogEntry, ...]:
        """Stop an instance by its power button, or end its processes with ``force``."""
        argv = ["stop", *(["--force"] if force else []), name]
        return self._told(f"stop {name}", argv, timeout=timeout)

    def delete(self, *names: str, force: bool = False) -> tuple[LogEntry, ...]:
        """Remove instances; absent ones are no error, ``force`` ends running ones first.

        Where a half-made directory is in the way (quirk HALF_MADE_BREAKS_LIST) this and ``stop``
        do their work and then fail: look again.
        """
        argv = ["delete", *(["--force"] if force else []), *names]
        return self._told(f"delete {', '.join(names)}", argv, timeout=STOP_SECONDS)

    def clone(self, name: str, new: str, *expressions: str) -> tuple[LogEntry, ...]:
        """Copy a stopped instance; ``expressions`` (yq) change the copy's template.

        When those are refused the copy is there all the same, with the template of ``name``.
        """
        argv = ["clone", name, new, *_sets(expressions)]
        return self._told(f"clone {name} as {new}", argv, timeout=COPY_SECONDS)

    def edit(self, name: str, *expressions: str) -> tuple[LogEntry, ...]:
        """Change the template of a stopped instance by yq expressions.

        A field that limactl does not know is only a warning among the entries returned.
        """
        return self._told(f"edit {name}", ["edit", name, *_sets(expressions)])

    def protect(self, name: str) -> tuple[LogEntry, ...]:
        """Guard an instance against deletion, also by force."""
        return self._told(f"protect {name}", ["protect", name])

    def unprotect(self, name: str) -> tuple[LogEntry, ...]:
        """Take the guard away."""
        return self._told(f"unprotect {name}", ["unprotect", name])

    def validate(self, template: Path) -> tuple[LogEntry, ...]:
        """Check a template file; unknown fields are only warnings among the entries returned."""
        return self._told(f"validate {template.name}", ["validate", str(template)])

    def shell_argv(self, name: str, *command: str) -> Sequence[str]:
        """Return what runs a command in an instance, or a login shell; see ``environment``.

        Codes are those of the command, 255 when ssh failed. Up to 2.0 a stopped instance gives 0
        and does nothing (quirk SHELL_ON_STOPPED_SUCCEEDS).
        """
        return [self.program, "--tty=false", "shell", "--workdir", "/", name, *command]

    # --- disks

    def disk_create(self, name: str, size: int, *, kind: str = "qcow2") -> tuple[LogEntry, ...]:
        """Make an additional disk of ``size`` bytes; ``kind`` is qcow2 or raw.

        With qemu-img the file is qcow2 whatever it is asked for (quirk DISK_FORMAT_IGNORED); the
        guest sees a raw disk in any case.
        """
        argv = ["disk", "create", name, "--size", str(size), "--format", kind]
        return self._told(f"create the disk {name}", argv, timeout=COPY_SECONDS)

    def disk_list(self) -> tuple[Disk, ...]:
        """Return the additional disks."""
        doing = "list the disks"
        raws = _lines(doing, self._call(doing, ["disk", "list", "--json"]).stdout)
        return tuple(_one(doing, raw, Disk.parse) for raw in raws)

    def disk_delete(self, name: str, *, force: bool = False) -> tuple[LogEntry, ...]:
        """Remove an additional disk; an absent one is no error.

        One that an instance's template names is refused (reason IN_USE) without ``force``.
        """
        argv = ["disk", "delete", *(["--force"] if force else []), name]
        return self._done(f"delete the disk {name}", argv, "Skipping deleting")

    def disk_resize(self, name: str, size: int) -> tuple[LogEntry, ...]:
        """Let an unused disk grow to ``size`` bytes."""
        argv = ["disk", "resize", name, "--size", str(size)]
        return self._told(f"resize the disk {name}", argv, timeout=COPY_SECONDS)

    def disk_unlock(self, name: str) -> tuple[LogEntry, ...]:
        """Free a disk whose instance was killed; refused while that one runs."""
        return self._done(f"unlock the disk {name}", ["disk", "unlock", name], "Cannot unlock")

    # --- networks

    def network_list(self) -> tuple[Network, ...]:
        """Return the networks, sorted by name.

        Before 2.2 limactl does not name them: then they come from its own file, which it writes
        when it is asked the first time.
        """
        doing = "list the networks"
        result = self._call(doing, ["network", "list", "--json"])
        if Quirk.NETWORKS_LISTED_WITHOUT_NAME.of(self.version()):
            found = [_one(doing, raw, Network.parse) for raw in self._networks_file(doing)]
        else:
            found = [_one(doing, raw, Network.parse) for raw in _lines(doing, result.stdout)]
        return tuple(sorted(found, key=lambda network: network.name))

    def _networks_file(self, doing: str) -> Sequence[Mapping[str, Any]]:
        path = self.home / "_config" / "networks.yaml"
        try:
            networks = plain_yaml.load(path.read_text())["networks"]
            return [{**raw, "name": str(name)} for name, raw in networks.items()]
        except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
            raise _unreadable(doing, f"{path}: {error}") from error

    def network_create(
        self, name: str, gateway: str, *, mode: str = "user-v2"
    ) -> tuple[LogEntry, ...]:
        """Make a network; ``gateway`` with its prefix, such as ``192.168.231.1/24``.

        limactl rewrites its file without a lock: two at once lose one of the networks.
        """
        argv = ["network", "create", name, "--mode", mode, "--gateway", gateway]
        return self._told(f"create the network {name}", argv)

    def network_delete(self, name: str) -> tuple[LogEntry, ...]:
        """Remove a network, used or not; an absent one is no error."""
        return self._told(f"delete the network {name}", ["network", "delete", "--force", name])

    # --- how it is run

    def _told(
        self, doing: str, argv: Sequence[str], *, timeout: float = QUICK_SECONDS, input: str = ""
    ) -> tuple[LogEntry, ...]:
        return log_entries(self._call(doing, argv, timeout=timeout, input=input).stderr)

    def _done(self, doing: str, argv: Sequence[str], skipped: str) -> tuple[LogEntry, ...]:
        """Run what ends with code 0 and a warning although it did nothing."""
        entries = self._told(doing, argv)
        for entry in entries:
            if entry.message.startswith(skipped):
                raise LimactlError(
                    f"limactl could not {doing}", reason=Reason.IN_USE, code=0, why=entry.message
                )
        return entries

    def _json(self, doing: str, argv: Sequence[str]) -> Mapping[str, Any]:
        text = self._call(doing, argv).stdout
        try:
            raw = plain_yaml.load(text)  # JSON over several lines is YAML too
        except yaml.YAMLError as error:
            raise _unreadable(doing, str(error)) from error
        if not isinstance(raw, dict):
            raise _unreadable(doing, text[:200])
        return raw

    def _call(
        self,
        doing: str,
        argv: Sequence[str],
        *,
        timeout: float = QUICK_SECONDS,
        input: str = "",
        check: bool = True,
    ) -> process.Result:
        # Wrong options are reported before the format of the log is set, so those come first.
        full = [self.program, "--tty=false", "--log-format=json", *argv]
        with tempfile.TemporaryDirectory(prefix="omk-lima-") as directory:
            try:
                result = self._run(
                    full,
                    timeout=timeout,
                    input=input or None,
                    env=self.environment,
                    cwd=Path(directory),
                    check=False,
                )
            except process.CommandFailed as error:
                raise failure(doing, error.result, timed_out=error.timed_out) from error
            except PrerequisiteError as error:
                raise PrerequisiteError(
                    "limactl cannot be run",
                    why=error.why,
                    hint="install Lima 2.0 or newer: https://lima-vm.io/docs/installation/",
                    id="OMK-P-402",
                ) from error
        if check and result.code != 0:
            raise failure(doing, result, timed_out=False)
        return result


def _sets(expressions: Sequence[str]) -> Sequence[str]:
    return [word for expression in expressions for word in ("--set", expression)]


def _unreadable(doing: str, why: str) -> LimactlError:
    return LimactlError(
        f"limactl answered something unknown when asked to {doing}",
        reason=Reason.UNREADABLE,
        code=0,
        why=why,
        id="OMK-P-414",
    )


def _lines(doing: str, text: str) -> Sequence[Mapping[str, Any]]:
    try:
        return lines(text)
    except Malformed as error:
        raise _unreadable(doing, str(error)) from error


def _one(doing: str, raw: Mapping[str, Any], parse: Callable[[Mapping[str, Any]], T]) -> T:
    try:
        return parse(raw)
    except Malformed as error:
        raise _unreadable(doing, str(error)) from error
