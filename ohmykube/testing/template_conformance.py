"""What every provider that clones must do, as tests; used as ``conformance`` says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from ohmykube.errors import OhmykubeError
from ohmykube.model.machine import MachineState
from ohmykube.model.names import HIDDEN
from ohmykube.providers.base import NO_TEMPLATE, NewTemplate, Provider, Templates
from ohmykube.testing.subject import Subject, delete_all, names_of, spec_of

KEY = "0123456789abcdef"
BUILDING = f"{HIDDEN}build"


class TemplatesConformance:
    """Every MUST of ``providers.base.Templates``; give the same subject."""

    @pytest.fixture
    def subject(self) -> Subject:
        """Give the subject; remove what is left afterwards. No templates but its own exist."""
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
    def nothing(self, subject: Subject) -> None:
        """Begin with no machine in the subject's clusters."""
        delete_all(subject)

    @pytest.fixture
    def no_template(self, cloning: Templates) -> None:
        """Begin without a template."""
        for template in cloning.templates():
            cloning.remove_template(template.key)

    @pytest.fixture
    def frozen(self, subject: Subject, provider: Provider, cloning: Templates) -> str:
        """Give the key of a template that was made of a marked machine, now or before."""
        if KEY in [template.key for template in cloning.templates()]:
            return KEY
        node = "worker"
        provider.prepare()
        provider.create(spec_of(BUILDING, node))
        if subject.mark is not None:
            subject.mark(BUILDING, node)
        new = NewTemplate(key=KEY, role="worker", summary="test")
        made = cloning.freeze(BUILDING, node, new)
        assert (made.key, made.role, made.summary) == (KEY, "worker", "test")
        return made.key

    @pytest.mark.usefixtures("no_template")
    def test_there_are_no_templates_at_first(self, cloning: Templates) -> None:
        """The basis is known without making anything."""
        assert list(cloning.templates()) == []
        assert cloning.template_basis() == cloning.template_basis() != ""

    @pytest.mark.usefixtures("no_template")
    def test_freezing_nothing_fails(self, cloning: Templates) -> None:
        """There is no such machine, and no template is made."""
        new = NewTemplate(key=KEY, role="worker", summary="test")
        with pytest.raises(OhmykubeError):
            cloning.freeze(BUILDING, "worker", new)
        assert list(cloning.templates()) == []

    @pytest.mark.usefixtures("nothing")
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

    @pytest.mark.usefixtures("nothing")
    def test_a_bare_machine_has_nothing_of_a_template(
        self, subject: Subject, provider: Provider, frozen: str
    ) -> None:
        """Cloning is asked for, machine by machine."""
        assert frozen
        node = subject.nodes[0]
        provider.create(spec_of(subject.cluster, node))
        assert subject.mark is None or not subject.marked(subject.cluster, node)

    @pytest.mark.usefixtures("nothing")
    def test_clones_are_machines_of_their_own(
        self, subject: Subject, provider: Provider, frozen: str
    ) -> None:
        """They have what the template had, addresses that differ, and stop and start like all."""
        specs = [replace(spec_of(subject.cluster, node), template=frozen) for node in subject.nodes]
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

    def test_freezing_again_keeps_the_first(
        self, provider: Provider, cloning: Templates, frozen: str
    ) -> None:
        """The second machine goes, the template stays."""
        (before,) = cloning.templates()
        provider.create(spec_of(BUILDING, "again"))
        new = NewTemplate(key=frozen, role="worker", summary="test")
        after = cloning.freeze(BUILDING, "again", new)
        assert after.created_at == before.created_at
        assert list(provider.list(BUILDING)) == []

    def test_a_clone_does_not_need_its_template(
        self, subject: Subject, provider: Provider, cloning: Templates, frozen: str
    ) -> None:
        """It is stopped, the template goes, it starts."""
        node = subject.nodes[0]
        made = provider.create(replace(spec_of(subject.cluster, node), template=frozen))
        provider.stop(subject.cluster, node)
        cloning.remove_template(frozen)
        cloning.remove_template(frozen)
        assert list(cloning.templates()) == []
        assert provider.start(subject.cluster, node) == made
        assert subject.marked(subject.cluster, node)

    @pytest.mark.usefixtures("nothing")
    def test_a_template_that_is_gone_is_said(
        self, subject: Subject, provider: Provider, cloning: Templates, frozen: str
    ) -> None:
        """Nothing is made; a machine that exists does not ask for its template."""
        node, other = subject.nodes
        spec = replace(spec_of(subject.cluster, node), template=frozen)
        made = provider.create(spec)
        cloning.remove_template(frozen)
        assert provider.create(spec) == made
        with pytest.raises(OhmykubeError) as caught:
            provider.create(replace(spec, node=other))
        assert caught.value.id == NO_TEMPLATE
        assert names_of(provider.list(subject.cluster)) == [node]

    def test_machines_of_builds_are_hidden_and_swept(
        self, subject: Subject, provider: Provider, cloning: Templates
    ) -> None:
        """A killed build leaves machines, which the next one removes and no other cluster sees."""
        provider.create(spec_of(BUILDING, "worker"))
        mine = provider.create(spec_of(subject.cluster, subject.nodes[0]))
        assert list(provider.clusters()) == [subject.cluster]
        cloning.sweep_templates()
        assert list(provider.list(BUILDING)) == []
        assert list(provider.list(subject.cluster)) == [mine]
