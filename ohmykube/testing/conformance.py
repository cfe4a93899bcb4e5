"""What every provider must do, as tests: subclass ``ProviderConformance`` and give a subject.

class TestMine(ProviderConformance):
    @pytest.fixture
    def subject(self, tmp_path) -> Iterator[Subject]:
        yield Subject(open=..., cluster="dev", other="dev-2", nodes=("a", "b"))
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import OhmykubeError
from ohmykube.model.machine import Machine, MachineSpec, MachineState
from ohmykube.model.names import HIDDEN
from ohmykube.providers.base import NO_TEMPLATE, Check, NewTemplate, Provider, Templates

if TYPE_CHECKING:
    from collections.abc import Sequence

Do = Callable[[str, str], None]
"""Does something to (cluster, node)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A provider under test, and how to look at it from outside."""

    open: Callable[[str], Provider]
    """Makes the provider for a cluster's name, anew at each call, as another process would."""
    cluster: str
    other: str
    """Name of a second cluster; must begin with ``cluster``."""
    nodes: tuple[str, str]
    """Two node names; both clusters have the first."""
    answers: Callable[[Machine], bool] = field(default=lambda _machine: True)
    """Looks without the provider whether the machine really runs."""
    damage: Do | None = None
    """Leaves the machine as a crash would: half of it there."""
    mark: Do | None = None
    """Leaves a mark on a running machine that its clones are to have."""
    marked: Callable[[str, str], bool] = field(default=lambda _cluster, _node: True)
    """Looks whether a running machine has the mark."""


def _spec(cluster: str, node: str) -> MachineSpec:
    return MachineSpec(cluster=cluster, node=node, cpus=1, memory_mib=512)


def _names(machines: Sequence[Machine]) -> list[str]:
    return [machine.node for machine in machines]


class ProviderConformance:
    """Every MUST of ``providers.base``."""

    @pytest.fixture
    def subject(self) -> Subject:
        """Give the subject, on which no machine exists; remove what is left afterwards."""
        raise NotImplementedError

    @pytest.fixture
    def provider(self, subject: Subject) -> Provider:
        """Give the provider for the subject's cluster."""
        return subject.open(subject.cluster)

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

    def test_nothing_is_there_at_first(self, subject: Subject, provider: Provider) -> None:
        """List makes nothing."""
        assert list(provider.list(subject.cluster)) == []
        assert subject.cluster not in provider.clusters()

    def test_create_gives_a_running_machine(self, subject: Subject, provider: Provider) -> None:
        """It is listed as it was returned, and answers."""
        provider.prepare()
        made = provider.create(_spec(subject.cluster, subject.nodes[0]))
        assert (made.cluster, made.node) == (subject.cluster, subject.nodes[0])
        assert made.state is MachineState.RUNNING
        assert made.address
        assert made.ssh is not None
        assert subject.answers(made)
        assert list(subject.open(subject.cluster).list(subject.cluster)) == [made]
        assert list(provider.clusters()) == [subject.cluster]

    def test_create_twice_makes_one_machine(self, subject: Subject, provider: Provider) -> None:
        """The second call, of another process, returns the same machine."""
        spec = _spec(subject.cluster, subject.nodes[0])
        first = provider.create(spec)
        assert subject.open(subject.cluster).create(spec) == first
        assert len(provider.list(subject.cluster)) == 1

    def test_create_at_once_from_two_providers(self, subject: Subject) -> None:
        """Two processes that make the same machine at once end with one."""
        spec = _spec(subject.cluster, subject.nodes[0])
        with ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(subject.open(subject.cluster).create, spec) for _ in range(2)]
            made = [call.result() for call in calls]
        assert made[0] == made[1]
        assert len(subject.open(subject.cluster).list(subject.cluster)) == 1

    def test_several_nodes_at_once(self, subject: Subject, provider: Provider) -> None:
        """Threads make different nodes of one cluster; addresses differ; list is sorted."""
        wanted = sorted(subject.nodes)
        specs = [_spec(subject.cluster, node) for node in reversed(wanted)]
        with ThreadPoolExecutor(2) as pool:
            made = list(pool.map(provider.create, specs))
        assert len({machine.address for machine in made}) == 2
        assert _names(provider.list(subject.cluster)) == wanted
        assert all(subject.answers(machine) for machine in made)

    def test_create_makes_a_broken_machine_whole(
        self, subject: Subject, provider: Provider
    ) -> None:
        """A machine left half-made is listed as broken, and repaired by ``create``."""
        if subject.damage is None:
            pytest.skip("machines cannot be damaged")
        spec = _spec(subject.cluster, subject.nodes[0])
        before = provider.create(spec)
        subject.damage(subject.cluster, subject.nodes[0])
        (seen,) = provider.list(subject.cluster)
        assert (seen.state, seen.ssh) == (MachineState.BROKEN, None)
        after = provider.create(spec)
        assert after == before
        assert subject.answers(after)

    def test_delete_of_a_broken_machine(self, subject: Subject, provider: Provider) -> None:
        """What is half there goes wholly."""
        if subject.damage is None:
            pytest.skip("machines cannot be damaged")
        provider.create(_spec(subject.cluster, subject.nodes[0]))
        subject.damage(subject.cluster, subject.nodes[0])
        provider.delete(subject.cluster, subject.nodes[0])
        assert list(provider.list(subject.cluster)) == []
        assert list(provider.clusters()) == []

    def test_stop_and_start_keep_the_address(self, subject: Subject, powered: Provider) -> None:
        """A stopped machine is listed, has no ssh, and comes back as it was."""
        node = subject.nodes[0]
        made = powered.create(_spec(subject.cluster, node))
        powered.stop(subject.cluster, node)
        (stopped,) = subject.open(subject.cluster).list(subject.cluster)
        assert stopped == replace(made, state=MachineState.STOPPED, ssh=None)
        started = powered.start(subject.cluster, node)
        assert started == made
        assert subject.answers(started)

    def test_create_starts_a_stopped_machine(self, subject: Subject, powered: Provider) -> None:
        """Create and start give the same."""
        spec = _spec(subject.cluster, subject.nodes[0])
        made = powered.create(spec)
        powered.stop(subject.cluster, spec.node)
        assert powered.create(spec) == made

    def test_stop_and_start_can_be_repeated(self, subject: Subject, powered: Provider) -> None:
        """Both are no-ops where there is nothing to do."""
        node = subject.nodes[0]
        powered.stop(subject.cluster, node)
        made = powered.create(_spec(subject.cluster, node))
        assert powered.start(subject.cluster, node) == made
        powered.stop(subject.cluster, node)
        powered.stop(subject.cluster, node)
        assert [m.state for m in powered.list(subject.cluster)] == [MachineState.STOPPED]

    def test_start_of_nothing_fails(self, subject: Subject, provider: Provider) -> None:
        """There is nothing to start, and nothing is made."""
        with pytest.raises(OhmykubeError):
            provider.start(subject.cluster, subject.nodes[0])
        assert list(provider.list(subject.cluster)) == []

    def test_power_is_refused_where_there_is_none(
        self, subject: Subject, provider: Provider
    ) -> None:
        """A provider that cannot power says so and leaves the machine alone."""
        if provider.capabilities.powers:
            pytest.skip("does power machines")
        made = provider.create(_spec(subject.cluster, subject.nodes[0]))
        with pytest.raises(OhmykubeError):
            provider.stop(subject.cluster, subject.nodes[0])
        assert provider.start(subject.cluster, subject.nodes[0]) == made
        assert subject.answers(made)

    def test_delete_removes_the_machine(self, subject: Subject, provider: Provider) -> None:
        """Nothing is listed afterwards; again is fine."""
        node = subject.nodes[0]
        made = provider.create(_spec(subject.cluster, node))
        provider.delete(subject.cluster, node)
        assert list(provider.list(subject.cluster)) == []
        assert list(provider.clusters()) == []
        # A machine that we did not make is left as it was.
        assert subject.answers(made) is not provider.capabilities.creates
        provider.delete(subject.cluster, node)

    def test_delete_of_nothing_succeeds(self, subject: Subject, provider: Provider) -> None:
        """There never was one."""
        provider.delete(subject.cluster, subject.nodes[0])
        assert list(provider.clusters()) == []

    def test_delete_of_one_node_leaves_the_other(
        self, subject: Subject, provider: Provider
    ) -> None:
        """The other one still runs."""
        for node in subject.nodes:
            provider.create(_spec(subject.cluster, node))
        provider.delete(subject.cluster, subject.nodes[0])
        (left,) = provider.list(subject.cluster)
        assert (left.node, left.state) == (subject.nodes[1], MachineState.RUNNING)
        assert subject.answers(left)

    def test_a_cluster_whose_name_begins_the_same_is_left_alone(self, subject: Subject) -> None:
        """Neither list nor delete reach a cluster ``dev-2`` from ``dev``, nor the other way."""
        assert subject.other.startswith(subject.cluster)
        node = subject.nodes[0]
        mine, theirs = subject.open(subject.cluster), subject.open(subject.other)
        other = theirs.create(_spec(subject.other, node))
        assert list(mine.list(subject.cluster)) == []
        mine.delete(subject.cluster, node)
        assert list(theirs.list(subject.other)) == [other]
        mine.create(_spec(subject.cluster, node))
        assert sorted(mine.clusters()) == sorted([subject.cluster, subject.other])
        mine.delete(subject.cluster, node)
        assert list(theirs.list(subject.other)) == [other]
        assert subject.answers(other)
        ours = mine.create(_spec(subject.cluster, node))
        theirs.delete(subject.other, node)
        assert list(mine.list(subject.cluster)) == [ours]
        assert subject.answers(ours)

    def test_the_api_endpoint_is_stable(self, subject: Subject, provider: Provider) -> None:
        """The same question, by another process and after a stop, has the same answer."""
        node = subject.nodes[0]
        made = provider.create(_spec(subject.cluster, node))
        first = provider.api_endpoint(subject.cluster, made.address, 6443)
        assert first[0]
        assert 0 < first[1] < 65536
        if provider.capabilities.powers:
            provider.stop(subject.cluster, node)
            provider.start(subject.cluster, node)
        again = subject.open(subject.cluster).api_endpoint(subject.cluster, made.address, 6443)
        assert again == first


KEY = "0123456789abcdef"
BUILDING = f"{HIDDEN}build"


class TemplatesConformance:
    """Every MUST of ``providers.base.Templates``; give the same subject."""

    @pytest.fixture
    def subject(self) -> Subject:
        """Give the subject, on which neither machines nor templates exist."""
        raise NotImplementedError

    @pytest.fixture
    def cloning(self, subject: Subject) -> Templates:
        """Give the provider, which can clone."""
        provider = subject.open(subject.cluster)
        assert isinstance(provider, Templates)
        return provider

    @pytest.fixture
    def provider(self, cloning: Templates) -> Provider:
        """Give the same one as a provider."""
        assert isinstance(cloning, Provider)
        return cloning

    @pytest.fixture
    def frozen(self, subject: Subject, provider: Provider, cloning: Templates) -> str:
        """Give the key of a template that was made of a marked machine."""
        node = "worker"
        provider.prepare()
        provider.create(_spec(BUILDING, node))
        if subject.mark is not None:
            subject.mark(BUILDING, node)
        new = NewTemplate(key=KEY, role="worker", summary="test")
        made = cloning.freeze(BUILDING, node, new)
        assert (made.key, made.role, made.summary) == (KEY, "worker", "test")
        return made.key

    def test_there_are_no_templates_at_first(self, cloning: Templates) -> None:
        """The basis is told without making anything."""
        assert list(cloning.templates()) == []
        assert cloning.template_basis() == cloning.template_basis() != ""

    def test_freezing_takes_the_machine(
        self, subject: Subject, provider: Provider, cloning: Templates, frozen: str
    ) -> None:
        """The template is listed by another process; the machine is gone."""
        again = subject.open(subject.cluster)
        assert isinstance(again, Templates)
        assert [template.key for template in again.templates()] == [frozen]
        assert list(provider.list(BUILDING)) == []
        assert list(provider.clusters()) == []
        (kept,) = cloning.templates()
        assert kept.last_used_at >= kept.created_at > 0
        assert kept.size > 0

    def test_clones_are_machines_of_their_own(
        self, subject: Subject, provider: Provider, frozen: str
    ) -> None:
        """They have what the template had, addresses that differ, and stop and start like all."""
        specs = [replace(_spec(subject.cluster, node), template=frozen) for node in subject.nodes]
        with ThreadPoolExecutor(2) as pool:
            made = list(pool.map(provider.create, specs))
        assert len({machine.address for machine in made}) == 2
        for machine in made:
            assert machine.state is MachineState.RUNNING
            assert subject.answers(machine)
            assert subject.marked(subject.cluster, machine.node)
        assert provider.create(specs[0]) == made[0]
        node = subject.nodes[0]
        provider.stop(subject.cluster, node)
        assert provider.start(subject.cluster, node) == made[0]
        assert subject.marked(subject.cluster, node)

    def test_a_clone_does_not_need_its_template(
        self, subject: Subject, provider: Provider, cloning: Templates, frozen: str
    ) -> None:
        """It is stopped, the template goes, it starts."""
        node = subject.nodes[0]
        made = provider.create(replace(_spec(subject.cluster, node), template=frozen))
        provider.stop(subject.cluster, node)
        cloning.remove_template(frozen)
        cloning.remove_template(frozen)
        assert list(cloning.templates()) == []
        assert provider.start(subject.cluster, node) == made
        assert subject.marked(subject.cluster, node)

    def test_a_template_that_is_gone_is_said(
        self, subject: Subject, provider: Provider, cloning: Templates, frozen: str
    ) -> None:
        """Nothing is made; a machine that exists does not ask for its template."""
        node, other = subject.nodes
        spec = replace(_spec(subject.cluster, node), template=frozen)
        made = provider.create(spec)
        cloning.remove_template(frozen)
        assert provider.create(spec) == made
        with pytest.raises(OhmykubeError) as caught:
            provider.create(replace(spec, node=other))
        assert caught.value.id == NO_TEMPLATE
        assert _names(provider.list(subject.cluster)) == [node]

    def test_a_bare_machine_has_nothing_of_a_template(
        self, subject: Subject, provider: Provider, frozen: str
    ) -> None:
        """Cloning is asked for, machine by machine."""
        assert frozen
        node = subject.nodes[0]
        provider.create(_spec(subject.cluster, node))
        assert subject.mark is None or not subject.marked(subject.cluster, node)

    def test_freezing_again_keeps_the_first(
        self, provider: Provider, cloning: Templates, frozen: str
    ) -> None:
        """The second machine goes, the template stays."""
        (before,) = cloning.templates()
        provider.create(_spec(BUILDING, "again"))
        new = NewTemplate(key=frozen, role="worker", summary="test")
        after = cloning.freeze(BUILDING, "again", new)
        assert after.created_at == before.created_at
        assert list(provider.list(BUILDING)) == []

    def test_freezing_nothing_fails(self, cloning: Templates) -> None:
        """There is no such machine, and no template is made."""
        new = NewTemplate(key=KEY, role="worker", summary="test")
        with pytest.raises(OhmykubeError):
            cloning.freeze(BUILDING, "worker", new)
        assert list(cloning.templates()) == []

    def test_machines_of_builds_are_hidden_and_swept(
        self, subject: Subject, provider: Provider, cloning: Templates
    ) -> None:
        """A killed build leaves machines, which the next one removes and nobody else sees."""
        provider.create(_spec(BUILDING, "worker"))
        mine = provider.create(_spec(subject.cluster, subject.nodes[0]))
        assert list(provider.clusters()) == [subject.cluster]
        cloning.sweep_templates()
        assert list(provider.list(BUILDING)) == []
        assert list(provider.list(subject.cluster)) == [mine]
