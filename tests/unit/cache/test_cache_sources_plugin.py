"""A source of artifacts that another package brings is used like ours."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache import releases, resolve
from ohmykube.cache.sources import base
from ohmykube.cache.store import Store
from ohmykube.config import load
from ohmykube.errors import ConfigError, NetworkError
from ohmykube.kit import paths

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Recorder

MODULE = '''
"""Brings everything from the company's own place; imports what plugins may import, no more."""

from ohmykube.sdk import Component, ImageSpec, NetworkError, Source


class Company(Source):
    name = "mycorp"

    def available(self) -> None:
        pass

    def component(self, component: Component, arch: str):
        put = self.context.store.put_bytes
        return {
            name: self.context.store.path(put(f"{name} for {arch}".encode()))
            for name in component.installs
        }

    def image(self, image: ImageSpec, arch: str) -> str:
        raise NetworkError(f"{image.name} is not here")
'''
HEAD = "apiVersion: ohmykube.dev/v1\nkind: Cluster\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the package ``mycorp`` as pip would."""
    site = tmp_path / "site"
    info = site / "mycorp-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "mycorp_source.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mycorp\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ohmykube.sources]\nmycorp = mycorp_source:Company\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "mycorp_source", raising=False)
    return site


def wanted(sources: str) -> str:
    return f"{HEAD}spec:\n  artifacts:\n    sources: [{sources}]\n"


@pytest.mark.usefixtures("installed")
def test_a_cluster_file_may_name_it_and_it_is_asked(tmp_path: Path, recorder: Recorder) -> None:
    cluster = load.load_text(wanted("mycorp"), "c.yaml").cluster
    assert cluster.sources.order == ("mycorp",)
    assert "mycorp" in base.names()
    store = Store(tmp_path / "cache")
    with pytest.raises(NetworkError, match="no source has") as caught:
        resolve.resolve(
            cluster,
            releases.release(cluster.kubernetes_version),
            store,
            recorder,
            architectures=("amd64",),
        )
    assert re.search(r"^mycorp: .* is not here$", caught.value.why or "")
    context = base.SourceContext(
        store=store,
        sources=cluster.sources,
        reporter=recorder,
        paths=paths.from_environment({"OHMYKUBE_HOME": str(tmp_path)}),
    )
    runc = next(c for c in releases.release("1.36.3").components if c.name == "runc")
    found = base.load("mycorp", context).component(runc, "arm64")
    assert {path.read_text() for path in found.values()} == {"runc for arm64"}


def test_one_that_is_not_installed_is_refused_with_what_is_there() -> None:
    with pytest.raises(ConfigError) as caught:
        load.load_text(wanted("mycorp, upstream"), "c.yaml")
    assert caught.value.problems == (
        'spec.artifacts.sources[0], line 5: must be "mirror", "upstream" or "build", got "mycorp"',
    )


@pytest.mark.usefixtures("installed")
def test_a_name_with_a_slip_is_told_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        load.load_text(wanted("mycrop"), "c.yaml")
    (problem,) = caught.value.problems
    assert problem.endswith('got "mycrop"; did you mean "mycorp"?')
