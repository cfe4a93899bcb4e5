"""The fake provider with templates, which are lines in a file as well."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from ohmykube.errors import NotFoundError
from ohmykube.kit import files, locks
from ohmykube.model.machine import MachineState
from ohmykube.model.names import HIDDEN
from ohmykube.providers.base import NO_TEMPLATE, Template
from ohmykube.testing.fake_provider import FakeProvider

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ohmykube.model.machine import Machine, MachineSpec
    from ohmykube.providers.base import NewTemplate, ProviderContext


class FakeCloningProvider(FakeProvider):
    """Keeps the contract of ``providers.base.Templates`` too; a mark is what a template carries."""

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        self._root = context.paths.data / "fake-templates"

    def _file(self, name: str) -> Path:
        return self._root / f"{name}.json"

    def _templates(self) -> dict[str, Template]:
        path = self._file("templates")
        found = json.loads(path.read_text()) if path.exists() else []
        return {item["key"]: Template(**item) for item in found}

    def _save(self, templates: dict[str, Template]) -> None:
        files.ensure_directory(self._root)
        content = [asdict(templates[key]) for key in sorted(templates)]
        files.write(self._file("templates"), json.dumps(content, indent=1))

    def _marks(self) -> list[str]:
        path = self._file("marks")
        found: list[str] = json.loads(path.read_text()) if path.exists() else []
        return found

    def mark(self, cluster: str, node: str) -> None:
        """Leave a mark on a machine, or (with an empty cluster) in a template."""
        files.ensure_directory(self._root)
        marks = [*self._marks(), f"{cluster}/{node}"]
        files.write(self._file("marks"), json.dumps(marks))

    def marked(self, cluster: str, node: str) -> bool:
        """Tell whether a machine has the mark."""
        return f"{cluster}/{node}" in self._marks()

    def create(self, spec: MachineSpec) -> Machine:
        """Make a machine, as a clone when that is asked for."""
        there = {machine.node: machine for machine in self.list(spec.cluster)}.get(spec.node)
        if spec.template and (there is None or there.state is MachineState.BROKEN):
            with locks.exclusive(self._root / "lock", "the fake templates", wait_seconds=10):
                templates = self._templates()
                if spec.template not in templates:
                    raise NotFoundError(f"there is no template {spec.template}", id=NO_TEMPLATE)
                used = replace(templates[spec.template], last_used_at=_later(templates))
                self._save({**templates, spec.template: used})
                if self.marked("", spec.template):
                    self.mark(spec.cluster, spec.node)
        return super().create(spec)

    def template_basis(self) -> str:
        """Return what all fake machines have."""
        return "fake 1"

    def templates(self) -> Sequence[Template]:
        """Return the templates."""
        found = self._templates()
        return [found[key] for key in sorted(found)]

    def freeze(self, cluster: str, node: str, template: NewTemplate) -> Template:
        """Make a machine a template."""
        if node not in [machine.node for machine in self.list(cluster)]:
            raise NotFoundError(f'cluster "{cluster}" has no node "{node}"')
        with locks.exclusive(self._root / "lock", "the fake templates", wait_seconds=10):
            templates = self._templates()
            if template.key not in templates:
                now = _later(templates)
                made = Template(**asdict(template), created_at=now, last_used_at=now, size=1000)
                templates[template.key] = made
                self._save(templates)
                if self.marked(cluster, node):
                    self.mark("", template.key)
        self.delete(cluster, node)
        return templates[template.key]

    def remove_template(self, key: str) -> None:
        """Remove a template."""
        if key in self._templates():
            with locks.exclusive(self._root / "lock", "the fake templates", wait_seconds=10):
                self._save({k: t for k, t in self._templates().items() if k != key})

    def sweep_templates(self) -> None:
        """Remove the machines of builds."""
        for name in self._store.clusters():
            if name.startswith(HIDDEN):
                for machine in self.list(name):
                    self.delete(name, machine.node)


def _later(templates: dict[str, Template]) -> float:
    """Return a time after all that templates have."""
    return 1.0 + max((t.last_used_at for t in templates.values()), default=0.0)
