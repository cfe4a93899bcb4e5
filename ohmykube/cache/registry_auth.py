"""How a registry is asked as somebody: the docker configuration, its helpers, tokens.

The configuration is that of ``docker login`` (``$DOCKER_CONFIG`` or ``~/.docker/config.json``):
``credHelpers`` and ``credsStore`` name programs that keep the secrets, ``auths`` holds them itself.
What is read here is sent to the registry it was kept for, or to the token service that registry
names, and is never written anywhere.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import re
import threading
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ohmykube.cache.transport import StatusError
from ohmykube.errors import NetworkError, PrerequisiteError
from ohmykube.kit import files, paths, process
from ohmykube.model import docker_hub
from ohmykube.model.registry import host_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ohmykube.cache.registry_client import Repository
    from ohmykube.cache.transport import Transport

HELPER_SECONDS = 20.0
"""A helper may have to ask the user's key ring."""
LARGEST_CONFIG = 4 << 20
"""Bytes of docker's configuration; thousands of logins have less."""
_TOKEN_BYTES = 1 << 20
_PARAMETER = re.compile(r'([a-z]+)="([^"]*)"')
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_IDENTITY_USER = "<token>"
"""What helpers give as the name of a user who has an identity token instead of a password."""
_UNKNOWN = "credentials not found"
"""What a helper says that has nothing for a host; nothing else counts as that."""


class RefusedLogin(NetworkError):
    """A registry wants a login that there is not, or another one."""

    default_id = "OMK-I-242"


@dataclass(frozen=True, slots=True)
class Login:
    """Who to be at one registry: a name and its secret, or an identity token."""

    username: str = ""
    secret: str = ""
    identity_token: str = ""

    @property
    def basic(self) -> str:
        """The Basic header, empty for an identity token."""
        if self.identity_token or not self.username:
            return ""
        pair = f"{self.username}:{self.secret}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


def docker_config() -> Path:
    """Return where docker keeps its logins."""
    chosen = os.environ.get("DOCKER_CONFIG")
    home = Path(chosen) if chosen else paths.home_of(os.environ) / ".docker"
    return home / "config.json"


def login(config: Path, host: str) -> Login | None:
    """Return what ``docker login`` left for ``host`` (with a port, where it has one), or None.

    Raises:
        PrerequisiteError: the program that keeps the secret is missing or does not work.
    """
    document: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(files.read_at_most(config, LARGEST_CONFIG))
        document = found if isinstance(found, dict) else {}
    helpers = _mapping(document, "credHelpers")
    own = [(helpers[name], name) for name in _names(host) if helpers.get(name)]
    for helper, name in own or [(document.get("credsStore"), name) for name in _names(host)]:
        if isinstance(helper, str) and helper and (kept := _from_helper(helper, name)):
            return kept
    logins = _mapping(document, "auths")
    for name in _names(host):
        if kept := _from_entry(_mapping(logins, name)):
            return kept
    return None


def _mapping(document: dict[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _names(host: str) -> Iterator[str]:
    if host == docker_hub.HOST:
        yield docker_hub.LOGIN
    yield from (host, f"https://{host}", f"https://{host}/v1/", f"https://{host}/v2/")


def _from_entry(entry: dict[str, Any]) -> Login | None:
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return Login(identity_token=token)
    username, secret = entry.get("username"), entry.get("password")
    with contextlib.suppress(binascii.Error, ValueError, TypeError):
        pair = base64.b64decode(entry.get("auth") or "", validate=True).decode()
        if ":" in pair:
            username, _, secret = pair.partition(":")
    if isinstance(username, str) and username and isinstance(secret, str):
        return Login(username, secret)
    return None


def _from_helper(helper: str, server: str) -> Login | None:
    program = f"docker-credential-{helper}"
    if _HELPER.fullmatch(helper) is None or process.which(program) is None:
        raise PrerequisiteError(
            f"the program that keeps the registry logins is not there: {program}",
            why="the docker configuration names it in credsStore or credHelpers",
            hint=f"install {program}, or remove it from {docker_config()}",
            id="OMK-I-702",
        )
    try:
        done = process.run([program, "get"], timeout=HELPER_SECONDS, input=server)
        answer = json.loads(done.stdout)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except process.CommandFailed as error:
        said = f"{error.result.stdout}\n{error.result.stderr}"
        if _UNKNOWN in said:
            return None
        raise _helper_error(program, server, process.tail(said) or error.message) from error
    except (ValueError, KeyError, TypeError) as error:
        # Not what it said: that may be the secret.
        raise _helper_error(program, server, "its answer cannot be understood") from error
    if username == _IDENTITY_USER:
        return Login(identity_token=secret)
    return Login(username, secret)


def _helper_error(program: str, server: str, why: str) -> PrerequisiteError:
    return PrerequisiteError(
        f"`{program}` does not give the login for {server}",
        why=why,
        hint=f"echo {server} | {program} get  (it prints the secret)",
        id="OMK-I-702",
    )


class Authorizer:
    """The ``Authorization`` header of each repository; safe to use from several threads."""

    def __init__(
        self,
        transport: Transport,
        config: Path | None = None,
        logins: Mapping[str, Login] | None = None,
    ) -> None:
        """Look for logins.

        Args:
            transport: asks token services.
            config: docker's configuration; by default that of the user.
            logins: by ``host[:port]``, in the place of what the configuration has for these.
        """
        self._transport = transport
        self._logins = dict(logins or {})
        self._config = config or docker_config()
        self._guard = threading.Lock()
        self._renewing: dict[Repository, threading.Lock] = {}
        self._headers: dict[Repository, str] = {}

    def header(self, repository: Repository) -> str | None:
        """Return the header that worked last, or None."""
        return self._headers.get(repository)

    def renew(self, repository: Repository, challenge: str, stale: str | None) -> None:
        """Learn the header for a repository, once for all threads that were refused.

        Args:
            repository: which refused a request.
            challenge: what it said in ``WWW-Authenticate``.
            stale: the header that it refused.

        Raises:
            RefusedLogin: it gives none.
            NetworkError: its token service cannot be reached.
        """
        # One lock for each: a token service that does not answer holds up its own clients alone.
        with self._guard:
            renewing = self._renewing.setdefault(repository, threading.Lock())
        with renewing:
            if self._headers.get(repository) not in (None, stale):
                return
            kept, problem = None, ""
            try:
                kept = self._login(repository)
            except PrerequisiteError as error:
                # Public images need no login: said only when the registry refuses without one.
                problem = f"; {error.message}: {error.why}"
            scheme = challenge.partition(" ")[0].lower()
            try:
                if scheme == "bearer":
                    self._headers[repository] = self._token(repository, challenge, kept)
                elif scheme == "basic" and kept is not None and kept.basic:
                    self._headers[repository] = kept.basic
                else:
                    raise login_error(repository, "it wants a login and there is none")
            except RefusedLogin as error:
                raise login_error(repository, f"{error.why}{problem}") from error

    def _login(self, repository: Repository) -> Login | None:
        if described := self._logins.get(host_of(repository.endpoint)):
            return described
        return login(self._config, urllib.parse.urlsplit(repository.endpoint).netloc)

    def _token(self, repository: Repository, challenge: str, kept: Login | None) -> str:
        fields = dict(_PARAMETER.findall(challenge))
        realm = fields.get("realm", "")
        if realm.partition("://")[0] not in {"https", repository.endpoint.partition("://")[0]}:
            raise login_error(repository, f"its tokens come from {realm or 'nowhere'}")
        query = {
            "service": fields.get("service", ""),
            "scope": fields.get("scope") or f"repository:{repository.name}:pull",
        }
        try:
            answer = self._ask(realm, {k: v for k, v in query.items() if v}, kept)
            document = json.loads(answer)
            token = document.get("token") or document["access_token"]
        except StatusError as error:
            raise login_error(repository, error.why or error.message) from error
        except (ValueError, KeyError, AttributeError) as error:
            raise login_error(repository, "its answer has no token") from error
        return f"Bearer {token}"

    def _ask(self, realm: str, query: dict[str, str], kept: Login | None) -> bytes:
        if kept is not None and kept.identity_token:
            form = {
                **query,
                "grant_type": "refresh_token",
                "refresh_token": kept.identity_token,
                "client_id": "ohmykube",
            }
            return self._transport.small(realm, limit=_TOKEN_BYTES, form=form)
        separator = "&" if "?" in realm else "?"
        url = realm + separator + urllib.parse.urlencode(query)
        headers = {"Authorization": kept.basic} if kept is not None else {}
        return self._transport.small(url, limit=_TOKEN_BYTES, headers=headers)


def login_error(repository: Repository, why: str) -> RefusedLogin:
    """Return the error for a registry that wants another login."""
    host = urllib.parse.urlsplit(repository.endpoint).netloc.rpartition("@")[2]
    return RefusedLogin(f"{host} refuses {repository.name}", why=why, hint=f"docker login {host}")
