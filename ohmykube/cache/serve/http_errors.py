"""The HTTP errors that a client gets when a registry does not deliver what it asked for."""

from __future__ import annotations

import logging
from http import HTTPStatus

from ohmykube.cache.serve.responses import NotServed
from ohmykube.cache.transport import StatusError
from ohmykube.errors import IntegrityError, NetworkError, OhmykubeError, ResourceError

log = logging.getLogger(__name__)

HERE = "the pull-through cache cannot ask for it; its log says why"
LOGIN = "OMK-I-242"
"""Error id of ``registry_client`` for a registry that wants another login."""
LATER_SECONDS = 60
"""After how long to ask a registry again that does not tell."""
_NO = frozenset({400, 404, 410})
_DENIED = frozenset({401, 403, 407})
_LOG = "the log of the pull-through cache says more"
_KINDS = (
    (
        IntegrityError,
        HTTPStatus.BAD_GATEWAY,
        "DIGEST_INVALID",
        f"what was sent does not have the digest it should have; {_LOG}",
    ),
    (
        NetworkError,
        HTTPStatus.BAD_GATEWAY,
        "UNAVAILABLE",
        f"where it comes from cannot be reached or does not answer as it should; {_LOG}",
    ),
    (
        ResourceError,
        HTTPStatus.INSUFFICIENT_STORAGE,
        "UNAVAILABLE",
        f"the pull-through cache has no room for it; {_LOG}",
    ),
)


def not_served(error: OhmykubeError, what: str, unknown: str) -> NotServed:
    """Return the answer for a fetch that failed.

    A registry's 401 becomes 403: a client would take 401 for ours and send it a login. Clients are
    told what a registry said to the request; why something failed here (addresses, proxies,
    certificates, paths) is for the log alone.

    Args:
        error: why it failed.
        what: the thing asked for, for the message.
        unknown: code of the registry API for "there is none".
    """
    if error.id == LOGIN:
        return NotServed(HTTPStatus.FORBIDDEN, "DENIED", f"{what}: {error.message}; {error.hint}")
    if isinstance(error, StatusError):
        told = f"{what}: where it comes from answers {error.status}"
        if error.status == HTTPStatus.TOO_MANY_REQUESTS:
            wait = int(error.retry_after) or LATER_SECONDS
            return NotServed(
                HTTPStatus.TOO_MANY_REQUESTS, "TOOMANYREQUESTS", told, retry_after=wait
            )
        if error.status in _NO:
            return NotServed(HTTPStatus.NOT_FOUND, unknown, told)
        if error.status in _DENIED:
            return NotServed(HTTPStatus.FORBIDDEN, "DENIED", told)
    log.warning("%s: %s (%s)", what, error.message, error.why)
    for kind, status, code, words in _KINDS:
        if isinstance(error, kind):
            return NotServed(status, code, f"{what}: {words}")
    return NotServed(HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE", f"{what}: {HERE}")


def allows_stale(error: OhmykubeError) -> bool:
    """Tell whether the registry did not really answer, so that what is here may stand in for it.

    A registry that says no (no such tag, no right to it) is not stood in for.
    """
    if isinstance(error, StatusError):
        return error.status == HTTPStatus.TOO_MANY_REQUESTS or error.status >= 500
    return isinstance(error, NetworkError) and error.id != LOGIN
