"""``spec.registries``, the form of its entries: how nodes ask registries of images."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StrictStr, WithJsonSchema

from ohmykube.config import values
from ohmykube.config.problems import closest, echo
from ohmykube.model import docker_hub
from ohmykube.model.registry import LoginPlace

MOST = 50
_TEXT_SCHEMA = {"type": "string"}
_KEYS = ("mirrors", "fallback", "plainHTTP", "ca", "auth")
_AUTH_KEYS = ("dockerConfig", "username", "usernameEnv", "passwordEnv")
_SECRETS = ("password", "token", "auth", "identitytoken")
ELSEWHERE = "this file is no place for secrets; write passwordEnv with the name of a variable"
_BY_VARIABLES = {"usernameEnv", "passwordEnv"}
_VARIABLE_FORMS = "must have passwordEnv together with username or usernameEnv"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_FORMS = (
    "must have dockerConfig (a file of `docker login`), or passwordEnv together with username or "
    "usernameEnv"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry as it stands in the document; its form is right."""

    mirrors: tuple[str, ...] = ()
    fallback: bool = True
    plain_http: bool = False
    ca: str = ""
    """A file or PEM."""
    auth: LoginPlace | None = None


def entry(value: Any) -> Entry:
    """Return an entry; raises ValueError with what is wrong with it."""
    if not isinstance(value, dict):
        raise ValueError(f"must be a mapping with {', '.join(_KEYS)}, got {echo(value)}")  # noqa: TRY004 - pydantic wants ValueError
    known_fields(value, _KEYS)
    mirrors = value.get("mirrors", [])
    if not isinstance(mirrors, list) or not all(isinstance(one, str) for one in mirrors):
        raise ValueError(f"must have a list of URLs as mirrors, got {echo(mirrors)}")
    urls = tuple(_mirror(one) for one in mirrors)
    if len(set(urls)) < len(urls):
        raise ValueError("has a mirror twice")
    ca = value.get("ca", "")
    if not isinstance(ca, str):
        raise ValueError(f"must have a file or PEM as ca, got {echo(ca)}")  # noqa: TRY004 - as above
    found = Entry(
        mirrors=urls,
        fallback=_flag(value, "fallback", default=True),
        plain_http=_flag(value, "plainHTTP", default=False),
        ca=ca,
        auth=login_place(value["auth"]) if value.get("auth") is not None else None,
    )
    if not found.fallback and not urls:
        raise ValueError("must have mirrors where fallback is false: nobody else is asked")
    if found.plain_http and ca:
        raise ValueError("has ca, which plainHTTP has no use for")
    return found


def known_fields(value: dict[Any, Any], keys: tuple[str, ...], where: str = "") -> None:
    """Raise ValueError for a field of a mapping that is none of ``keys``, with the nearest."""
    for field in value:
        if field not in keys:
            raise ValueError(
                f"has an unknown field {echo(field)}{where}{closest(str(field), keys)}"
            )


def _flag(value: dict[str, Any], field: str, *, default: bool) -> bool:
    found = value.get(field, default)
    if not isinstance(found, bool):
        raise ValueError(f"must have true or false as {field}, got {echo(found)}")  # noqa: TRY004 - as above
    return found


def _mirror(text: str) -> str:
    if text.startswith("/"):
        raise ValueError(f"must have http(s) URLs as mirrors, got {echo(text)}")
    return values.mirror(text)


def login_place(value: Any, *, docker: bool = True) -> LoginPlace:
    """Return where a login is, checked in its form; a file is as it was written.

    Args:
        value: a mapping.
        docker: it may be in docker's configuration.
    """
    forms = _FORMS if docker else _VARIABLE_FORMS
    keys = _auth_keys(docker=docker)
    if not isinstance(value, dict):
        raise ValueError(f"{forms} as auth")  # noqa: TRY004 - as above
    if any(field in _SECRETS for field in value):
        raise ValueError(f"must not have a password in auth: {ELSEWHERE}")
    known_fields(value, keys, " in auth")
    for field, text in value.items():
        if not isinstance(text, str) or not text or not text.isprintable():
            raise ValueError(f"must have text as {field} of auth, got {echo(text)}")
        if field.endswith("Env") and _VARIABLE.fullmatch(text) is None:
            # What is no name of a variable may be the secret itself, written in its place.
            raise ValueError(f"must have the name of a variable as {field} of auth")
    if set(value) not in ({"dockerConfig"}, {"username", "passwordEnv"}, _BY_VARIABLES):
        raise ValueError(f"{forms}, as auth")
    file = value.get("dockerConfig")
    return LoginPlace(
        docker_config=Path(file) if file else None,
        username=value.get("username", ""),
        username_env=value.get("usernameEnv", ""),
        password_env=value.get("passwordEnv", ""),
    )


def login_schema(*, docker: bool = True) -> dict[str, Any]:
    """Return the JSON schema of what ``login_place`` takes."""
    return {
        "type": "object",
        "properties": dict.fromkeys(_auth_keys(docker=docker), _TEXT_SCHEMA),
        "additionalProperties": False,
    }


def _auth_keys(*, docker: bool) -> tuple[str, ...]:
    return _AUTH_KEYS if docker else _AUTH_KEYS[1:]


def _table(found: dict[str, Entry]) -> dict[str, Entry]:
    if len(found) > MOST:
        raise ValueError(f"must have at most {MOST} registries")
    for name, one in found.items():
        if not values.is_registry(name):
            raise ValueError(f"has a registry that is no host: {echo(name)}")
        if (known := docker_hub.registry_of(name)) != name:
            raise ValueError(f"has {name}, which is {known} in names of images")
        for url in one.mirrors:
            if url in (f"https://{name}", f"http://{name}"):
                raise ValueError(
                    f"has {name} as a mirror of itself; plainHTTP, ca and auth say how"
                )
    return found


def _empty(value: object) -> object:
    return {} if value is None else value


_SCHEMA = {
    "type": "object",
    "properties": {
        "mirrors": {"type": "array", "items": _TEXT_SCHEMA},
        "fallback": {"type": "boolean", "default": True},
        "plainHTTP": {"type": "boolean", "default": False},
        "ca": _TEXT_SCHEMA,
        "auth": login_schema(),
    },
    "additionalProperties": False,
}
Entries = Annotated[
    dict[
        Annotated[StrictStr, Field(min_length=1)],
        Annotated[Entry, BeforeValidator(entry), WithJsonSchema(_SCHEMA)],
    ],
    BeforeValidator(_empty),
    AfterValidator(_table),
]
TEXT = (
    "How nodes ask image registries, by name (host[:port]): mirrors (URLs, asked first), fallback "
    "(false: mirrors alone), plainHTTP, ca (a file or PEM), and auth: dockerConfig, or passwordEnv "
    "with username or usernameEnv. ca and auth of a host count for it as a mirror, too."
)
