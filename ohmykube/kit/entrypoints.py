"""Named plugins by entry-point group: listed without import, loaded on demand."""

from __future__ import annotations

from importlib import metadata

from ohmykube.errors import NotFoundError, PrerequisiteError


def names(group: str) -> tuple[str, ...]:
    """Return the sorted names registered in ``group``; imports no plugin."""
    return tuple(sorted({point.name for point in metadata.entry_points(group=group)}))


def load(group: str, name: str) -> object:
    """Import and return the object registered as ``name``.

    Raises:
        NotFoundError: no such plugin.
        PrerequisiteError: the plugin cannot be imported.
    """
    found = [point for point in metadata.entry_points(group=group) if point.name == name]
    if not found:
        known = ", ".join(names(group)) or "none"
        raise NotFoundError(
            f'no plugin "{name}" in {group}',
            why=f"installed: {known}",
            hint="name one of these, or install the package that brings it",
        )
    point = found[0]
    try:
        loaded: object = point.load()
    except (ImportError, AttributeError, SyntaxError) as error:
        source = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        raise PrerequisiteError(
            f'plugin "{name}" of {source} cannot be loaded',
            why=str(error),
            hint=f"pip install --force-reinstall {source.split()[0]}",
        ) from error
    return loaded
