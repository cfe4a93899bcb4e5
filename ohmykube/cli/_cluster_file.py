"""From ``-f`` and flags to a checked cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ohmykube.config import load as loader
from ohmykube.config.overrides import Overrides
from ohmykube.errors import ConfigError

if TYPE_CHECKING:
    from ohmykube.cli._app import App
    from ohmykube.config.load import Inspected, Loaded
    from ohmykube.model.cluster import Cluster
    from ohmykube.state.record import Record

STDIN = Path("-")
LARGEST_BYTES = 16 << 20
"""Far above what ``config`` accepts, so that it is ``config`` that refuses."""


def overrides(chosen: dict[str, Any], default_name: str | None = None) -> Overrides:
    """Return the flags of ``up`` as overrides of the file's values."""
    return Overrides(
        name=chosen["name"] or default_name,
        kubernetes_version=chosen["kubernetes"],
        provider=chosen["provider"],
        control_planes=chosen["control_planes"],
        workers=chosen["workers"],
        cpus=chosen["cpus"],
        memory=chosen["memory"],
        cni=chosen["cni"],
        proxy_mode=chosen["proxy_mode"],
        mirror=chosen["mirror"],
        template=chosen["template"],
    )


def load(app: App, file: Path | None, wanted: Overrides | None = None) -> Cluster:
    """Return the cluster described by a file (``-``: stdin) and flags, or by flags alone.

    Without a file, a cluster that exists is taken as it was described last: flags change it.
    What a description leaves to be desired is said on stderr.

    Raises:
        ConfigError: all problems at once.
        IntegrityError: the record of the cluster is damaged.
    """
    wanted = wanted or Overrides()
    if file is None:
        record = app.services.state.read(wanted.name) if wanted.name else None
        if record is None:
            return loader.from_overrides(wanted)
        found = _recorded(app, record, wanted)
    elif file == STDIN:
        found = loader.load_text(_standard_input(app), "stdin", wanted)
    else:
        found = loader.load(file, wanted)
    return _told(app, found)


def existing(app: App, name: str, wanted: Overrides) -> Cluster:
    """Return a cluster that exists as it was described last, with the values of flags.

    Raises:
        NotFoundError: it does not exist.
        ConfigError, IntegrityError: as ``load``.
    """
    from ohmykube.workflows import names

    record = app.services.state.read(name)
    if record is None:
        raise names.unknown(app.services, name)
    return _told(app, _recorded(app, record, wanted))


def _recorded(app: App, record: Record, wanted: Overrides) -> Loaded:
    document = _whole(app, record)
    return loader.load_document(document, wanted, label=f'cluster "{record.name}"')


def _told(app: App, found: Loaded) -> Cluster:
    for warning in found.warnings:
        app.note(f"warning: {warning}")
    return found.cluster


def inspect(app: App, file: Path) -> Inspected:
    """Return a cluster file (``-``: stdin) with all that is wrong with it.

    Raises:
        ConfigError: it cannot be read, or is not YAML.
        PermissionDenied: it may not be read.
    """
    if file == STDIN:
        return loader.inspect(None, _standard_input(app), "stdin")
    return loader.inspect(file)


def mapping(app: App, file: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file (``-``: stdin), such as the values of an add-on.

    Raises:
        ConfigError: it cannot be read, or holds something else.
        PermissionDenied: it may not be read.
    """
    from ohmykube.config import problems, yaml_source

    if file == STDIN:
        found = yaml_source.parse(_standard_input(app), "stdin")
    else:
        found = yaml_source.read(file)
    if found.problems:
        raise problems.error(found.label, found.problems)
    return found.data


def _standard_input(app: App) -> bytes:
    with app.signals.asking():
        return sys.stdin.buffer.read(LARGEST_BYTES) if sys.stdin else b""


def _whole(app: App, record: Record) -> dict[str, Any]:
    """Return how a cluster was described last, with the texts of its files."""
    from ohmykube.config import node_files
    from ohmykube.state import file_contents

    contents = file_contents.read(app.services.state.directory(record.name))
    document, missing = node_files.with_contents(record.document, contents)
    if missing:
        raise ConfigError(
            f'the texts of files of cluster "{record.name}" are not known here',
            why="\n".join(missing),
            hint="ohmykube up -f cluster.yaml",
            id="OMK-C-490",
        )
    return document
