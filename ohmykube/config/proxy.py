"""``spec.proxy``: the word ``host``, or addresses of proxies and what is reached without them."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from ohmykube.config.problems import echo
from ohmykube.config.registries import ELSEWHERE, known_fields, login_place, login_schema
from ohmykube.model.proxy import HOST, Proxy, url_of

MOST = 200
_KEYS = ("http", "https", "noProxy", "auth")
_EXAMPLE = "such as http://proxy.example.com:3128"
_EXCEPTION = re.compile(r"[A-Za-z0-9.*:/_\[\]-]{1,255}")


def proxy(value: Any) -> Proxy | None:
    """Return what is described; raises ValueError with what is wrong with it."""
    if value is None or isinstance(value, Proxy):
        return value
    if value == HOST:
        return Proxy(of_host=True)
    if not isinstance(value, dict):
        raise ValueError(f'must be "{HOST}" or a mapping with http and https, got {_echo(value)}')  # noqa: TRY004 - pydantic wants ValueError
    known_fields(value, _KEYS)
    http, https = (_url(field, value.get(field)) for field in ("http", "https"))
    if not (http or https):
        raise ValueError(f"must have http or https, a URL {_EXAMPLE}")
    auth = value.get("auth")
    return Proxy(
        http=http,
        https=https,
        no_proxy=_exceptions(value.get("noProxy", [])),
        auth=None if auth is None else login_place(auth, docker=False),
    )


def _exceptions(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MOST:
        raise ValueError(f"must have a list of at most {MOST} names and networks as noProxy")
    for one in value:
        if not isinstance(one, str) or _EXCEPTION.fullmatch(one) is None:
            raise ValueError(f"must have names, addresses and networks as noProxy, got {echo(one)}")
    return tuple(dict.fromkeys(value))


def _echo(value: object) -> str:
    """Return a value as it may be shown: a URL may have a password in it."""
    return "text" if isinstance(value, str) and "@" in value else echo(value)


def _url(field: str, value: object) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, str) and "@" in value:
        raise ValueError(f"must not have a user or password in {field}: {ELSEWHERE} as auth")
    parts = url_of(value) if isinstance(value, str) and " " not in value else None
    if parts is None:
        raise ValueError(f"must have a URL as {field}, {_EXAMPLE}, got {_echo(value)}")
    return parts.geturl()


_TEXT = {"type": "string"}
Value = Annotated[
    Proxy | None,
    BeforeValidator(proxy),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": HOST, "type": "string"},
                {
                    "type": "object",
                    "properties": {
                        "http": _TEXT,
                        "https": _TEXT,
                        "noProxy": {"type": "array", "items": _TEXT},
                        "auth": login_schema(docker=False),
                    },
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
TEXT = (
    "The proxy by which nodes' containerd and apt, and downloads of this host, reach the outside: "
    "host (that of this host's variables), or http and https (URLs), noProxy (names, networks) and "
    "auth (username or usernameEnv, passwordEnv). The cluster itself is never behind it."
)
