"""What every provider whose network the host has no route to must do, as tests.

Used as ``conformance`` says.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest

from ohmykube.model.exposure import ExposedPort
from ohmykube.providers.base import HostExposure, Provider
from ohmykube.testing.subject import Subject, delete_all, spec_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOOPBACK = ip_network("127.0.0.0/8")


class ExposureConformance:
    """Every MUST of ``providers.base.HostExposure``; give the same subject."""

    @pytest.fixture
    def subject(self) -> Subject:
        """Give the subject; remove what is left afterwards. Its clusters are its own."""
        raise NotImplementedError

    @pytest.fixture
    def exposing(self, subject: Subject) -> HostExposure:
        """Give the provider, with a machine of the subject's cluster."""
        provider = subject.open(subject.cluster)
        provider.prepare()
        provider.create(spec_of(subject.cluster, subject.nodes[0]))
        assert isinstance(provider, HostExposure)
        return provider

    @pytest.fixture
    def provider(self, exposing: HostExposure) -> Provider:
        """Give the same one as a provider."""
        assert isinstance(exposing, Provider)
        return exposing

    @pytest.fixture
    def port(self, subject: Subject, provider: Provider) -> ExposedPort:
        """Give a port of the machine that answers."""
        (machine,) = provider.list(subject.cluster)
        return ExposedPort(machine.address, subject.port)

    @staticmethod
    def reached(subject: Subject, places: Mapping[ExposedPort, str]) -> bool:
        """Tell whether all that is over TCP answers, as far as the subject can see it."""
        look = subject.reached
        if look is None:
            return bool(places)
        return all(look(place, port) for port, place in places.items() if port.protocol == "tcp")

    def test_each_port_has_a_place_of_its_own(
        self, subject: Subject, exposing: HostExposure, port: ExposedPort
    ) -> None:
        """On this host's loopback, and it answers; TCP and UDP may share a number."""
        wanted = [port, replace(port, port=8080), replace(port, port=5353, protocol="udp")]
        places = exposing.publish(subject.cluster, wanted)
        assert places.keys() == set(wanted)
        assert all(ip_address(p.rpartition(":")[0]) in _LOOPBACK for p in places.values())
        assert len({(one.protocol, place) for one, place in places.items()}) == len(wanted)
        assert self.reached(subject, {port: places[port]})

    def test_the_same_have_the_same_places(
        self, subject: Subject, exposing: HostExposure, port: ExposedPort
    ) -> None:
        """Asked again, by another process, in another order."""
        wanted = [port, replace(port, port=8080)]
        places = exposing.publish(subject.cluster, wanted)
        again = subject.open(subject.cluster)
        assert isinstance(again, HostExposure)
        assert again.publish(subject.cluster, wanted[::-1]) == places

    def test_what_is_not_wanted_any_more_is_withdrawn(
        self, subject: Subject, exposing: HostExposure, port: ExposedPort
    ) -> None:
        """And is back at its place when it is wanted again."""
        both = exposing.publish(subject.cluster, [port, replace(port, port=8080)])
        other = exposing.publish(subject.cluster, [replace(port, port=8080)])
        assert other == {one: place for one, place in both.items() if one != port}
        if subject.reached is not None:
            assert not subject.reached(both[port], port)
        assert exposing.publish(subject.cluster, list(both)) == both
        assert self.reached(subject, {port: both[port]})
        assert exposing.publish(subject.cluster, []) == {}

    def test_a_start_brings_all_back(
        self, subject: Subject, provider: Provider, exposing: HostExposure, port: ExposedPort
    ) -> None:
        """To the same places, without being told again."""
        places = exposing.publish(subject.cluster, [port])
        provider.stop(subject.cluster, subject.nodes[0])
        if subject.reached is not None:
            assert not subject.reached(places[port], port)
        subject.open(subject.cluster).start(subject.cluster, subject.nodes[0])
        assert self.reached(subject, places)
        assert exposing.publish(subject.cluster, [port]) == places

    def test_two_clusters_that_want_the_same_port_have_different_places(
        self, subject: Subject, exposing: HostExposure, port: ExposedPort
    ) -> None:
        """Also while the first one is stopped; and one goes without the other."""
        first = exposing.publish(subject.cluster, [port])
        other = subject.open(subject.other)
        made = other.create(spec_of(subject.other, subject.nodes[0]))
        assert isinstance(other, HostExposure)
        theirs = replace(port, address=made.address)
        second = other.publish(subject.other, [theirs])
        assert set(first.values()).isdisjoint(second.values())
        assert self.reached(subject, {**second})
        other.delete(subject.other, subject.nodes[0])
        if subject.reached is not None:
            assert not subject.reached(second[theirs], theirs)
        assert exposing.publish(subject.cluster, [port]) == first
        assert self.reached(subject, first)

    def test_a_cluster_without_machines_has_no_places(self, subject: Subject) -> None:
        """Nothing is made for it either."""
        delete_all(subject)
        provider = subject.open(subject.cluster)
        assert isinstance(provider, HostExposure)
        assert provider.publish(subject.cluster, [ExposedPort("192.0.2.1", 80)]) == {}
        assert list(provider.list(subject.cluster)) == []
