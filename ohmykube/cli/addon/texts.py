"""Results of the commands on add-ons, as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.cli.addon import results
from ohmykube.ui.console import seconds
from ohmykube.ui.tables import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.model.addon import AddonFacts
    from ohmykube.model.cluster import WantedAddon
    from ohmykube.workflows.addons import Info
    from ohmykube.workflows.up_values import UpResult


def addons(found: Sequence[AddonFacts]) -> str:
    """Return a table."""
    if not found:
        return "No add-ons.\n"
    rows = [(facts.name, facts.versions[0], facts.summary) for facts in found]
    return table(("name", "version", "what"), rows)


def info(found: Info) -> str:
    """Return what an add-on is, a line for each thing that there is to tell."""
    facts, one = found.facts, found.artifacts
    requires = one.requires
    lines = [
        (facts.name, facts.summary),
        ("version", found.version),
        ("versions", ", ".join(facts.versions) if len(facts.versions) > 1 else ""),
        ("provides", ", ".join(facts.provides)),
        ("needs", ", ".join(facts.needs)),
        ("conflicts", ", ".join(facts.conflicts)),
        ("Kubernetes", requires.range),
        ("kernel", ", ".join(requires.kernel)),
        ("memory", f"{requires.memory_mib} MiB on each node" if requires.memory_mib else ""),
        ("disks", f"{requires.disks} unused on each node" if requires.disks else ""),
        ("end of life", one.end_of_life),
        ("namespace", facts.namespace),
        ("role", facts.role),
        ("values", ", ".join(_values(facts))),
        ("data", "; ".join(facts.owns)),
    ]
    rows = [(name, text) for name, text in lines if text]
    rows += [(part["kind"], part["name"]) for part in results.artifacts(found)]
    width = max(len(name) for name, _ in rows)
    return "".join(f"{name:{width}}  {text}\n" for name, text in rows)


def _values(facts: AddonFacts) -> list[str]:
    if facts.values is None:
        return []
    return list(facts.values.model_json_schema().get("properties", {}))


def changed(result: UpResult, addons: Sequence[WantedAddon]) -> str:
    """Return which add-ons a cluster has now, and how long that took."""
    now = ", ".join(f"{one.name} {one.version}" for one in addons) or "none"
    took = "" if result.changed else "nothing changed, "
    return f'Add-ons of cluster "{result.cluster}": {now} ({took}{seconds(result.seconds)})\n'
