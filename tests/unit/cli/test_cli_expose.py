"""``ohmykube expose``: what is typed, and where things are."""

from __future__ import annotations

import pytest

from ohmykube.cli.cluster import texts as of_clusters
from ohmykube.cli.expose import texts
from ohmykube.model.exposure import Exposed, ExposedPort, PublishedPort
from ohmykube.workflows.expose import ExposeOptions
from ohmykube.workflows.power import PowerResult

LISTED = """\
SERVICE      PORT       PLACE            NAME                              NOTE
web.default  80/tcp     127.0.0.1:28443  web.default.dev.localhost:28443   port 80 is taken
dns.infra    30053/udp  127.0.0.1:30053  dns.infra.dev.localhost:30053    -
node         443/tcp    nowhere          -                                 port 443 is taken
"""


def squeezed(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_list_shows_places_names_and_why(cli) -> None:
    assert squeezed(cli("expose", "list").out) == squeezed(LISTED)
    outcome = cli("expose", "list", "nothing")
    assert outcome.out == (
        'Nothing of cluster "nothing" is reachable from this host\n\nit is stopped\n'
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("web",), ExposeOptions(service="web")),
        (("service", "list"), ExposeOptions(service="list")),
        (("-n", "shop", "db"), ExposeOptions(service="db", namespace="shop")),
        (("db", "--port", "5432"), ExposeOptions(service="db", port="5432")),
        (("db", "--port", "http"), ExposeOptions(service="db", port="http")),
        (
            ("db", "--port", "15432:5432", "--address", "0.0.0.0"),
            ExposeOptions(service="db", port="5432", host_port=15432, address="0.0.0.0"),
        ),
        (("web", "--remove"), ExposeOptions(service="web", remove=True)),
    ],
)
def test_a_service_is_asked_for(
    cli, fakes, words: tuple[str, ...], expected: ExposeOptions
) -> None:
    """The word `service` may be left out, but for one that is called as a command."""
    outcome = cli("expose", *words)
    assert outcome.code == 0, outcome.err
    assert fakes.calls[-1] == ("expose", "dev", expected)
    assert ("not exposed any more" in outcome.out) is expected.remove
    assert ("web.default.dev.localhost:28443" in outcome.out) is not expected.remove


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--port", "0:80"), "OMK-U-521"),
        (("--port", "65536:80"), "OMK-U-521"),
        (("--port", "a:80"), "OMK-U-521"),
        (("--port", "80:"), "OMK-U-521"),
        (("--port", "\u0661:80"), "OMK-U-521"),
        (("--address", "localhost"), "OMK-U-522"),
        (("--address", "::1"), "OMK-U-522"),
        (("--address", "127.1"), "OMK-U-522"),
    ],
)
def test_a_mistake_is_named(cli, words: tuple[str, ...], error: str) -> None:
    outcome = cli("expose", "web", *words)
    assert outcome.code == 2
    assert error in outcome.err


def test_only_the_loopback_has_names() -> None:
    """All names below localhost are 127.0.0.1, and no other address."""
    for place, name in (
        ("127.0.0.1:80", "a.b.dev.localhost:80"),
        ("0.0.0.0:80", "0.0.0.0:80"),
        ("127.0.110.200:80", "127.0.110.200:80"),
    ):
        port = PublishedPort(name="a.b", target=ExposedPort("", 80), place=place)
        assert texts.name_of("dev", port) == name


def test_the_end_of_another_command_names_some() -> None:
    every = tuple(
        PublishedPort(name=f"s{n}.b", target=ExposedPort("", n), place=f"127.0.0.1:{n}")
        for n in range(1, 13)
    )
    lines = texts.places("dev", Exposed(ports=every))
    assert sum("localhost" in line for line in lines) == texts.MOST_AT_THE_END
    assert lines[-1] == "  and 2 more: ohmykube expose list dev"
    nowhere = PublishedPort(name="a", target=ExposedPort("", 1), refused_port=80, reason="is taken")
    assert texts.places("dev", Exposed(ports=(nowhere,))) == []


def test_a_started_cluster_and_one_that_is_up_say_where_services_are() -> None:
    """A stopped one has none."""

    port = PublishedPort(name="a.b", target=ExposedPort("", 80), place="127.0.0.1:80")
    result = PowerResult(cluster="dev", nodes=("cp1",), exposed=Exposed(ports=(port,)))
    assert "  a.b.dev.localhost:80  a.b port 80/tcp\n" in of_clusters.power(result, "start")
    stopped = PowerResult(cluster="dev", nodes=("cp1",))
    assert of_clusters.power(stopped, "stop") == 'Cluster "dev" is stopped (1 node)\n'
