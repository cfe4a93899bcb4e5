"""``spec.provider.options`` of this provider."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.errors import ConfigError
from ohmykube.providers.nspawn.base_image import Recipe

if TYPE_CHECKING:
    from ohmykube.providers.base import ProviderContext

OPTIONS = ("suite", "mirror")
"""Debian release of the nodes, and the Debian mirror their base is built from."""


def _meant(key: str) -> str:
    near = difflib.get_close_matches(key, OPTIONS, 1)
    return f"; did you mean {near[0]}?" if near else f" (known: {', '.join(OPTIONS)})"


def recipe(context: ProviderContext) -> Recipe:
    """Return how the base image is made; raises ConfigError for options that are wrong."""
    options = dict(context.cluster.provider_options) if context.cluster else {}
    problems = [
        f"spec.provider.options.{key}: unknown option of provider nspawn{_meant(key)}"
        for key in sorted(options)
        if key not in OPTIONS
    ]
    problems += [
        f"spec.provider.options.{key}: a text is needed, not {value!r}"
        for key, value in options.items()
        if key in OPTIONS and not (isinstance(value, str) and value and value.isprintable())
    ]
    if problems:
        raise ConfigError(
            "the options of provider nspawn are wrong",
            problems=tuple(problems),
            hint="ohmykube config validate",
            id="OMK-C-195",
        )
    usual = Recipe()
    return replace(
        usual,
        suite=options.get("suite", usual.suite),
        mirror=options.get("mirror", usual.mirror),
    )
