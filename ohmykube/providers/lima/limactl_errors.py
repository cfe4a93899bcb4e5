"""limactl's errors: nearly all have exit code 1, so its messages decide.

The texts were seen on 2.0.3 (the contract suite asks the real program for each that needs no
boot); 2.1.4 and newer put names in backquotes. What is not recognized stays a plain failure with
everything that limactl said as its cause.
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING

from ohmykube.errors import OhmykubeError, PrerequisiteError, ProviderError, ResourceError
from ohmykube.kit.process import tail
from ohmykube.providers.lima.limactl_output import log_entries

if TYPE_CHECKING:
    from ohmykube.kit.process import Result


class Reason(enum.Enum):
    """Why limactl failed: a pattern of its message, and what to type next."""

    EXISTS = (r"(instance|network|disk) \S+ already exists", "limactl list")
    ABSENT = (
        r"(instance|disk) \S+ (not found|does not exist)|/lima\.yaml: no such file",
        "limactl list",
    )
    HALF_MADE = (
        r"unable to load instance|directory \S+ exists but its",
        "ls $LIMA_HOME  (which directory has no lima.yaml?)",
    )
    NOT_RUNNING = (r"expected status \SRunning\S, got", "limactl list")
    STILL_RUNNING = (
        r"expected status \SStopped\S, got|cannot (edit|clone|rename) a running instance",
        "stop the machine first",
    )
    PROTECTED = (r"instance is protected", "limactl unprotect NAME")
    BAD_NAME = (r"is not a valid identifier|identifier .* must match", "")
    TOO_LONG = (r"must be less than UNIX_PATH_MAX", "use a shorter home for Lima")
    SHRINK = (r"shrinking the disk|less than the current disk size", "a disk can only grow")
    IN_USE = (r"(in use by|used by running) instance", "limactl disk list")
    KEY_RACE = (r"ssh-keygen|failed to read ssh public key", "run the same command again")
    DIGEST = (r"expected digest", "check the digest of the image")
    DOWNLOAD = (r"failed to download", "check the location of the image and its digest")
    NOT_READY = (r"did not receive an event with the \Srunning\S status|degraded, status", "")
    NETWORK_DEAD = (r"failed to stop usernet", "ohmykube start  (restarts the network)")
    """What was asked for is done; the network daemon is there in name only."""
    AGENT_DIED = (
        r"host agent process has exited|exiting, status=",
        "look into ha.stderr.log of the instance",
    )
    BAD_TEMPLATE = (
        r"failed to (validate|unmarshal)|the YAML is invalid|field `|network \S+ is not defined",
        "",
    )
    HUNG = ("", "run the same command again")
    """It did not end in the time it has; its process group was ended."""
    UNREADABLE = ("", "limactl --version  (2.0 to 2.2 are known to work)")
    """It answered something of another shape."""
    OTHER = ("", "")

    def __init__(self, pattern: str, hint: str) -> None:
        self.pattern = pattern
        self.hint = hint


class LimactlError(ProviderError):
    """limactl refused or failed; ``reason`` is what its words mean, ``code`` its exit code."""

    default_id = "OMK-P-410"

    def __init__(
        self,
        message: str,
        *,
        reason: Reason = Reason.OTHER,
        code: int = 1,
        why: str | None = None,
        hint: str | None = None,
        id: str | None = None,
    ) -> None:
        super().__init__(message, why=why, hint=hint or reason.hint or None, id=id)
        self.reason = reason
        self.code = code


def reason_of(words: str) -> Reason:
    """Return what the last words of limactl mean."""
    # The order matters: what is said of a directory contains what is said of an instance.
    order = [Reason.HALF_MADE, *(one for one in Reason if one is not Reason.HALF_MADE)]
    for reason in order:
        if reason.pattern and re.search(reason.pattern, words):
            return reason
    return Reason.OTHER


def message_of(result: Result) -> str:
    """Return the errors that limactl logged, or all that it said."""
    entries = log_entries(result.stderr)
    told = [f"{e.message}\n{e.detail}".strip() for e in entries if e.level in ("error", "fatal")]
    said = told or [entry.message for entry in entries]
    return "\n".join(said) or result.stdout


def _shortened(said: str) -> str:
    # The first line says it; the end is what the program below said, such as a place in a file.
    first, _, rest = said.strip().partition("\n")
    return f"{first}\n{tail(rest)}".strip()


def failure(doing: str, result: Result, *, timed_out: bool) -> OhmykubeError:
    """Return the error for a call that ended badly.

    Args:
        doing: the verb and its object, such as ``create the instance a-cp-1``.
        result: what it left.
        timed_out: it was ended by us.
    """
    said = message_of(result)
    words = _shortened(said)
    if re.search(r"must not run as the root|as root is not", result.stderr):
        return PrerequisiteError(
            "Lima refuses to work for root",
            why=words,
            hint="run ohmykube as an ordinary user",
            id="OMK-P-401",
        )
    if re.search(r"no space left on device|[Dd]isk quota exceeded", result.stderr):
        return ResourceError(
            f"no space left to {doing}",
            why=words,
            hint="free some space, then run the same command again",
            id="OMK-P-413",
        )
    if timed_out:
        return LimactlError(
            f"limactl hung and could not {doing}",
            reason=Reason.HUNG,
            code=result.code,
            why=words or None,
            id="OMK-P-412",
        )
    return LimactlError(
        f"limactl could not {doing}",
        reason=reason_of(said),
        code=result.code,
        why=words or "it said nothing" if result.code > 0 else f"it was killed\n{words}".strip(),
    )
