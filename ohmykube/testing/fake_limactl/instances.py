"""The verbs of the fake limactl that make, change and remove instances."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import yaml

from ohmykube.testing.fake_limactl import downloads, lima_yaml
from ohmykube.testing.fake_limactl.faults import Fault
from ohmykube.testing.fake_limactl.log import Ended, Fatal, Killed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.testing.fake_limactl.lima_home import Home, Inspected

_NOT_COPIED = (".pid", ".sock", ".tmp")


def list_(home: Home, names: Sequence[str], *, kind: str, out: TextIO) -> None:
    """`list`: all instances or those of ``names``; ``kind`` is json, names or table."""
    missing = home.half_made()
    if missing:
        home.output.warning(
            f"The directory {home.profile.quote(home.root)} does not look like a valid Lima "
            f"directory: stat {missing[0]}: no such file or directory"
        )
    there = home.names()
    if not names and not there:
        home.output.warning("No instance found. Run `limactl create` to create an instance.")
        return
    absent = [name for name in names if name not in there]
    for name in absent:
        home.output.warning(f"No instance matching {name} found.")
    chosen = [name for name in names if name in there] if names else there
    if kind == "names":
        out.writelines(f"{name}\n" for name in chosen)
    else:
        _print(home, chosen, kind, out)
    if absent:
        raise Fatal("unmatched instances")


def _print(home: Home, names: Sequence[str], kind: str, out: TextIO) -> None:
    entries = []
    for name in names:
        found = home.inspect(name)
        if found is not None:
            if found.errors:
                home.output.warning(f"instance {home.profile.quote(name)} has errors")
            entries.append(home.listed(found))
        elif home.profile.half_made_breaks:
            path = home.directory(name) / "lima.yaml"
            raise Fatal(f"unable to load instance {name}: open {path}: no such file or directory")
        else:
            entries.append(_broken(home, name))
    if kind == "json":
        out.writelines(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries)
    else:
        out.write("NAME    STATUS    SSH    CPUS    MEMORY    DISK    DIR\n")
        for entry in entries:
            port = entry.get("sshLocalPort", 0)
            out.write(f"{entry['name']}    {entry['status']}    127.0.0.1:{port}\n")


def _broken(home: Home, name: str) -> dict[str, object]:
    home.output.warning(f"instance {home.profile.quote(name)} has errors")
    return {
        "name": name,
        "hostname": "",
        "status": "Broken",
        "dir": str(home.directory(name)),
        "vmType": "",
        "arch": "",
        "errors": [],
        "protected": False,
        "limaVersion": "",
        "LimaHome": str(home.root),
    }


def create(home: Home, name: str, text: str, where: str) -> None:
    """`create`: the directory with its disk."""
    if not name:
        raise Fatal("must pass instance name with --name when reading template from stdin")
    home.check_name(name, f"instance name {home.profile.quote(name)} is not a valid identifier: ")
    raw = lima_yaml.read(text, where)
    quote = home.profile.quote
    directory = home.directory(name)
    if (directory / "lima.yaml").exists():
        raise Fatal(f"instance {quote(name)} already exists")
    home.output.info("Terminal is not available, proceeding without opening an editor")
    if directory.exists():
        raise Fatal(f"instance {quote(name)} already exists ({quote(directory)})")
    lima_yaml.warn_unknown(raw, where, home.output.warning)
    lima_yaml.check(raw, list(home.networks()))
    home.check_length(name)
    directory.mkdir(parents=True, mode=0o700)
    _kill_when_half_made(home, name)
    try:
        _fill(home, name, directory, raw, text)
    except Fatal:
        if not home.profile.failed_create_leaves:
            shutil.rmtree(directory)
        raise
    home.output.info(f"Run `limactl start {name}` to start the instance.")


def _kill_when_half_made(home: Home, name: str) -> None:
    if home.fault(Fault.HALF_DIR, name):
        (home.directory(name) / "cidata.iso").touch()
        raise Killed


def _fill(home: Home, name: str, directory: Path, raw: dict[str, Any], text: str) -> None:
    lima_yaml.warn_unknown(raw, f'main file "{directory / "lima.yaml"}"', home.output.warning)
    (directory / "lima.yaml").write_text(text)
    (directory / "lima-version").write_text(f"v{home.profile.version}")
    _key(home, name)
    config = lima_yaml.filled(raw, directory)
    downloads.get_images(home, name, config)
    names = ["basedisk", "diffdisk"] if home.profile.linked_clones else ["disk"]
    for one in names:
        (directory / one).write_text(f"{config['disk']} of {directory}\n")
    (directory / "cloud-config.yaml").write_text(f"#cloud-config\nhostname: lima-{name}\n")


def _key(home: Home, name: str) -> None:
    private = home.root / "_config" / "user"
    if home.fault(Fault.KEYGEN_RACE, name):
        raise Fatal(
            f"failed to run [ssh-keygen -t ed25519 -q -N  -C lima -f {private}]: "
            f'"{private} already exists.\\nOverwrite (y/n)? ": exit status 1'
        )
    if not private.exists():
        private.parent.mkdir(parents=True, exist_ok=True)
        private.touch(mode=0o600)
        (private.parent / "user.pub").write_text("ssh-ed25519 AAAA lima\n")


def delete(home: Home, names: Sequence[str], *, force: bool) -> list[str]:
    """`delete`: remove the directories; return what is to be said at the very end."""
    late = []
    for name in names:
        found = home.inspect(name)
        quote = home.profile.quote
        if found is None:
            directory = home.directory(name)
            if directory.exists() and not home.profile.half_made_breaks:
                late.append(
                    f"instance {quote(name)} directory {quote(directory)} exists but its "
                    f"{quote('lima.yaml')} could not be read; it was NOT deleted"
                )
            else:
                home.output.warning(f"Ignoring non-existent instance {quote(name)}")
            continue
        what = f"failed to delete instance {quote(name)}: "
        if (found.directory / "protected").exists():
            raise Fatal(
                f"{what}instance is protected to prohibit accidental removal "
                "(Hint: use `limactl unprotect`)"
            )
        if found.status != "Stopped" and not force:
            raise Fatal(f"{what}expected status {quote('Stopped')}, got {quote(found.status)}")
        end(home, found)
        if home.fault(Fault.DELETE_HALF, name):
            (found.directory / "lima.yaml").unlink()
            raise Killed
        _free_disks(home, found)
        shutil.rmtree(found.directory)
        home.output.info(f"Deleted {quote(name)} ({quote(found.directory)})")
    return late


def _free_disks(home: Home, found: Inspected) -> None:
    for link in (home.root / "_disks").glob("*/in_use_by"):
        if link.readlink() == found.directory:
            link.unlink()


def end(home: Home, found: Inspected) -> None:
    """Kill the processes of an instance and remove what they left, as `stop -f` does."""
    for pid, what in ((found.driver, "qemu driver"), (found.host_agent, "host agent")):
        if pid:
            home.output.info(f"Sending SIGKILL to the {what} process {pid}")
            os.kill(pid, signal.SIGKILL)
        else:
            home.output.info(f"The {what} process seems already stopped")
    home.output.info(f"Removing *.pid *.sock *.tmp under {home.profile.quote(found.directory)}")
    for path in found.directory.iterdir():
        if path.suffix in _NOT_COPIED:
            home.output.info(f"Removing {home.profile.quote(path)}")
            path.unlink()


def clone(home: Home, name: str, new: str, expressions: Sequence[str]) -> None:
    """`clone`: copy the files of an instance that does not run."""
    quote = home.profile.quote
    found = home.inspect(name)
    if found is None:
        raise Fatal(f"instance {quote(name)} not found")
    if found.status == "Running":
        raise Fatal("cannot clone a running instance")
    home.check_name(new, "")
    directory = home.directory(new)
    if directory.exists():
        raise Fatal(f"instance {quote(new)} already exists")
    home.check_length(new)
    directory.mkdir(mode=0o700)
    _kill_when_half_made(home, new)
    if home.fault(Fault.NO_SPACE, new):
        raise Fatal(f"write {directory / 'diffdisk'}: no space left on device")
    for path in found.directory.iterdir():
        if path.suffix not in _NOT_COPIED and path.name != "protected":
            shutil.copy2(path, directory / path.name)
    if home.profile.linked_clones and (found.directory / "basedisk").exists():
        backing = found.directory / "basedisk"
        link = found.directory / "backing"
        (directory / "backing").write_text(link.read_text() if link.exists() else f"{backing}\n")
    if expressions:
        # A refused change leaves the copy as it is: it is there then, with the old template.
        _rewrite(home, directory, expressions)


def edit(home: Home, name: str, expressions: Sequence[str]) -> None:
    """`edit`: change the template of an instance that does not run."""
    quote = home.profile.quote
    found = home.inspect(name)
    if found is None:
        raise Fatal(f"instance {quote(name)} not found")
    if found.status == "Running":
        raise Fatal("cannot edit a running instance")
    _rewrite(home, found.directory, expressions)
    home.output.info(f"Instance {quote(name)} configuration edited")


def _rewrite(home: Home, directory: Path, expressions: Sequence[str]) -> None:
    path = directory / "lima.yaml"
    where = f'main file "{path}"'
    old = lima_yaml.read(path.read_text(), where)
    new = lima_yaml.changed(old, expressions)
    text = yaml.safe_dump(new, sort_keys=False)
    lima_yaml.warn_unknown(new, where, home.output.warning)
    lima_yaml.read(text, where)
    try:
        lima_yaml.check(new, list(home.networks()))
        lima_yaml.refuse_shrinking(old, new)
    except Fatal as error:
        (home.cwd / "lima.REJECTED.yaml").write_text(text)
        quote = home.profile.quote
        raise Fatal(
            f"the YAML is invalid, saved the buffer as {quote('lima.REJECTED.yaml')}: {error}"
        ) from error
    path.write_text(text)


def protect(home: Home, name: str, *, on: bool) -> None:
    """`protect` and `unprotect`."""
    quote = home.profile.quote
    found = home.inspect(name)
    if found is None:
        path = home.directory(name) / "lima.yaml"
        raise Fatal(
            f"failed to inspect instance {quote(name)}: open {path}: no such file or directory"
        )
    mark = found.directory / "protected"
    if on:
        mark.touch()
    else:
        mark.unlink(missing_ok=True)
    home.output.info(f"{'Protected' if on else 'Unprotected'} {quote(name)}")


def validate(home: Home, file: str) -> None:
    """`validate`: check a template file."""
    try:
        text = Path(file).read_text()
    except FileNotFoundError as error:
        raise Fatal(f"open {file}: no such file or directory") from error
    quoted = home.profile.quote(file)
    try:
        raw = lima_yaml.read(text, file)
        lima_yaml.check(raw, list(home.networks()))
    except Fatal as error:
        raise Fatal(f"failed to validate YAML file {quoted}: {error}") from error
    lima_yaml.warn_unknown(raw, file, home.output.warning)
    home.output.info(f"{quoted}: OK")


def root_refused(home: Home, err: TextIO) -> None:
    """End as the real one does for root."""
    if home.profile.root_panics:
        err.write("panic: must not run as the root user\n\ngoroutine 1 [running]:\nmain.main()\n")
        raise Ended(2)
    err.write("limactl: must not run as the root user\n")
    raise Ended(1)
