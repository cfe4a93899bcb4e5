"""Pods of a cluster that runs on the island, with an internet beyond it for as long as it takes."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import subprocess
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from ohmykube.kit import architecture
from ohmykube.model.outside import HOST_NAME
from tests import image_maker, internet, proxy_double, tls_server
from tests.e2e import user_images
from tests.e2e.island import BEYOND, INSIDE, LLADDR
from tests.proxy_double import ProxyDouble
from tests.registry_double import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.e2e.conftest import Cli
    from tests.e2e.island import Island

REGISTRY, REPOSITORY = "registry.example", "ohmykube-test/app"
PASSWORDS = ("of old: p@ss%20wörd", "of new: $HOME", '#p@ss:w/ö%20"$\\')
"""Of the registry, and of the proxy."""
# The page of a site, by its name; nothing where one of the two cannot be had.
GET = r"""
address=$(nslookup NAME | awk '/^Name/ { named = 1 } named && /^Address/ { print $2; exit }' |
  cut -d: -f1)
[ -n "$address" ] || exit 0
printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 5 "$address" PORT | wc -c
"""


def pod(name: str, image: str, *command: str) -> dict[str, Any]:
    container = {"name": "it", "image": image, **({"command": command} if command else {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"operator": "Exists"}],
            "containers": [container],
        },
    }


def check(
    pair: tuple[Cli, Island],
    cluster: str,
    place: Path,
    again: tuple[str, ...],
    eventually: Callable[[Callable[[], bool]], bool],
) -> None:
    """Open the outside in place, use it from pods, and close it again.

    Args:
        pair: the CLI on the island, and the island, which counts what leaves.
        cluster: closed so far.
        place: with ``cluster.yaml``, and for files.
        again: further arguments of ``up``.
        eventually: the bounded wait.
    """
    cli, island = pair
    where = "-ojsonpath={.spec.template.spec.containers[0].image}"
    image = cli.kubectl(cluster, "-nkube-system", "get", "daemonset", "kube-proxy", where)
    asks = pod("asks", image, "/bin/sh", "-c", "exec /bin/busybox sleep 100000")
    asks["spec"]["containers"][0]["imagePullPolicy"] = "Never"
    cli.kubectl(cluster, "apply", "-f", "-", stdin=json.dumps(asks))
    cli.kubectl(cluster, "wait", "pod", "asks", "--for=condition=Ready", "--timeout=120s")

    def gets(name: str, port: int = internet.WEB) -> bool:
        script = GET.replace("NAME", name).replace("PORT", str(port))
        said = cli.kubectl(cluster, "exec", "asks", "--", "/bin/sh", "-c", script)
        return said.strip().isdecimal() and int(said) > len(internet.PAGE)

    def described(spec: dict[str, Any], *, touches: bool = False, **environ: str) -> None:
        file = place / "described.yaml"
        document = yaml.safe_load((place / "cluster.yaml").read_text())
        file.write_text(yaml.safe_dump({**document, "spec": {**document["spec"], **spec}}))
        run = cli.run("up", "-f", str(file), *again, "-o", "json", **environ)
        done = json.loads(run.stdout)
        assert done["changed"] is touches, f"a node has to be touched, or not, for that: {done}"
        record = (cli.home / "state" / "clusters" / cluster / "record.json").read_text()
        for password in PASSWORDS:
            assert password not in json.dumps(done, ensure_ascii=False) + run.stderr + record

    for words in (("in", "address", LLADDR), ("lo", "up")):  # a proxy there reaches what is there
        subprocess.run(["ip", "-n", BEYOND, "link", "set", *words], check=True)
    with internet.served(INSIDE, BEYOND):
        island.left()
        assert not gets("www.example")
        assert island.left() == []
        described({"network": {"egress": "full", "hostAccess": [internet.LOCAL]}})
        # The cluster's DNS remembers for some seconds that nobody answered.
        assert eventually(lambda: gets("www.example"))
        assert gets(HOST_NAME, internet.LOCAL)
        with _registry() as plain:
            _companies(cli, cluster, place, described, plain)
        described({"network": {"egress": "none"}}, touches=True)
        _nothing_is_left(cli, cluster)
        island.left()
        assert not gets("www.example")
        assert not gets(HOST_NAME, internet.LOCAL)
        assert island.left() == []
    started = "-ojsonpath={.status.containerStatuses[0].restartCount}"
    assert cli.kubectl(cluster, "get", "pod", "asks", started) == "0"
    cli.kubectl(cluster, "delete", "pod", "asks", "--wait=false")


def _companies(
    cli: Cli, cluster: str, place: Path, described: Callable[..., None], plain: Registry
) -> None:
    """Pull from a registry with an authority and a password, straight and through a proxy.

    And from a plain one beside it.

    Another password is noticed, a registry restarts nothing, and a proxy no pod.
    """
    tls_server.certificates(place / "tls", REGISTRY)
    logins = place / "logins.json"
    pids = ("systemctl", "show", "--property=MainPID", "containerd", "kubelet")
    running = cli.on(cluster, "cp1", *pids)
    login = ("of-a-user", PASSWORDS[2])
    app = user_images.program(place)
    with (
        _registry(place / "tls" / "server.pem") as registry,
        proxy_double.serving(_proxy(login)) as proxy,
    ):
        host = _host(registry)
        auth = {"dockerConfig": str(logins)}
        spec: dict[str, Any] = {
            "network": {"egress": "full"},
            "registries": {
                host: {"ca": str(place / "tls" / "ca.crt"), "auth": auth},
                _host(plain): {"plainHTTP": True},
            },
        }

        def want_login(password: str, *, tokens: bool) -> None:
            registry.want_login("me", password, tokens=tokens)
            pair = base64.b64encode(f"me:{password}".encode()).decode()
            logins.write_text(json.dumps({"auths": {host: {"auth": pair}}}))

        want_login(PASSWORDS[0], tokens=False)
        described(spec, touches=True)
        _runs(cli, cluster, registry, app)
        _runs(cli, cluster, plain, app)
        assert cli.on(cluster, "cp1", *pids) == running
        assert proxy.seen == []
        want_login(PASSWORDS[1], tokens=True)
        spec["network"] = {"egress": [f"{internet.OTHER}/32"]}  # the proxy is all that is reached
        spec["proxy"] = {
            "http": proxy.url,
            "https": proxy.url,
            "auth": {"username": login[0], "passwordEnv": "PROXY_PASSWORD"},
        }
        described(spec, touches=True, PROXY_PASSWORD=login[1])
        _runs(cli, cluster, registry, app)
        assert {(method, target) for method, target, _ in proxy.seen} == {("CONNECT", host)}
        value = "-ojsonpath={.data.https_proxy}"
        told = cli.kubectl(cluster, "get", "secret", "ohmykube-proxy", value)
        assert urlsplit(base64.b64decode(told).decode()).hostname == internet.OTHER
        fetch = ("/usr/lib/apt/apt-helper", "download-file", "http://www.example/page", "/page")
        cli.on(cluster, "cp1", *fetch)
        assert proxy.seen[-1] == ("GET", "http://www.example/page", 200)


def _proxy(login: tuple[str, str]) -> ProxyDouble:
    def connect(target: tuple[str, int]) -> socket.socket:
        place = (internet.SITE, target[1])  # where every name leads
        return internet.inside(BEYOND, lambda: socket.create_connection(place, 20))

    return internet.inside(BEYOND, lambda: ProxyDouble(internet.OTHER, login, connect))


def _nothing_is_left(cli: Cli, cluster: str) -> None:
    """What is described no more is in no file of configuration, and told to no pod."""
    places = "/etc/containerd /etc/default /etc/apt"
    look = f"grep -rl -e '{internet.OTHER}' -e '{REGISTRY}' {places} || true"
    left = cli.on(cluster, "cp1", "sh", "-c", look)
    assert left == "", left
    assert "ohmykube-proxy" not in cli.kubectl(cluster, "get", "secrets")


@contextlib.contextmanager
def _registry(tls: Path | None = None) -> Iterator[Registry]:
    """Serve images from beyond, by HTTPS where there is a certificate."""
    with internet.inside(BEYOND, lambda: Registry(internet.SITE, tls)) as registry:
        registry.called = REGISTRY
        yield registry


def _host(registry: Registry) -> str:
    return f"{REGISTRY}:{registry.server_address[1]}"


def _runs(cli: Cli, cluster: str, registry: Registry, app: bytes) -> None:
    """Run an image of the registry, with a word of its own, in a pod."""
    word = uuid.uuid4().hex
    image = image_maker.of_files(
        {"app": app}, {"greeting": f"{word}\n".encode()}, arch=architecture.host()
    )
    registry.add(REPOSITORY, word, image)
    name = f"pod-{word}"
    wanted = pod(name, f"{_host(registry)}/{REPOSITORY}:{word}")
    cli.kubectl(cluster, "apply", "-f", "-", stdin=json.dumps(wanted))
    cli.kubectl(cluster, "wait", "pod", name, "--for=condition=Ready", "--timeout=120s")
    assert cli.kubectl(cluster, "logs", name).strip() == word
    assert image.digest in registry.pulls()
    cli.kubectl(cluster, "delete", "pod", name, "--wait=false")
