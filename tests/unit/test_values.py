"""What holds for all modules: what they offer is there, and their dataclasses are values."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil

import ohmykube

CHANGED = {
    "ohmykube.cli._app.App": "collects what one command works with, as it becomes known",
    "ohmykube.cli._app.Settings": "the parser sets one option after another",
    "ohmykube.config.host_inventory.Inventory": "filled while the file is read",
    "ohmykube.config.yaml_source.Source": "problems are added while the tree is read",
    "ohmykube.config.yaml_tree.Node": "filled while the file is read",
    "ohmykube.kit.udp_forward._Session": "what has become of one client's datagrams",
    "ohmykube.kube.conformance.Progress": "grows with the lines of the output",
    "ohmykube.kube.yaml_edit.Edits": "replacements are gathered, then made",
    "ohmykube.kube.yaml_edit.Node": "its end is known when the parser has read it",
    "ohmykube.steps.deliver_to_node.Delivery": "counts while images are sent",
    "ohmykube.steps.step.Result": "a step sets what it has to tell",
    "ohmykube.testing.fake_limactl.lima_home.Inspected": "errors are added as they are found",
    "ohmykube.testing.fake_limactl.program.Arguments": "filled while the command line is read",
    "ohmykube.ui.live._Part": "what the screen shows changes",
    "ohmykube.ui.live._Step": "what the screen shows changes",
    "ohmykube.ui.plain._Running": "what the screen shows changes",
    "ohmykube.workflows.tunnel_keeper._State": "the state of one tunnel",
    "ohmykube.steps.copy_files.Copied": "what has arrived is counted one by one",
}
"""Dataclasses that change, with the reason."""
NO_SLOTS = {"ohmykube.cli._app.App"}
"""With cached properties, which need a dictionary."""
BY_KEYWORD = (
    "ohmykube.ansible.",
    "ohmykube.cache.bundle.import_bundle.",
    "ohmykube.cache.bundle.contents.",
    "ohmykube.cache.bundle.write.",
    "ohmykube.cache.catalog.",
    "ohmykube.cache.sources.base.",
    "ohmykube.config.",
    "ohmykube.kit.sudo_user.",
    "ohmykube.kit.paths.",
    "ohmykube.kit.retry.",
    "ohmykube.model.",
    "ohmykube.progress.",
    "ohmykube.providers.base.",
    "ohmykube.providers.lima.machines.",
    "ohmykube.providers.lima.creation.",
    "ohmykube.providers.lima.marker.",
    "ohmykube.providers.lima.options.",
    "ohmykube.providers.lima.records.",
    "ohmykube.providers.lima.lima_yaml.",
    "ohmykube.providers.nspawn.base_image.",
    "ohmykube.providers.nspawn.host_system.",
    "ohmykube.providers.nspawn.records.",
    "ohmykube.providers.ssh.",
    "ohmykube.state.",
    "ohmykube.steps.context.",
    "ohmykube.steps.hand_over.",
    "ohmykube.steps.nodes.",
    "ohmykube.steps.run_options.",
    "ohmykube.ui.console.",
    "ohmykube.workflows.",
)
"""Where values are made by keyword, so that a field can be added anywhere."""
BY_PLACE = {"ohmykube.model.exposure.ExposedPort"}
"""Public ones there whose two or three fields have a plain order."""


def found() -> dict[str, type]:
    """Return every dataclass by its full name."""
    classes = {}
    for info in pkgutil.walk_packages(ohmykube.__path__, "ohmykube."):
        if info.name.rpartition(".")[2] == "__main__":
            continue
        for name, one in vars(importlib.import_module(info.name)).items():
            own = inspect.isclass(one) and one.__module__ == info.name
            if own and "__dataclass_params__" in vars(one):
                classes[f"{info.name}.{name}"] = one
    return classes


def test_what_modules_offer_is_there() -> None:
    for info in pkgutil.walk_packages(ohmykube.__path__, "ohmykube."):
        if info.name.rpartition(".")[2] != "__main__":
            module = importlib.import_module(info.name)
            missing = [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)]
            assert missing == [], info.name


def test_values_never_change() -> None:
    changed = {name for name, one in found().items() if not one.__dataclass_params__.frozen}  # type: ignore[attr-defined]
    assert changed == set(CHANGED)


def test_values_have_no_other_attributes() -> None:
    """A name that is mistyped when it is set is an error."""
    assert {name for name, one in found().items() if "__slots__" not in vars(one)} == NO_SLOTS


def test_values_are_made_by_keyword() -> None:
    positional = {
        name
        for name, one in found().items()
        if name.startswith(BY_KEYWORD)
        and not name.rpartition(".")[2].startswith("_")
        and not all(field.kw_only for field in dataclasses.fields(one) if field.init)
    }
    assert positional == BY_PLACE
