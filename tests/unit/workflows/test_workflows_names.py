"""Names that come from the records alone."""

from __future__ import annotations

import pytest

from ohmykube.config.document import to_document
from ohmykube.config.load import from_overrides
from ohmykube.config.overrides import Overrides
from ohmykube.kit.paths import from_environment
from ohmykube.progress import NullReporter
from ohmykube.state.record import Record
from ohmykube.steps.context import Services
from ohmykube.workflows import names


@pytest.fixture
def services(tmp_path) -> Services:
    home = str(tmp_path / "home")
    return Services(paths=from_environment({"OHMYKUBE_HOME": home}), reporter=NullReporter())


def test_nothing_is_there(services) -> None:
    assert names.clusters(services) == ()
    assert names.nodes(services, "nope") == ()
    assert not services.paths.state.exists()


def test_names_come_from_the_record(services) -> None:
    cluster = from_overrides(Overrides(name="dev", workers=1, provider="nspawn"))
    services.state.create(
        Record(
            id="x",
            name="dev",
            document=to_document(cluster),
            provider="nspawn",
            kubernetes_version=cluster.kubernetes_version,
        )
    )
    assert names.clusters(services) == ("dev",)
    assert names.nodes(services, "dev") == tuple(n.name for n in cluster.nodes)
