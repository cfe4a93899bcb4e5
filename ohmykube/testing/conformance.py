"""What every provider must do, as tests: subclass ``ProviderConformance`` and give a subject.

class TestMine(ProviderConformance):
    @pytest.fixture
    def subject(self, tmp_path) -> Iterator[Subject]:
        yield Subject(open=..., cluster="dev", other="dev-2", nodes=("a", "b"))

A test that needs a subject without machines deletes those that are there. So where machines are
slow to make, ``@pytest.fixture(scope="class")`` above ``@classmethod`` lets all tests of the class
share the subject; most of them then go on with the machine that the one before has left.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache.catalog import ARCHITECTURES
from ohmykube.errors import OhmykubeError
from ohmykube.model.cluster import Mount
from ohmykube.model.machine import MachineState, Resize
from ohmykube.providers.base import Check, Provider
from ohmykube.testing.exposure_conformance import ExposureConformance
from ohmykube.testing.subject import Do, Subject, delete_all, names_of, spec_of
from ohmykube.testing.template_conformance import BUILDING, TemplatesConformance

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "BUILDING",
    "Do",
    "ExposureConformance",
    "ProviderConformance",
    "Subject",
    "TemplatesConformance",
]


class ProviderConformance:
    """Every MUST of ``providers.base``."""

    @pytest.fixture
    def subject(self) -> Subject:
        """Give the subject; remove what is left afterwards. Its clusters are its own."""
        raise NotImplementedError

    @pytest.fixture
    def provider(self, subject: Subject) -> Provider:
        """Give the provider for the subject's cluster."""
        return subject.open(subject.cluster)

    @pytest.fixture
    def nothing(self, subject: Subject) -> None:
        """Begin with no machine in the subject's clusters."""
        delete_all(subject)

    @pytest.fixture
    def powered(self, provider: Provider) -> Provider:
        """Give the provider if it can stop and start."""
        if not provider.capabilities.powers:
            pytest.skip("does not power machines")
        return provider

    def test_check_gives_checks_with_stable_names(self, provider: Provider) -> None:
        """Ids are unique and two looks give the same ones."""
        first, second = provider.check(), provider.check()
        assert all(isinstance(check, Check) for check in first)
        assert len({check.id for check in first}) == len(first) > 0
        assert [check.id for check in first] == [check.id for check in second]

    def test_the_architecture_of_every_node_is_known(
        self, subject: Subject, provider: Provider
    ) -> None:
        """It is told of machines that exist and of those that are still to be made."""
        told = provider.architectures(subject.nodes)
        assert set(told) == set(subject.nodes)
        assert set(told.values()) <= set(ARCHITECTURES)

    @pytest.mark.usefixtures("nothing")
    def test_nothing_is_there_at_first(self, subject: Subject, provider: Provider) -> None:
        """List makes nothing."""
        assert list(provider.list(subject.cluster)) == []
        assert subject.cluster not in provider.clusters()

    @pytest.mark.usefixtures("nothing")
    def test_start_of_nothing_fails(self, subject: Subject, provider: Provider) -> None:
        """There is nothing to start, and nothing is made."""
        with pytest.raises(OhmykubeError):
            provider.start(subject.cluster, subject.nodes[0])
        assert list(provider.list(subject.cluster)) == []

    @pytest.mark.usefixtures("nothing")
    def test_stop_of_nothing_does_nothing(self, subject: Subject, powered: Provider) -> None:
        """There never was one, and there is none afterwards."""
        powered.stop(subject.cluster, subject.nodes[0])
        assert list(powered.list(subject.cluster)) == []

    @pytest.mark.usefixtures("nothing")
    def test_delete_of_nothing_succeeds(self, subject: Subject, provider: Provider) -> None:
        """There never was one."""
        provider.delete(subject.cluster, subject.nodes[0])
        assert list(provider.clusters()) == []

    @pytest.mark.usefixtures("nothing")
    def test_create_at_once_from_two_providers(self, subject: Subject) -> None:
        """Two processes that make the same machine at once end with one."""
        spec = spec_of(subject.cluster, subject.nodes[0])
        with ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(subject.open(subject.cluster).create, spec) for _ in range(2)]
            made = [call.result() for call in calls]
        assert made[0] == made[1]
        assert len(subject.open(subject.cluster).list(subject.cluster)) == 1

    @pytest.mark.usefixtures("nothing")
    def test_create_gives_a_running_machine(self, subject: Subject, provider: Provider) -> None:
        """It is listed as it was returned, and answers."""
        provider.prepare()
        made = provider.create(spec_of(subject.cluster, subject.nodes[0]))
        assert (made.cluster, made.node) == (subject.cluster, subject.nodes[0])
        assert made.state is MachineState.RUNNING
        assert made.address
        assert made.ssh is not None
        assert subject.answers(made)
        assert list(subject.open(subject.cluster).list(subject.cluster)) == [made]
        assert list(provider.clusters()) == [subject.cluster]

    def test_create_twice_makes_one_machine(self, subject: Subject, provider: Provider) -> None:
        """The second call, of another process, returns the same machine."""
        spec = spec_of(subject.cluster, subject.nodes[0])
        first = provider.create(spec)
        assert subject.open(subject.cluster).create(spec) == first
        assert len(provider.list(subject.cluster)) == 1

    def test_power_is_refused_where_there_is_none(
        self, subject: Subject, provider: Provider
    ) -> None:
        """A provider that cannot power says so and leaves the machine alone."""
        if provider.capabilities.powers:
            pytest.skip("does power machines")
        made = provider.create(spec_of(subject.cluster, subject.nodes[0]))
        with pytest.raises(OhmykubeError):
            provider.stop(subject.cluster, subject.nodes[0])
        assert provider.start(subject.cluster, subject.nodes[0]) == made
        assert subject.answers(made)

    def test_stop_and_start_keep_the_address(self, subject: Subject, powered: Provider) -> None:
        """A stopped machine is listed, has no ssh, and comes back as it was."""
        node = subject.nodes[0]
        made = powered.create(spec_of(subject.cluster, node))
        powered.stop(subject.cluster, node)
        (stopped,) = subject.open(subject.cluster).list(subject.cluster)
        assert stopped == replace(made, state=MachineState.STOPPED, ssh=None)
        started = powered.start(subject.cluster, node)
        assert started == made
        assert subject.answers(started)

    def test_create_starts_a_stopped_machine(self, subject: Subject, powered: Provider) -> None:
        """Create and start give the same."""
        spec = spec_of(subject.cluster, subject.nodes[0])
        made = powered.create(spec)
        powered.stop(subject.cluster, spec.node)
        assert powered.create(spec) == made

    def test_the_api_endpoint_is_stable(self, subject: Subject, provider: Provider) -> None:
        """The same question, by another process and after a stop, has the same answer."""
        node = subject.nodes[0]
        made = provider.create(spec_of(subject.cluster, node))
        first = provider.api_endpoint(subject.cluster, made.address, 6443)
        assert first[0]
        assert 0 < first[1] < 65536
        if provider.capabilities.powers:
            provider.stop(subject.cluster, node)
            provider.start(subject.cluster, node)
        again = subject.open(subject.cluster).api_endpoint(subject.cluster, made.address, 6443)
        assert again == first

    def test_stop_and_start_can_be_repeated(self, subject: Subject, powered: Provider) -> None:
        """Both are no-ops where there is nothing to do."""
        node = subject.nodes[0]
        made = powered.create(spec_of(subject.cluster, node))
        assert powered.start(subject.cluster, node) == made
        powered.stop(subject.cluster, node)
        powered.stop(subject.cluster, node)
        assert [m.state for m in powered.list(subject.cluster)] == [MachineState.STOPPED]

    def test_create_makes_a_broken_machine_whole(
        self, subject: Subject, provider: Provider
    ) -> None:
        """A machine left half-made is listed as broken, and repaired by ``create``."""
        if subject.damage is None:
            pytest.skip("machines cannot be damaged")
        spec = spec_of(subject.cluster, subject.nodes[0])
        before = provider.create(spec)
        subject.damage(subject.cluster, subject.nodes[0])
        (seen,) = provider.list(subject.cluster)
        assert (seen.state, seen.ssh) == (MachineState.BROKEN, None)
        after = provider.create(spec)
        assert after == before
        assert subject.answers(after)

    def test_sizes_change_as_the_provider_says(self, subject: Subject, provider: Provider) -> None:
        """What ``capabilities.resizing`` promises happens when it promises that, and never else."""
        if subject.sizes is None:
            pytest.skip("sizes cannot be seen from outside")
        spec = spec_of(subject.cluster, subject.nodes[0])
        provider.delete(spec.cluster, spec.node)
        made = provider.create(spec)
        before = subject.sizes(spec.cluster, spec.node)
        other = replace(spec, cpus=2, memory_mib=768)
        able = provider.capabilities.resizing
        how = (able.cpus, able.memory)
        if Resize.MEANINGLESS not in how:
            assert before == (1, 512)
        moments = [{Resize.LIVE}]
        if provider.capabilities.powers:
            moments.append({Resize.LIVE, Resize.ON_START})
        for moment in moments:
            assert subject.open(spec.cluster).create(other) == made
            wanted = zip(how, before, (2, 768), strict=True)
            now = tuple(new if when in moment else old for when, old, new in wanted)
            assert subject.sizes(spec.cluster, spec.node) == now
            if provider.capabilities.powers:
                provider.stop(spec.cluster, spec.node)
        assert subject.answers(provider.create(other))
        provider.delete(spec.cluster, spec.node)

    def test_mounts_are_made_when_a_machine_starts(
        self, subject: Subject, provider: Provider, tmp_path: Path
    ) -> None:
        """Whatever their names, they are there, and are those asked for, or nothing is done."""
        if subject.read is None or not provider.capabilities.mounts:
            pytest.skip("machines do not see this host's files")
        cluster, node = subject.cluster, subject.nodes[0]
        mounts = _mounts_with_unusual_names(tmp_path)
        provider.delete(cluster, node)
        wanted = replace(spec_of(cluster, node), mounts=mounts)
        made = provider.create(wanted)
        for one in mounts:
            inside = one.node if one.host.is_file() else f"{one.node}/told"
            assert subject.read(cluster, node, inside) == str(one.host)
            if not one.host.is_file():
                assert subject.write(cluster, node, f"{one.node}/new") is not one.read_only
                assert (one.host / "new").exists() is not one.read_only
        other = replace(spec_of(cluster, node), mounts=mounts[:1])
        with pytest.raises(OhmykubeError):
            subject.open(cluster).create(other)
        assert subject.open(cluster).create(wanted) == made
        provider.stop(cluster, node)
        assert provider.start(cluster, node) == made
        assert subject.read(cluster, node, f"{mounts[1].node}/told") == str(mounts[1].host)
        provider.stop(cluster, node)
        assert subject.open(cluster).create(other) == made
        assert subject.read(cluster, node, f"{mounts[0].node}/told") == str(mounts[0].host)
        assert subject.read(cluster, node, f"{mounts[1].node}/told") == ""
        provider.stop(cluster, node)
        (tmp_path / "link").symlink_to(mounts[0].host)
        for name in ("none", "link"):
            gone = replace(mounts[0], host=tmp_path / name)
            with pytest.raises(OhmykubeError):
                provider.create(replace(other, mounts=(gone,)))
        provider.delete(cluster, node)
        assert all(one.host.exists() for one in mounts)

    def test_delete_of_a_broken_machine(self, subject: Subject, provider: Provider) -> None:
        """What is half there goes wholly."""
        if subject.damage is None:
            pytest.skip("machines cannot be damaged")
        provider.create(spec_of(subject.cluster, subject.nodes[0]))
        subject.damage(subject.cluster, subject.nodes[0])
        provider.delete(subject.cluster, subject.nodes[0])
        assert list(provider.list(subject.cluster)) == []
        assert list(provider.clusters()) == []

    @pytest.mark.usefixtures("nothing")
    def test_several_nodes_at_once(self, subject: Subject, provider: Provider) -> None:
        """Threads make different nodes of one cluster; addresses differ; list is sorted."""
        wanted = sorted(subject.nodes)
        specs = [spec_of(subject.cluster, node) for node in reversed(wanted)]
        with ThreadPoolExecutor(2) as pool:
            made = list(pool.map(provider.create, specs))
        assert len({machine.address for machine in made}) == 2
        assert names_of(provider.list(subject.cluster)) == wanted
        assert all(subject.answers(machine) for machine in made)

    def test_delete_of_one_node_leaves_the_other(
        self, subject: Subject, provider: Provider
    ) -> None:
        """The other one still runs."""
        for node in subject.nodes:
            provider.create(spec_of(subject.cluster, node))
        provider.delete(subject.cluster, subject.nodes[0])
        (left,) = provider.list(subject.cluster)
        assert (left.node, left.state) == (subject.nodes[1], MachineState.RUNNING)
        assert subject.answers(left)

    @pytest.mark.usefixtures("nothing")
    def test_a_cluster_whose_name_begins_the_same_is_left_alone(self, subject: Subject) -> None:
        """Neither list nor delete reach a cluster ``dev-2`` from ``dev``, nor the other way."""
        assert subject.other.startswith(subject.cluster)
        node = subject.nodes[0]
        mine, theirs = subject.open(subject.cluster), subject.open(subject.other)
        other = theirs.create(spec_of(subject.other, node))
        assert list(mine.list(subject.cluster)) == []
        mine.delete(subject.cluster, node)
        assert list(theirs.list(subject.other)) == [other]
        mine.create(spec_of(subject.cluster, node))
        assert sorted(mine.clusters()) == sorted([subject.cluster, subject.other])
        mine.delete(subject.cluster, node)
        assert list(theirs.list(subject.other)) == [other]
        assert subject.answers(other)
        ours = mine.create(spec_of(subject.cluster, node))
        theirs.delete(subject.other, node)
        assert list(mine.list(subject.cluster)) == [ours]
        assert subject.answers(ours)

    def test_delete_removes_the_machine(self, subject: Subject, provider: Provider) -> None:
        """Nothing is listed afterwards; again is fine."""
        node = subject.nodes[0]
        made = provider.create(spec_of(subject.cluster, node))
        provider.delete(subject.cluster, node)
        assert list(provider.list(subject.cluster)) == []
        assert list(provider.clusters()) == []
        # A machine that we did not make is left as it was.
        assert subject.answers(made) is not provider.capabilities.creates
        provider.delete(subject.cluster, node)


_UNUSUAL = (
    "a b",
    "q'uo\"te",
    "co:lon:ro",
    "back\\slash",
    "ümläut-日本",
    "$HOME %h",
    "-dash",
    "com,ma",
)


def _mounts_with_unusual_names(directory: Path) -> tuple[Mount, ...]:
    """Return directories, and one file, that hold their own path; in the order of their places."""
    found = []
    for number, name in enumerate(_UNUSUAL):
        host = directory / name
        host.mkdir()
        (host / "told").write_text(str(host))
        found.append(Mount(host=host, node=f"/mnt/{name}", read_only=number % 2 == 1))
    file = directory / "file: ä"
    file.write_text(str(file))
    found.append(Mount(host=file, node="/srv/file: ä", read_only=True))
    return tuple(sorted(found, key=lambda one: one.node))
