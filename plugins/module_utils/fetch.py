# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Fetch one file by URL, checked by its sum while it arrives.

Proxy variables are honoured, except for what is on this machine, and for a token that the proxy could read.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import ipaddress
import os
import socket
import time
import urllib.error
import urllib.parse
import urllib.request

CHUNK = 1 << 20
ALGORITHMS = ("sha256", "sha512")


class FetchError(Exception):
    """The file could not be had, or is not the one that was promised."""


class Fetcher:
    """Downloads with retries; the bearer token goes to URLs below ``scope`` only, never to a redirect."""

    def __init__(self, token="", scope="", attempts=4, timeout=60, pause=time.sleep):
        self._token = token
        self._scope = scope
        self._attempts = attempts
        self._timeout = timeout
        self._pause = pause
        # Not Ansible's open_url: it changes the opener of the whole process, and we run in threads.
        self._opener = urllib.request.build_opener(Proxies(), Https())

    def download(self, url, target, checksum):
        """Write the content of ``url`` to ``target``; raises FetchError unless ``checksum`` matches."""
        for attempt in range(1, self._attempts + 1):
            try:
                found = self._copy(url, target, checksum)
                break
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code not in (408, 429):
                    raise FetchError(
                        "%s: the server answers %d %s" % (url, error.code, error.reason)
                    ) from error
                self._again(attempt, url, error)
            except (OSError, http.client.HTTPException) as error:
                self._again(attempt, url, error)
        if checksum and found != checksum:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(target)
            raise FetchError("%s: wrong checksum, expected %s but got %s" % (url, checksum, found))

    def _again(self, attempt, url, error):
        if attempt >= self._attempts:
            reason = getattr(error, "reason", None) or error
            raise FetchError("%s: %s (tried %d times)" % (url, reason, attempt)) from error
        self._pause(0.3 * 3 ** (attempt - 1))

    def _copy(self, url, target, checksum):
        algorithm = checksum.partition(":")[0] if checksum else "sha256"
        if algorithm not in ALGORITHMS:
            raise FetchError("%s: unknown checksum algorithm %r" % (url, algorithm))
        digest = hashlib.new(algorithm)
        request = urllib.request.Request(url, headers={"User-Agent": "ohmykube"})
        if self._token and self._scope and in_scope(url, self._scope):
            request.add_unredirected_header("Authorization", "Bearer " + self._token)
        opened = self._opener.open(request, timeout=self._timeout)
        with opened as answer, open(target, "wb") as stream:
            for chunk in iter(lambda: answer.read(CHUNK), b""):
                digest.update(chunk)
                stream.write(chunk)
        return "%s:%s" % (algorithm, digest.hexdigest())


class Https(getattr(urllib.request, "HTTPSHandler", urllib.request.AbstractHTTPHandler)):
    """Reads the certificates of this machine, which takes longer than most files, for https alone."""

    def __init__(self):
        # Since Python 3.12 that of HTTPSHandler reads them, whatever is asked for.
        urllib.request.AbstractHTTPHandler.__init__(self)  # pylint: disable=non-parent-init-called

    def https_open(self, req):
        """Verify the server as by default: the connection makes the context for it."""
        return self.do_open(http.client.HTTPSConnection, req)


class Proxies(urllib.request.ProxyHandler):
    """The proxies of the environment, asked for each request, also after a redirect."""

    def proxy_open(self, req, proxy, type):  # noqa: A002 - the name in urllib
        """Return None for a request that goes straight to its server."""
        if is_loopback(req.host) or (type == "http" and req.has_header("Authorization")):
            return None
        return super().proxy_open(req, proxy, type)


def is_loopback(netloc):
    """Return True when a URL's ``[user@]host[:port]`` is this machine itself, in whatever notation."""
    host = (urllib.parse.urlsplit("//" + netloc).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # What else inet_aton reads: 127.1, 0x7f000001, 2130706433.
        try:
            address = ipaddress.ip_address(socket.inet_aton(host))
        except (OSError, ValueError):
            return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def in_scope(url, scope):
    """Return True when ``url`` has the scheme, host and port of ``scope`` and lies below its path."""
    one, other = urllib.parse.urlsplit(url), urllib.parse.urlsplit(scope)
    below = other.path.rstrip("/") + "/"
    return (one.scheme, one.netloc) == (other.scheme, other.netloc) and (one.path + "/").startswith(
        below
    )
