"""Pods of a cluster pull through `cache serve`, and the tunnels come back when they are lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import uuid
from typing import TYPE_CHECKING, Any

from ohmykube.kit import architecture
from tests import image_maker
from tests.e2e import user_images
from tests.registry_double import Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.conftest import Cli

REPOSITORY = "ohmykube-test/app"
"""On quay.io, as the pods think."""


class Serving:
    """`cache serve -o json` in the background; keeps its events."""

    def __init__(self, cli: Cli, *words: str) -> None:
        argv = cli.argv("cache", "serve", "--listen", "127.0.0.1:0", *words, "-o", "json")
        self.child = subprocess.Popen(argv, env=cli.env, stdout=subprocess.PIPE, text=True)
        self.events: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.child.stdout is not None
        with self.child.stdout as lines:
            self.events += (json.loads(line) for line in iter(lines.readline, ""))

    def of(self, event: str) -> list[str]:
        """Return the nodes that an event was about, in order."""
        return [one["node"] for one in tuple(self.events) if one.get("event") == event]

    def tunnels(self) -> list[int]:
        """Return the processes of its tunnels."""
        own = f"/proc/{self.child.pid}/task/{self.child.pid}/children"
        with open(own, encoding="ascii") as stream:  # noqa: PTH123 - no file
            return [int(word) for word in stream.read().split()]

    def end(self) -> dict[str, Any]:
        self.child.send_signal(signal.SIGTERM)
        assert self.child.wait(30) == 0
        self._reader.join(10)
        return self.events[-1]


def pods(names: list[str]) -> str:
    items = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"mirrored-{name}", "labels": {"mirrored": "yes"}},
            "spec": {
                "nodeName": name,
                "terminationGracePeriodSeconds": 0,
                "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "app", "image": f"quay.io/{REPOSITORY}:1"}],
            },
        }
        for name in names
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def check(
    cli: Cli, cluster: str, directory: Path, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    """Run a pod on each node from a registry that the nodes cannot reach themselves."""
    base = {"app": user_images.program(directory)}
    word = uuid.uuid4().hex  # nobody has this image yet
    image = image_maker.of_files(base, {"greeting": f"{word}\n".encode()}, arch=architecture.host())
    names = sorted(node["name"] for node in cli.json("status", cluster)["nodes"])
    with Registry() as registry:
        registry.add(REPOSITORY, "1", image)
        serving = Serving(cli, "--cluster", cluster, "--mirror", f"quay.io={registry.url}")
        try:
            assert eventually(lambda: sorted(serving.of("tunnel-open")) == names), serving.events
            cli.kubectl(cluster, "apply", "-f", "-", stdin=pods(names))
            mine = "-lmirrored=yes"
            cli.kubectl(cluster, "wait", "pod", mine, "--for=condition=Ready", "--timeout=120s")
            said = cli.kubectl(cluster, "logs", mine, "--tail=-1").split()
            assert said == [word] * len(names)
            cli.kubectl(cluster, "delete", "pod", mine, "--wait=false")
            # Once for all nodes; the layer with the program may be here from an earlier run.
            pulls = registry.pulls()
            assert len(pulls) == len(set(pulls))
            assert image.digest in pulls

            os.kill(serving.tunnels()[0], signal.SIGKILL)
            assert eventually(lambda: len(serving.of("tunnel-lost")) == 1)
            assert eventually(lambda: len(serving.of("tunnel-open")) == len(names) + 1)
            end = serving.end()
        finally:
            serving.child.kill()
            serving.child.wait(20)
    assert (end["kind"], end["clients"]) == ("CacheServed", 1)
    assert end["sent"] > len(names) * len(image.manifest)
    cli.run("cache", "rm", f"quay.io/{REPOSITORY}:1", "--yes")
