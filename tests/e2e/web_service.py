"""A service with a pod on each node, asked by its name from inside pods."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MANIFEST = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      tolerations: [{operator: Exists}]
      containers:
      - name: web
        image: IMAGE
        imagePullPolicy: IfNotPresent
        command: [/bin/sh, -c]
        args:
        - |
          mkdir -p /tmp/www
          echo $NODE >/tmp/www/index.html
          exec /bin/busybox httpd -f -p 8080 -h /tmp/www
        env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""
"""A web server on each node, which says where it runs, and their service."""

ASK = r"""
for i in $(seq 20); do
  address=$(nslookup web.default.svc.cluster.local | awk '/^Address/ { a = $2 } END { print a }')
  printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 5 "$address" 80 | tail -n 1
done
"""
"""Asks the service by its name twenty times and prints which nodes answered."""


def answers_from(nodes: set[str], ask: Callable[[], str], within: float = 60.0) -> None:
    """Ask until twenty of twenty requests are answered, and every node is among the answers.

    Ready pods come to the rules of each node only after a while, and one at a time.

    Args:
        nodes: those whose pods must answer.
        ask: runs ``ASK`` in a pod and returns what it printed.
        within: seconds for all of it.
    """
    end = time.monotonic() + within
    while True:
        said = ask().split()
        if len(said) == 20 and set(said) == nodes:
            return
        assert time.monotonic() < end, f"{len(said)} of 20 answered, from {sorted(set(said))}"
