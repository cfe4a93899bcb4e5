"""What a client is told when a registry does not give what it asked for."""

from __future__ import annotations

import logging
from http import HTTPStatus

from ohmykube.cache.serve.content import Refused
from ohmykube.cache.transport import StatusError
from ohmykube.errors import IntegrityError, NetworkError, OhmykubeError, ResourceError

log = logging.getLogger(__name__)

HERE = "the mirror cannot ask for it; its log says why"
LOGIN = "OMK-I-242"
"""Error id of ``registry_client`` for a registry that wants another login."""
LATER_SECONDS = 60
"""After how long to ask a registry again that does not tell."""
_NO = frozenset({400, 404, 410})
_DENIED = frozenset({401, 403, 407})
_KINDS = (
    (IntegrityError, HTTPStatus.BAD_GATEWAY, "DIGEST_INVALID"),
    (NetworkError, HTTPStatus.BAD_GATEWAY, "UNAVAILABLE"),
    (ResourceError, HTTPStatus.INSUFFICIENT_STORAGE, "UNAVAILABLE"),
)


def refused(error: OhmykubeError, what: str, unknown: str) -> Refused:
    """Return the answer for a fetch that failed.

    A registry's 401 becomes 403: a client would take 401 for ours and send it a login.

    Args:
        error: why it failed.
        what: the thing asked for, for the message.
        unknown: code of the registry API for "there is none".
    """
    told = f"{what}: {error.message}" + (f" ({error.why})" if error.why else "")
    if isinstance(error, StatusError) and error.status == HTTPStatus.TOO_MANY_REQUESTS:
        wait = int(error.retry_after) or LATER_SECONDS
        return Refused(HTTPStatus.TOO_MANY_REQUESTS, "TOOMANYREQUESTS", told, retry_after=wait)
    if isinstance(error, StatusError) and error.status in _NO:
        return Refused(HTTPStatus.NOT_FOUND, unknown, told)
    if error.id == LOGIN or (isinstance(error, StatusError) and error.status in _DENIED):
        return Refused(HTTPStatus.FORBIDDEN, "DENIED", f"{told}; {error.hint}")
    for kind, status, code in _KINDS:
        if isinstance(error, kind):
            return Refused(status, code, told)
    # Something of this host, whose words, such as a credential helper's, are not for clients.
    log.warning("%s", told)
    return Refused(HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE", f"{what}: {HERE}")


def may_pass(error: OhmykubeError) -> bool:
    """Tell whether the registry did not really answer, so that what is here may stand in for it.

    A registry that says no (no such tag, no right to it) is not stood in for.
    """
    if isinstance(error, StatusError):
        return error.status == HTTPStatus.TOO_MANY_REQUESTS or error.status >= 500
    return isinstance(error, NetworkError) and error.id != LOGIN
