"""Templates of nodes that one test run leaves to the next, beside the cache that runs share.

A template's key says all that it was made from, so one of an earlier run is as good as a new one.
That building them works is proved in test_two_clusters, whose home has none.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ohmykube.kit import files, locks
from ohmykube.providers.nspawn import tree_copy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.e2e.conftest import Cli

WAIT_SECONDS = 300


def _kept(cli: Cli) -> Path:
    return cli.cache.with_name(f"{cli.cache.name}-test-templates")


def _stored(cli: Cli) -> Path:
    return cli.home / "data" / "nspawn-templates"


@contextmanager
def used(cli: Cli, failed: Callable[[], bool]) -> Iterator[None]:
    """Give a home the templates of an earlier run, and leave those that it used to the next one.

    Args:
        cli: whose home.
        failed: tells whether a test has failed. Nobody knows then what is wrong, and none stays.
    """
    with _alone(cli):
        _copy(_kept(cli), _stored(cli))
    try:
        yield
    except BaseException:
        _drop(cli)
        raise
    if failed():
        _drop(cli)
    else:
        _keep(cli)


def _keep(cli: Cli) -> None:
    cli.run("template", "prune", "--keep", "1", "--yes", "--provider", "nspawn")
    with _alone(cli):
        for path in _kept(cli).iterdir():
            if not (_stored(cli) / path.name).is_dir():
                files.remove_tree(path)
        _copy(_stored(cli), _kept(cli))


def _drop(cli: Cli) -> None:
    with _alone(cli):
        for path in _kept(cli).iterdir():
            files.remove_tree(path)


def _alone(cli: Cli) -> AbstractContextManager[int]:
    files.ensure_directory(_kept(cli))
    lock = _kept(cli).with_suffix(".lock")
    return locks.exclusive(lock, "kept templates", wait_seconds=WAIT_SECONDS)


def _copy(source: Path, target: Path) -> None:
    """Copy the templates that are not there; nobody writes into their files."""
    files.ensure_directory(target)
    for path in source.iterdir() if source.is_dir() else ():
        if not (target / path.name).exists():
            tree_copy.copy_tree(path, target / path.name, lambda _path: True)
