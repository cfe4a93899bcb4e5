"""HTTP as all downloads want it: short time limits, bounded retries and redirects, plain errors.

Proxies come from the environment (``HTTPS_PROXY``, ``HTTP_PROXY``, ``NO_PROXY``).
"""

from __future__ import annotations

import contextlib
import copy
import email.utils
import functools
import queue
import re
import threading
import time
import urllib.parse
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError

from ohmykube.cache import proxies
from ohmykube.errors import Interrupted, NetworkError, OhmykubeError
from ohmykube.kit import interrupt
from ohmykube.kit.retry import Clock, SystemClock
from ohmykube.model.registry import host_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from urllib3.response import BaseHTTPResponse

    from ohmykube.model.proxy import ProxyUrls

REDIRECTS = 5
PROBE_SECONDS = 5.0
CHUNK = 256 << 10
_MOVED = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_AGENT = "ohmykube"
_FORM = "application/x-www-form-urlencoded"
_TIMES = re.compile(r"expired|not yet valid").search


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds, and how often a request is sent at most."""

    connect: float = 5.0
    read: float = 30.0
    """Without a byte for so long, a transfer has stalled."""
    attempts: int = 4
    pause: float = 0.5
    """Before the second attempt; doubled each time."""
    longest: float = 60.0
    """A server that asks for a longer pause is given up."""


class StatusError(NetworkError):
    """The server answered, but not with what was asked for."""

    default_id = "OMK-I-232"
    status: int = 0
    retry_after: float = 0
    """Seconds that the server asked to wait; 0 when it did not."""


class BrokenTransfer(NetworkError):
    """The connection ended or stalled in the middle of a body."""

    default_id = "OMK-I-233"


def shown(url: str) -> str:
    """Return ``url`` without credentials and query (which may be a signature) for messages."""
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def hint(url: str) -> str:
    """Return the command that shows the user whether ``url`` can be reached."""
    return f"curl -fsSLI {shown(url)}  (behind a proxy set HTTPS_PROXY)"


class Transport:
    """Sends GET and HEAD, and POST where a form is to be sent; safe to use from several threads.

    Args:
        timing: how long things may take.
        clock: by which it waits.
        trust: certificates, in PEM, of authorities that are trusted beside the system's.
        proxy: what counts instead of the variables of this process.
        authorities: certificates that are trusted beside them for single hosts, by ``host[:port]``
            without a port that the scheme implies.
    """

    def __init__(
        self,
        timing: Timing | None = None,
        clock: Clock | None = None,
        *,
        trust: tuple[str, ...] = (),
        proxy: ProxyUrls | None = None,
        authorities: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self._proxy = proxy
        self._authorities = dict(authorities or {})
        self.timing = timing or Timing()
        self.clock = clock or SystemClock()
        self._pool = functools.cache(functools.partial(proxies.pool, trust=trust))

    @contextlib.contextmanager
    def open(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (),
        form: Mapping[str, str] | None = None,
    ) -> Iterator[BaseHTTPResponse]:
        """Give a response with status 200 or one of ``accept``, its body still unread.

        A ``form`` is sent with POST, whatever ``method`` says, and goes to no other host.
        Redirects are followed, but never from https to http, and credentials stay with the host
        they were given for. What may pass (429, 5xx, a refused connection) is tried again.

        Raises:
            NetworkError: the server cannot be reached, or redirects without end.
            StatusError: another status.
        """
        request = _Request(method, dict(headers or {}))
        if form is not None:
            request = _Request("POST", {**request.headers, "Content-Type": _FORM}, dict(form))
        response = self._ask(url, request, {200, *accept})
        try:
            yield response
        finally:
            response.close()

    def small(
        self,
        url: str,
        *,
        limit: int,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return a whole body of at most ``limit`` bytes; raises as ``open``."""
        for left in reversed(range(self.timing.attempts)):
            try:
                with self.open(url, headers=headers, form=form) as response:
                    return whole(response, url, limit)
            except BrokenTransfer:
                if not left:
                    raise
                self.clock.sleep(self.timing.pause)
        raise AssertionError("the loop returns or raises")  # pragma: no cover

    def probe(self, url: str, seconds: float = PROBE_SECONDS) -> None:
        """Return when the server behind ``url`` answers at all.

        Raises:
            NetworkError: it does not within ``seconds``; says why.
        """
        answer: queue.SimpleQueue[OhmykubeError | Interrupted | None] = queue.SimpleQueue()
        quick = copy.copy(self)
        quick.timing = replace(self.timing, connect=seconds, read=seconds, attempts=1)

        def ask() -> None:
            try:
                with quick.open(url, method="HEAD"):
                    answer.put(None)
            except StatusError as error:
                answer.put(error if error.status >= 500 else None)
            except (OhmykubeError, Interrupted) as error:
                answer.put(error)

        # A thread, because looking up a name has no time limit of its own.
        threading.Thread(target=ask, name="probe", daemon=True).start()
        end = time.monotonic() + seconds
        while True:
            interrupt.check()
            try:
                failure = answer.get(timeout=0.1)
            except queue.Empty:
                if time.monotonic() > end:
                    raise unreachable(url, f"no answer within {seconds:g} s") from None
            else:
                break
        if failure is not None:
            raise failure

    def _ask(self, url: str, request: _Request, accept: set[int]) -> BaseHTTPResponse:
        timing = self.timing
        for attempt in range(1, timing.attempts + 1):
            interrupt.check()
            pause = timing.pause * 2 ** (attempt - 1)
            try:
                response, final = self._follow(url, request)
            except _Unreachable as error:
                if attempt == timing.attempts or not error.passing:
                    raise unreachable(url, error.reason) from error
            else:
                if response.status in accept:
                    return response
                wanted = _retry_after(response)
                response.close()
                pause = max(pause, wanted)
                last = attempt == timing.attempts or pause > timing.longest
                if response.status not in _PASSING or last:
                    raise _status_error(final, response.status, wanted)
            self.clock.sleep(pause)
        raise AssertionError("the loop returns or raises")  # pragma: no cover

    def _follow(self, url: str, request: _Request) -> tuple[BaseHTTPResponse, str]:
        current, sent = url, dict(request.headers)
        for _ in range(REDIRECTS + 1):
            response = self._send(current, request.method, sent, request.form)
            if response.status not in _MOVED:
                return response, current
            location = response.headers.get("Location", "")
            response.close()
            here = urllib.parse.urlsplit(current)
            try:
                target = urllib.parse.urljoin(current, location)
                there = urllib.parse.urlsplit(target)
            except ValueError as error:  # such as http://[
                raise _redirect_error(url, f"{shown(current)} redirects to {location!r}") from error
            if there.scheme not in ("http", "https") or (here.scheme, there.scheme) == (
                "https",
                "http",
            ):
                raise _redirect_error(url, f"{shown(current)} redirects to {shown(target)}")
            if (here.scheme, here.netloc) != (there.scheme, there.netloc):
                if request.form is not None:
                    raise _redirect_error(url, f"a form does not follow to {shown(target)}")
                sent.pop("Authorization", None)
            current = target
        raise _redirect_error(url, f"more than {REDIRECTS} redirects, the last to {shown(current)}")

    def _send(
        self,
        url: str,
        method: str,
        headers: Mapping[str, str],
        form: Mapping[str, str] | None = None,
    ) -> BaseHTTPResponse:
        parts = urllib.parse.urlsplit(url)
        netloc = parts.netloc.rpartition("@")[2]
        all_headers = {"User-Agent": _AGENT, "Accept-Encoding": "identity", **headers}
        if basic := proxies.basic_of(parts):
            all_headers = {"Authorization": basic, **all_headers}
        try:
            address = parts._replace(netloc=netloc, fragment="").geturl()
            own = self._authorities.get(host_of(address), ())
            return self._pool(proxies.proxy_for(parts, self._proxy), own).request(
                method,
                address,
                headers=all_headers,
                body=None if form is None else urllib.parse.urlencode(form),
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=self.timing.connect, read=self.timing.read),
            )
        except HTTPError as error:
            passing = not isinstance(error, LocationParseError)
            raise _Unreachable(_plain(error), passing=passing) from error
        except (ValueError, UnicodeError) as error:  # a host that is no host
            raise _Unreachable(str(error), passing=False) from error


def chunks(response: BaseHTTPResponse, url: str) -> Iterator[bytes]:
    """Give the body in pieces as they come.

    Raises:
        BrokenTransfer: it ended early or stalled.
        Interrupted: a stop was asked for.
    """
    try:
        # read1, not stream: what arrived before a break is given out, so it need not come again.
        while chunk := response.read1(CHUNK, decode_content=False):
            interrupt.check()
            yield chunk
    except (HTTPError, OSError) as error:
        raise BrokenTransfer(
            f"the download of {shown(url)} broke off", why=_plain(error), hint=hint(url)
        ) from error


def whole(response: BaseHTTPResponse, url: str, limit: int) -> bytes:
    """Return the body of a small document of at most ``limit`` bytes.

    Raises:
        NetworkError: it is larger, or in an encoding that was not asked for.
        BrokenTransfer, Interrupted: as ``chunks``.
    """
    if (unasked := encoding(response)) != "identity":
        raise NetworkError(
            f"{shown(url)} comes in an encoding that was not asked for",
            why=f"the server, or something before it, sent Content-Encoding: {unasked}",
            hint=hint(url),
            id="OMK-I-701",
        )
    data = b""
    for chunk in chunks(response, url):
        data += chunk
        if len(data) > limit:
            too_large(url, limit)
    return data


def encoding(response: BaseHTTPResponse) -> str:
    """Return the encoding of a body; we always ask for ``identity``."""
    return response.headers.get("Content-Encoding", "").strip().lower() or "identity"


def too_large(url: str, limit: int) -> NoReturn:
    """Raise the error for a body beyond its limit in bytes."""
    raise NetworkError(
        f"{shown(url)} is larger than it can be",
        why=f"more than {limit} bytes",
        hint=hint(url),
        id="OMK-I-235",
    )


def unreachable(url: str, why: str) -> NetworkError:
    """Return the error for a server that does not answer."""
    host = urllib.parse.urlsplit(shown(url)).netloc
    # A certificate that is too young or too old is as often the fault of the clock of this host.
    next_ = "date  (is that the time?)" if "certificate" in why and _TIMES(why) else hint(url)
    return NetworkError(f"{host} cannot be reached", why=why, hint=next_, id="OMK-I-231")


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    headers: dict[str, str]
    form: dict[str, str] | None = None


class _Unreachable(Exception):
    def __init__(self, reason: str, *, passing: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.passing = passing


def _redirect_error(url: str, why: str) -> NetworkError:
    return NetworkError(
        f"{shown(url)} redirects to where we do not follow", why=why, hint=hint(url), id="OMK-I-234"
    )


def _status_error(url: str, status: int, retry_after: float) -> StatusError:
    why, next_ = f"the server answered {status}", hint(url)
    if status == 429:
        why += ": it limits how often one may ask"
        host = urllib.parse.urlsplit(shown(url)).netloc
        next_ = f"wait some minutes, or ask as somebody: docker login {host}"
    error = StatusError(f"{shown(url)} cannot be fetched", why=why, hint=next_)
    error.status = status
    error.retry_after = retry_after
    return error


def _plain(error: BaseException) -> str:
    """Return the reason without the object reprs that urllib3 puts before it."""
    reason: BaseException = error
    while isinstance(inner := getattr(reason, "original_error", reason.__cause__), BaseException):
        reason = inner
    text = str(reason) or type(reason).__name__
    return text.rpartition(">: ")[2].rpartition("): ")[2] or text


def _retry_after(response: BaseHTTPResponse) -> float:
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text[:9])
    with contextlib.suppress(ValueError, TypeError):
        until = email.utils.parsedate_to_datetime(text).timestamp()
        now = time.time()
        with contextlib.suppress(ValueError, TypeError):
            # The server's own clock, where it tells: ours may be wrong, or have jumped.
            now = email.utils.parsedate_to_datetime(response.headers["Date"]).timestamp()
        return max(0.0, until - now)
    return 0.0
