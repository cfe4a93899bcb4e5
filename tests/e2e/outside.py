"""Pods of a cluster that runs on the island, with an internet beyond it for as long as it takes."""

from __future__ import annotations

import json
import subprocess
import uuid
from typing import TYPE_CHECKING, Any

from ohmykube.kit import architecture
from ohmykube.model.outside import HOST_NAME
from tests import image_maker, internet
from tests.e2e import user_images
from tests.e2e.island import BEYOND, INSIDE, LLADDR
from tests.registry_double import Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.conftest import Cli
    from tests.e2e.island import Island

REGISTRY, REPOSITORY = "registry.example", "ohmykube-test/app"
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

    def opened(name: str, network: str) -> None:
        text = (place / "cluster.yaml").read_text()
        file = place / name
        file.write_text(text + f"  network: {network}\n")
        done = cli.json("up", "-f", str(file), *again)
        assert not done["changed"], f"no node has to be touched for that: {done}"

    subprocess.run(["ip", "-n", BEYOND, "link", "set", "in", "address", LLADDR], check=True)
    with internet.served(INSIDE, BEYOND):
        island.left()
        assert not gets("www.example")
        assert island.left() == []
        opened("open.yaml", f"{{egress: full, hostAccess: [{internet.LOCAL}]}}")
        # The cluster's DNS remembers for some seconds that nobody answered.
        assert eventually(lambda: gets("www.example"))
        assert gets(HOST_NAME, internet.LOCAL)
        _image_is_pulled(cli, cluster, place)
        opened("closed.yaml", "{egress: none}")
        island.left()
        assert not gets("www.example")
        assert not gets(HOST_NAME, internet.LOCAL)
        assert island.left() == []
    cli.kubectl(cluster, "delete", "pod", "asks", "web", "--wait=false")


def _image_is_pulled(cli: Cli, cluster: str, place: Path) -> None:
    """Run an image of a registry outside, which nobody has."""
    word = uuid.uuid4().hex
    base = {"app": user_images.program(place)}
    image = image_maker.of_files(base, {"greeting": f"{word}\n".encode()}, arch=architecture.host())
    with internet.inside(BEYOND, lambda: Registry(internet.SITE)) as registry:
        registry.add(REPOSITORY, "1", image)
        host = f"{REGISTRY}:{registry.server_address[1]}"
        plain = f"d=/etc/containerd/certs.d/{host}; mkdir -p $d; echo 'server = \"http://{host}\"'"
        cli.on(cluster, "cp1", "sh", "-c", f"{plain} >$d/hosts.toml")
        wanted = pod("web", f"{host}/{REPOSITORY}:1")
        cli.kubectl(cluster, "apply", "-f", "-", stdin=json.dumps(wanted))
        cli.kubectl(cluster, "wait", "pod", "web", "--for=condition=Ready", "--timeout=120s")
        assert cli.kubectl(cluster, "logs", "web").strip() == word
        assert image.digest in registry.pulls()
