"""Bare nodes for role development: machines, a cache that serves them, and an inventory.

    python -m ohmykube.testing.nodes up --name roles --control-planes 1 --workers 1 --inventory DIR
    python -m ohmykube.testing.nodes down --name roles

``up`` returns once ``DIR/hosts.yml`` can be used by ``ansible-playbook`` and Molecule; a process in
the background keeps the cache and its tunnels open until ``down``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.addons import registry
from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.errors import OhmykubeError
from ohmykube.kit import files, interrupt, paths, process, retry
from ohmykube.model.cluster import WantedAddon
from ohmykube.progress import Message, NullReporter, StepEnded
from ohmykube.steps.context import Services
from ohmykube.steps.plan import make_plan
from ohmykube.steps.preflight import preflight
from ohmykube.workflows import session
from ohmykube.workflows.down import down
from ohmykube.workflows.up import running_machines

if TYPE_CHECKING:
    from ohmykube.model.cluster import Cluster

READY = "ready"
PID = "pid"
LOG = "nodes.log"
LONGEST = retry.Wait(seconds=2700, every=0.2)
"""A first run may have to build every component."""


class LineReporter:
    """Steps and messages as lines on standard error."""

    def emit(self, event: object) -> None:
        """Show the end of a step, or a message."""
        match event:
            case StepEnded(title=title, status=status, seconds=seconds, detail=detail):
                line = f"{title}: {status} ({seconds:.1f} s) {detail}"
            case Message(text=text):
                line = text
            case _:
                return
        sys.stderr.write(line.rstrip() + "\n")
        sys.stderr.flush()


def hold(cluster: Cluster, directory: Path) -> None:
    """Bring bare nodes up, write the inventory, then serve the cache until SIGTERM."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: interrupt.request())
    services = Services(paths=paths.from_environment(), reporter=LineReporter())
    with session.working(services, cluster) as ctx, contextlib.ExitStack() as held:
        preflight(ctx)
        observed, plan = make_plan(ctx)
        made = held.enter_context(running_machines(ctx, observed, plan, None))
        shutil.copytree(made.inventory.parent, directory, dirs_exist_ok=True)
        files.write(directory / READY, str(made.nodes.ssh_config))
        # In slices: a signal just before a wait is handled after it.
        while not interrupt.requested.wait(1):
            pass


def up(cluster: Cluster, argv: list[str], directory: Path) -> None:
    """Start ``hold`` in the background and wait until the inventory is there.

    Raises:
        OhmykubeError: the nodes could not be made; the end of its log is the reason.
    """
    files.ensure_directory(directory)
    for stale in (READY, PID):
        (directory / stale).unlink(missing_ok=True)
    log = directory / LOG
    log.unlink(missing_ok=True)
    pid = process.detach([sys.executable, "-m", __spec__.name, "hold", *argv], log)
    files.write(directory / PID, str(pid))

    def probe() -> bool | None:
        if (directory / READY).exists():
            return True
        if not _alive(pid):
            raise OhmykubeError(
                f'the nodes of "{cluster.name}" could not be made',
                why=process.tail(log.read_text(errors="replace")),
                hint="ohmykube doctor --fix",
            )
        return None

    retry.until(retry.SystemClock(), LONGEST, "the nodes", probe)


def _alive(pid: int) -> bool:
    try:
        waited, _ = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return Path(f"/proc/{pid}").exists()
    return waited == 0


def stop(directory: Path) -> None:
    """End the background process of ``up``; without effect when there is none."""
    note = directory / PID
    if not note.exists():
        return
    pid = int(note.read_text())
    if _alive(pid):
        os.kill(pid, signal.SIGTERM)

        def gone() -> bool | None:
            return None if _alive(pid) else True

        retry.until(retry.SystemClock(), retry.Wait(seconds=20), "the cache to close", gone)
    note.unlink()


def bare(options: argparse.Namespace) -> Cluster:
    """Return the cluster whose nodes are wanted, without anything on them."""
    cluster = load.from_overrides(
        Overrides(
            name=options.name,
            control_planes=options.control_planes,
            workers=options.workers,
            kubernetes_version=options.kubernetes,
            provider="nspawn",
            # A template would have containerd and Kubernetes installed already.
            template="never",
        )
    )
    addons = tuple(
        WantedAddon(name=name, version=registry.version_of(registry.load(name), None))
        for name in options.addon
    )
    return replace(
        cluster,
        provider_options={"suite": options.suite} if options.suite else {},
        addons=addons,
    )


def main(argv: list[str] | None = None) -> int:
    """Run one of the verbs; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ohmykube.testing.nodes", description=__doc__)
    parser.add_argument("verb", choices=("up", "hold", "down"))
    parser.add_argument("--name", required=True)
    parser.add_argument("--control-planes", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--kubernetes")
    parser.add_argument("--suite", help="release of Debian, such as trixie")
    parser.add_argument("--addon", action="append", default=[], help="serve its artifacts too")
    parser.add_argument("--inventory", type=Path, required=True)
    options = parser.parse_args(argv)
    rest = list(sys.argv[2:] if argv is None else argv[1:])
    directory = options.inventory.absolute()
    try:
        if options.verb == "down":
            stop(directory)
            services = Services(paths=paths.from_environment(), reporter=NullReporter())
            down(services, options.name)
            return 0
        cluster = bare(options)
        if options.verb == "hold":
            hold(cluster, directory)
        else:
            up(cluster, rest, directory)
    except OhmykubeError as error:
        parts = (f"error: {error.message}", error.why, error.hint and f"try: {error.hint}")
        sys.stderr.write("\n".join(part for part in parts if part) + "\n")
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
