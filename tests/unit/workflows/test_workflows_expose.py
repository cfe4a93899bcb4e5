"""Which port of which service is meant, and what cannot be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.errors import NotFoundError, OhmykubeError, PrerequisiteError, UsageError
from ohmykube.kit import paths
from ohmykube.model.exposure import AskedService
from ohmykube.steps.context import Services
from ohmykube.testing.reporter import RecordingReporter
from ohmykube.workflows import expose, session
from ohmykube.workflows.expose import ExposeOptions
from tests.fake_api import service
from tests.unit.workflows.begun_run import begin, end

if TYPE_CHECKING:
    from collections.abc import Callable

HTTP = {"name": "http", "port": 80}
HTTPS = {"name": "https", "port": 443, "protocol": "TCP"}
DNS = {"name": "dns", "port": 53, "protocol": "UDP"}
SCTP = {"name": "odd", "port": 9, "protocol": "SCTP"}
WEB = ExposeOptions(service="web")


def wanted(options: ExposeOptions, *ports: dict[str, Any], ip: str = "10.96.0.7") -> AskedService:
    """Return what is asked for of a service with these ports."""

    def get(kind: str, name: str, *, namespace: str) -> dict[str, Any] | None:
        assert kind == "service"
        there = (name, namespace) == ("web", "default")
        return service("web", *ports, kind="ClusterIP", clusterIP=ip) if there else None

    return expose._wanted(get, options)


@pytest.mark.parametrize(
    ("port", "ports", "expected"),
    [
        ("", (HTTP,), (80, "tcp")),
        ("", (DNS,), (53, "udp")),
        ("", (HTTP, SCTP), (80, "tcp")),
        ("443", (HTTP, HTTPS), (443, "tcp")),
        ("dns", (HTTP, DNS), (53, "udp")),
    ],
)
def test_the_port_is_the_only_one_or_the_one_that_is_named(
    port: str, ports: tuple[dict[str, Any], ...], expected: tuple[int, str]
) -> None:
    found = wanted(replace(WEB, port=port, host_port=8080), *ports)
    assert (found.port, found.protocol, found.host_port) == (*expected, 8080)


@pytest.mark.parametrize(
    ("options", "ports", "ip", "kind", "error"),
    [
        (WEB, (HTTP, HTTPS), "10.96.0.7", UsageError, "OMK-U-520"),
        (WEB, (SCTP,), "10.96.0.7", NotFoundError, "OMK-K-524"),
        (replace(WEB, port="8080"), (HTTP,), "10.96.0.7", NotFoundError, "OMK-K-524"),
        (replace(WEB, service="gone"), (HTTP,), "10.96.0.7", NotFoundError, "OMK-K-521"),
        (replace(WEB, namespace="other"), (HTTP,), "10.96.0.7", NotFoundError, "OMK-K-521"),
        (WEB, (HTTP,), "None", PrerequisiteError, "OMK-K-523"),
    ],
)
def test_what_cannot_be_exposed_is_named(
    options: ExposeOptions,
    ports: tuple[dict[str, Any], ...],
    ip: str,
    kind: type[OhmykubeError],
    error: str,
) -> None:
    with pytest.raises(kind) as caught:
        wanted(options, *ports, ip=ip)
    assert caught.value.id == error


ASKED = AskedService(namespace="default", service="web", port=80, host_port=8080)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (replace(ASKED, host_port=0), True),
        (replace(ASKED, service="db", port=5432), True),  # the same port of this host
        (replace(ASKED, port=443, host_port=8443), False),
        (replace(ASKED, service="db", host_port=0), False),
        (replace(ASKED, service="db", protocol="udp"), False),
    ],
)
def test_a_later_wish_takes_the_place_of_one_it_goes_against(
    other: AskedService, same: bool
) -> None:
    assert expose._same(ASKED, other) is same
    assert expose._same(other, ASKED) is same


@pytest.mark.parametrize(
    ("options", "meant"),
    [
        (WEB, True),
        (replace(WEB, port="80"), True),
        (replace(WEB, port="81"), False),
        (replace(WEB, namespace="other"), False),
        (replace(WEB, service="db"), False),
    ],
)
def test_all_of_a_service_are_removed_or_the_port_that_is_named(
    options: ExposeOptions, meant: bool
) -> None:
    assert expose._meant(ASKED, options) is meant


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    "call",
    [
        lambda services: expose.exposed(services, "dev"),
        lambda services: expose.expose(services, "dev", WEB),
    ],
)
def test_a_provider_that_does_not_follow_services_is_named(
    call: Callable[[Services], object],
) -> None:
    services = Services(paths=paths.from_environment(), reporter=RecordingReporter())
    cluster = load.from_overrides(Overrides(name="dev", provider="fake"))
    for step in (begin, end):
        with session.working(services, cluster) as ctx:
            step(ctx)
    with pytest.raises(PrerequisiteError, match="provider fake") as caught:
        call(services)
    assert caught.value.id == "OMK-P-528"
    with pytest.raises(NotFoundError):
        expose.exposed(services, "other")
