"""Find the logins of ``spec.registries``, which stand in no description and in no record."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.cache import registry_auth
from ohmykube.errors import ConfigError, OhmykubeError
from ohmykube.kit.secret import Secret
from ohmykube.model import docker_hub
from ohmykube.model.registry import Login

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from ohmykube.model.cluster import Cluster
    from ohmykube.model.registry import LoginPlace, Registry


def with_logins(
    cluster: Cluster,
    environ: Mapping[str, str] | None = None,
    *,
    only: Container[str] | None = None,
) -> Cluster:
    """Return a cluster whose registries have the logins that nodes and downloads are to use.

    They are looked for each time, so a password that has changed is noticed without a change of
    the description.

    Args:
        cluster: as it is wanted.
        environ: the variables; by default those of this process.
        only: names of registries whose logins are needed; by default all.

    Raises:
        ConfigError: names all logins that are not to be found, and what to do.
    """
    environ = os.environ if environ is None else environ
    found: list[Registry] = []
    problems: list[str] = []
    for one in cluster.registries:
        needed = only is None or one.name in only
        try:
            login = _login(one.name, one.auth, environ) if one.auth and needed else None
        except Missing as missing:
            problems.append(f"{one.name}: {missing}")
            continue
        found.append(replace(one, login=login))
    if problems:
        raise ConfigError(
            "logins of spec.registries are not to be found",
            why="\n".join(problems),
            hint=f"set the variables, or run docker login; then: ohmykube plan {cluster.name}",
            id="OMK-C-640",
        )
    return replace(cluster, registries=tuple(found))


class Missing(Exception):
    """There is no login; says why, never with a value."""


def _login(name: str, place: LoginPlace, environ: Mapping[str, str]) -> Login:
    if place.docker_config is None:
        return of_variables(place, environ)
    path = place.docker_config
    try:
        with path.open("rb"):
            pass  # what cannot be read is told; that it has no login is another thing
        kept = registry_auth.login(path, docker_hub.host_of(name))
    except OSError as error:
        raise Missing(f"{path}: {error.strerror}") from error
    except OhmykubeError as error:
        raise Missing(f"{error.message}: {error.why}") from error
    if kept is None:
        raise Missing(f"{path} has no login for it; run: docker login {name}")
    if not kept.basic:
        raise Missing(f"{path} has a token in the place of a password, which nodes cannot use")
    return Login(username=kept.username, password=Secret(kept.secret))


def of_variables(place: LoginPlace, environ: Mapping[str, str]) -> Login:
    """Return the login that variables hold; raises Missing."""
    username = place.username or _variable(place.username_env, environ)
    if ":" in username:
        raise Missing("its name has a colon, which no login can have")
    return Login(username=username, password=Secret(_variable(place.password_env, environ)))


def _variable(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "")
    if not value:
        raise Missing(f"the variable {name} is {'empty' if name in environ else 'not set'}")
    if any(character in value for character in "\n\r\0"):
        raise Missing(f"the variable {name} has a line break in it")
    return value
