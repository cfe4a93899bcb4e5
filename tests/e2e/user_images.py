"""The user's own image on the nodes of a cluster: loaded, run, changed, loaded again."""

from __future__ import annotations

import json
import random
import subprocess
from typing import TYPE_CHECKING, Any

from ohmykube.kit import architecture
from tests import image_maker

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Cli

NAME = "app:dev"
FULL = "docker.io/library/app:dev"
# Says what is in a file of another layer, then stays.
PROGRAM = r"""
#include <stdio.h>
#include <unistd.h>
int main(void) {
    char text[100] = "";
    FILE *file = fopen("/greeting", "r");
    if (file == NULL || fgets(text, sizeof text, file) == NULL) return 1;
    puts(text);
    fflush(stdout);
    for (;;) pause();
}
"""


def program(directory: Path) -> bytes:
    source, target = directory / "app.c", directory / "app"
    source.write_text(PROGRAM)
    argv = ["gcc", "-static", "-O1", "-s", "-o", str(target), str(source)]
    subprocess.run(argv, check=True, timeout=60)
    return target.read_bytes()


def size_of(image: image_maker.Image, known: image_maker.Image | None = None) -> int:
    """Return the bytes of the blobs of an image that ``known`` has not."""
    blobs = {**image.blobs, image.digest: image.manifest}
    return sum(
        len(data) for digest, data in blobs.items() if not known or digest not in known.blobs
    )


def load(cli: Cli, cluster: str, path: Path, image: image_maker.Image) -> list[dict[str, Any]]:
    path.write_bytes(image_maker.oci_archive(image, FULL))
    document = cli.json("image", "load", str(path), "--name", cluster)
    assert [one["digest"] for one in document["images"]] == [image.digest]
    nodes: list[dict[str, Any]] = document["nodes"]
    return nodes


def pod(node: str, number: int) -> dict[str, Any]:
    """Return a pod on a node whose image cannot come from any registry."""
    policies = {"never": "Never", "if-not-present": "IfNotPresent"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"own-{number}-{node}", "labels": {"own": str(number)}},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"operator": "Exists"}],
            "containers": [
                {"name": name, "image": NAME, "imagePullPolicy": policy}
                for name, policy in policies.items()
            ],
        },
    }


def says(cli: Cli, cluster: str, nodes: list[str], number: int) -> set[str]:
    """Run a pod on each node and return what all of their containers say."""
    items = [pod(node, number) for node in nodes]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    cli.kubectl(cluster, "apply", "-f", "-", stdin=text)
    mine = f"-lown={number}"
    cli.kubectl(cluster, "wait", "pod", mine, "--for=condition=Ready", "--timeout=120s")
    words = cli.kubectl(cluster, "logs", mine, "--all-containers", "--tail=-1").split()
    assert len(words) == 2 * len(nodes)
    cli.kubectl(cluster, "delete", "pod", mine, "--wait=false")
    return set(words)


def check(cli: Cli, cluster: str, directory: Path) -> None:
    """Bring an image to the nodes and let it run there; only what changed travels the next time."""
    base = {"app": program(directory), "data": random.Random(1).randbytes(2_000_000)}
    arch = architecture.host()
    first = image_maker.of_files(base, {"greeting": b"one\n"}, arch=arch)
    second = image_maker.of_files(base, {"greeting": b"two\n"}, arch=arch)
    names = [node["name"] for node in cli.json("status", cluster)["nodes"]]

    cold = load(cli, cluster, directory / "app.tar", first)
    assert [node["node"] for node in cold] == names
    for node in cold:
        assert (node["way"], node["error"], node["delivered"]) == ("pull", "", [FULL])
        assert size_of(first) <= node["sent"] <= size_of(first) * 1.01
    assert says(cli, cluster, names, 1) == {"one"}

    missing = size_of(second, first)
    assert missing < 5000
    for node in load(cli, cluster, directory / "app.tar", second):
        assert missing <= node["sent"] <= missing * 1.01
        assert node["skipped"] == size_of(second) - node["sent"]
    assert says(cli, cluster, names, 2) == {"two"}

    for node in load(cli, cluster, directory / "app.tar", second):
        assert (node["way"], node["sent"], node["delivered"]) == ("none", 0, [])
    rows = {row["reference"]: row for row in cli.json("image", "list", "--name", cluster)["items"]}
    assert rows[FULL]["digest"] == second.digest
    assert (rows[FULL]["nodes"], rows[FULL]["lacking"], rows[FULL]["pinned"]) == (names, [], True)
    (etcd,) = (row for name, row in rows.items() if "/etcd:" in name)
    assert etcd["nodes"] == names[:1]
