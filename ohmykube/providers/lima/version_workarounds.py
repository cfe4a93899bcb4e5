"""limactl's faults by version: one table, so that no other module compares versions."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

_NUMBERS = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:-(alpha|beta|rc)\b)?")


@dataclass(frozen=True, slots=True)
class Version:
    """A version of limactl: ``2.0.3``, ``v2.2.0-rc.1``, ``2.2.0-153-g183a60d`` or a bare commit."""

    text: str
    numbers: tuple[int, int, int] | None = None
    """None when the text holds no numbers (a build from a bare commit)."""

    @classmethod
    def parse(cls, text: str) -> Version:
        """Understand what limactl calls its version; a pre-release counts as the one before it."""
        text = text.strip()
        found = _NUMBERS.fullmatch(text) or _NUMBERS.match(text)
        if found is None:
            return cls(text.removeprefix("v"))
        major, minor, patch = (int(part) for part in found.groups()[:3])
        if found[4]:
            # Smaller than the release and larger than all before it.
            patch -= 1
        return cls(text.removeprefix("v"), (major, minor, patch))

    def at_least(self, major: int, minor: int, patch: int = 0) -> bool:
        """Tell whether it is that version or newer; an unknown one is taken for neither."""
        return self.numbers is not None and self.numbers >= (major, minor, patch)

    def __str__(self) -> str:
        return self.text


MINIMUM = (2, 0, 0)
"""The oldest limactl that this provider works with."""


class Quirk(enum.Enum):
    """A behaviour to work around; the value is the first version where it is gone, or None.

    Seen on 2.0.3; the versions are the first stable ones that hold the change.
    """

    ROOT_PANICS = ("as root it panics with code 2 where newer ones say so with code 1", (2, 1, 0))
    SHELL_ON_STOPPED_SUCCEEDS = ("`shell` on a stopped instance ends silently with 0", (2, 1, 0))
    CLONE_BACKED_BY_ORIGINAL = ("a clone's disk needs the files of its original", (2, 1, 0))
    PORT_HIDDEN_WHEN_STOPPED = ("the ssh port of a stopped instance is not listed", (2, 1, 0))
    HALF_MADE_BREAKS_LIST = ("one directory without lima.yaml makes `list` fail", (2, 2, 0))
    FAILED_CREATE_LEAVES_DIRECTORY = ("a failed `create` leaves its directory", (2, 2, 0))
    NETWORKS_LISTED_WITHOUT_NAME = ("`network list --json` has no names", (2, 2, 0))
    DIGESTLESS_NEEDS_SERVER = (
        "what was downloaded without a digest is of no use while its server is away",
        (2, 2, 0),
    )
    STARTING_ABSENT_CREATES = ("`start` of an absent instance makes a default one", None)
    FIRST_KEY_RACES = ("the first calls at once fight about the ssh key", None)
    START_OUTLIVES_TIMEOUT = ("`start` may hang for ever when its network ends meanwhile", None)
    TIMEOUT_LEAVES_RUNNING = ("`start` gives up and leaves the machine running", None)
    USER_V2_MAC_IS_ANOTHER = ("the listed MAC of a user-v2 network is not the card's", None)
    ERRORS_ARE_EMPTY = ("`errors` of a listed instance is there but has no text", None)
    DISK_FORMAT_IGNORED = ("`disk create --format raw` makes a qcow2 file", None)
    SKIPPING_SUCCEEDS = ("`disk delete` of a referenced disk does nothing and ends with 0", None)
    FINISHED_WORK_FAILS = (
        "`stop` and `delete` do their work and then fail",
        (2, 2, 0),
    )
    STOP_TAKES_ONE = ("`stop` takes one instance", None)

    def __init__(self, what: str, gone: tuple[int, int, int] | None) -> None:
        self.what = what
        self.gone = gone

    def of(self, version: Version) -> bool:
        """Tell whether this version has it; an unknown one is taken to have all of them."""
        return self.gone is None or not version.at_least(*self.gone)
