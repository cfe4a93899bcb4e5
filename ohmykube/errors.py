"""The base error, the exit-code table and the classes every layer may raise.

An error says what happened, why, and the next command to type. Nothing here prints or exits;
``cli`` renders an error once and turns it into an exit code.

    OhmykubeError
    +-- UsageError            2   wrong options
    +-- ConfigError           3   cluster.yaml is wrong
    +-- LockedError           5   another run holds the cluster, or a name, port or path is taken
    +-- NotFoundError         6   no such cluster or node
    +-- PrerequisiteError     7   something is missing on the host
    +-- ResourceError         8   disk, memory
    +-- PermissionDenied      9   local rights
    +-- NetworkError         11   a source cannot be reached
    +-- IntegrityError       12   digest, signature or state does not match
    +-- ProviderError        13   a machine could not be made or changed
    +-- UnreachableError     14   ssh
    +-- NodeError            15   a step failed on a node
    +-- ClusterError         16   the cluster is not healthy
    +-- TimeoutExceeded      18   a deadline passed

    Interrupted             130   Ctrl-C or SIGTERM; what handles errors does not catch it

Subclasses in other packages pick one of these as their base, so an exit code stays one per class.
"""

from __future__ import annotations

import enum
from typing import Any, ClassVar


class ExitCode(enum.IntEnum):
    """What the process returns, one number for each class of failure."""

    OK = 0
    BUG = 1
    USAGE = 2
    CONFIG = 3
    CHANGES = 4
    LOCKED = 5
    NOT_FOUND = 6
    PREREQUISITE = 7
    RESOURCE = 8
    PERMISSION = 9
    NETWORK = 11
    INTEGRITY = 12
    PROVIDER = 13
    UNREACHABLE = 14
    NODE = 15
    CLUSTER = 16
    TIMEOUT = 18
    INTERRUPTED = 130
    TERMINATED = 143


class Explained(BaseException):
    """What, why and what next: the parts that are shown to the user.

    Args:
        message: what happened, one line, no final full stop.
        why: the cause, as far as it is known; may have several lines (output of a failed command).
        hint: the next command to type, or the change to make.
        id: stable id such as ``OMK-C-101``; defaults to the class's ``default_id``.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.BUG
    default_id: ClassVar[str] = "OMK-Z-001"

    def __init__(
        self,
        message: str,
        *,
        why: str | None = None,
        hint: str | None = None,
        id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.why = why
        self.hint = hint
        self.id = id or self.default_id

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses may compose the message in __init__: rebuild from the finished parts, then give
        # back whatever else they keep.
        parts = (type(self), self.message, self.why, self.hint, self.id)
        return (_rebuild, parts, self.__dict__.copy())


def _rebuild(
    cls: type[Explained], message: str, why: str | None, hint: str | None, id: str
) -> Explained:
    error = cls.__new__(cls)
    Explained.__init__(error, message, why=why, hint=hint, id=id)
    return error


class OhmykubeError(Explained, Exception):
    """Base of all errors of this package."""


class Interrupted(Explained):
    """The user or the system asked us to stop.

    Like KeyboardInterrupt it is no ``Exception``: who handles an error to give an answer without
    it must not take a stop for one.
    """

    exit_code = ExitCode.INTERRUPTED
    default_id = "OMK-U-130"


class UsageError(OhmykubeError):
    """Options that cannot be understood or do not go together."""

    exit_code = ExitCode.USAGE
    default_id = "OMK-U-001"


class ConfigError(OhmykubeError):
    """The cluster file is wrong; ``problems`` lists all of them, one line each.

    ``why`` may show fewer of them; without it all are shown.
    """

    exit_code = ExitCode.CONFIG
    default_id = "OMK-C-001"
    problems: tuple[str, ...] = ()
    shows_all: bool = False
    """Whether all are shown, and the whole hint, however long they are."""
    hint_to_all: str = ""
    """The hint where all are shown, if it is another one."""

    def __init__(
        self,
        message: str,
        *,
        problems: tuple[str, ...] = (),
        why: str | None = None,
        hint: str | None = None,
        id: str | None = None,
    ) -> None:
        super().__init__(message, why=why or "\n".join(problems) or None, hint=hint, id=id)
        self.problems = problems


class LockedError(OhmykubeError):
    """Somebody else holds the cluster, or a name, port or path is taken."""

    exit_code = ExitCode.LOCKED
    default_id = "OMK-H-005"


class NotFoundError(OhmykubeError):
    """No such cluster, node or artifact."""

    exit_code = ExitCode.NOT_FOUND
    default_id = "OMK-U-006"


class PrerequisiteError(OhmykubeError):
    """A program, a privilege or a kernel feature is missing on the host."""

    exit_code = ExitCode.PREREQUISITE
    default_id = "OMK-H-007"


class ResourceError(OhmykubeError):
    """Not enough disk or memory."""

    exit_code = ExitCode.RESOURCE
    default_id = "OMK-H-008"


class PermissionDenied(OhmykubeError):
    """A local file or operation is not allowed to this user."""

    exit_code = ExitCode.PERMISSION
    default_id = "OMK-H-009"


class NetworkError(OhmykubeError):
    """A source of artifacts cannot be reached or answers nonsense."""

    exit_code = ExitCode.NETWORK
    default_id = "OMK-I-011"


class IntegrityError(OhmykubeError):
    """A digest, a signature or a state file does not match what it should be."""

    exit_code = ExitCode.INTEGRITY
    default_id = "OMK-I-012"


class ProviderError(OhmykubeError):
    """A machine could not be made, changed or removed."""

    exit_code = ExitCode.PROVIDER
    default_id = "OMK-P-013"


class UnreachableError(OhmykubeError):
    """A machine does not answer on ssh, or not as it should."""

    exit_code = ExitCode.UNREACHABLE
    default_id = "OMK-V-014"


class NodeError(OhmykubeError):
    """A step failed on a node."""

    exit_code = ExitCode.NODE
    default_id = "OMK-N-015"


class ClusterError(OhmykubeError):
    """Kubernetes is there but not healthy."""

    exit_code = ExitCode.CLUSTER
    default_id = "OMK-K-016"


class TimeoutExceeded(OhmykubeError):
    """A deadline passed."""

    exit_code = ExitCode.TIMEOUT
    default_id = "OMK-K-018"
