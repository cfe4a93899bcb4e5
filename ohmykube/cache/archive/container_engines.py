"""Images of docker, podman and nerdctl on this host: which has one, and ``save`` as a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ohmykube.errors import NotFoundError, PrerequisiteError
from ohmykube.kit import pipe, process

if TYPE_CHECKING:
    import io
    from collections.abc import Callable

PROGRAMS = ("docker", "podman", "nerdctl")
ASK_SECONDS = 30
SAVE_SECONDS = 3600
T = TypeVar("T")


def owner(image: str, programs: tuple[str, ...] = PROGRAMS) -> str:
    """Return the first of ``programs`` that has the image.

    Args:
        image: a name or an id, as these programs take it.
        programs: which to ask, in order.

    Raises:
        PrerequisiteError: none of them is installed, or none answers.
        NotFoundError: none of them has it.
    """
    said: dict[str, str] = {}
    silent: dict[str, str] = {}
    for program in programs:
        if process.which(program) is None:
            continue
        argv = [program, "image", "inspect", "--format", "{{.Id}}", image]
        try:
            found = process.run(argv, timeout=ASK_SECONDS, check=False)
        except process.CommandFailed as error:  # it did not end in time
            silent[program] = error.message
            continue
        if found.code == 0:
            return program
        words = process.tail(found.stderr, 1)
        answered = "o such image" in words or "not known" in words or "not found" in words
        (said if answered else silent)[program] = words
    if said:
        raise NotFoundError(
            f"no image {image} on this host",
            why=_told(said | silent),
            hint=f"{next(iter(said))} images",
            id="OMK-I-520",
        )
    raise PrerequisiteError(
        f"no container engine could be asked for the image {image}",
        why=_told(silent) or f"not installed: {', '.join(programs)}",
        hint="start it, or save the image on another host and load the archive",
        id="OMK-I-521",
    )


def save(program: str, image: str, take: Callable[[io.BufferedReader], T]) -> T:
    """Return what ``take`` makes of the archive that ``<program> save`` writes.

    Raises:
        NotFoundError: it could not be saved.
        Exception: whatever ``take`` raised.
    """
    try:
        return pipe.read([program, "save", image], take, timeout=SAVE_SECONDS)
    except process.CommandFailed as error:
        raise NotFoundError(
            f"{program} did not save the image {image}",
            why=error.why or error.message,
            hint=f"{program} save {image} > image.tar",
            id="OMK-I-522",
        ) from error


def _told(words: dict[str, str]) -> str:
    return "\n".join(f"{program}: {text}" for program, text in words.items())
