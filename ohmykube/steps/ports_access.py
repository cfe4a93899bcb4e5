"""Let the process that holds ports of this host ask the cluster for services and pods.

It gets an account of its own, which may list and watch these two and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from ohmykube.errors import ClusterError, TimeoutExceeded
from ohmykube.kit import files, retry
from ohmykube.model.exposure import ApiAccess
from ohmykube.model.networks import host_port
from ohmykube.state import layout
from ohmykube.steps.cluster_api import cluster_api
from ohmykube.steps.fetch_kubeconfig import API_PORT

if TYPE_CHECKING:
    from ohmykube.kube.api import ClusterApi
    from ohmykube.steps.context import Context
    from ohmykube.steps.nodes import Nodes

NAME, NAMESPACE = "ohmykube-ports", "kube-system"
MANIFEST = f"""\
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {NAME}, namespace: {NAMESPACE}}}
automountServiceAccountToken: false
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {NAME}}}
rules:
- apiGroups: [""]
  resources: [services, pods]
  verbs: [list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {NAME}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {NAME}}}
subjects:
- {{kind: ServiceAccount, name: {NAME}, namespace: {NAMESPACE}}}
---
apiVersion: v1
kind: Secret
type: kubernetes.io/service-account-token
metadata:
  name: {NAME}
  namespace: {NAMESPACE}
  annotations: {{kubernetes.io/service-account.name: {NAME}}}
"""
_TOKEN_WAIT = retry.Wait(seconds=30, every=0.1, factor=1.5, longest=1)
"""The controller manager writes it."""


def ports_access(ctx: Context, nodes: Nodes, *, renew: bool = False) -> ApiAccess:
    """Return the access to the API for that process; make the account where it was not made.

    Args:
        ctx: whose cluster.
        nodes: the way to all of its nodes.
        renew: make it anew: the API server does not know it any more.

    Raises:
        ClusterError: no control plane answers, or there is no token in time.
        NodeError: the control plane refuses.
    """
    path = ctx.directory / layout.PORTS_ACCESS
    planes = [node.name for node in ctx.cluster.control_planes]
    found = [nodes.machines[name].address for name in planes if name in nodes.machines]
    servers = tuple(host_port(address, API_PORT) for address in found)
    kept = _read(ctx)
    if kept is None or renew:
        authority, token = _made(ctx, cluster_api(ctx.cluster, nodes))
    else:
        authority, token = kept.authority, kept.token
    generation = (kept.generation if kept else 0) + renew
    access = ApiAccess(servers=servers, authority=authority, token=token, generation=generation)
    if access != kept:
        files.write(path, json.dumps(asdict(access)))
    return access


def _read(ctx: Context) -> ApiAccess | None:
    try:
        told = json.loads((ctx.directory / layout.PORTS_ACCESS).read_text())
        return ApiAccess(**{**told, "servers": tuple(told["servers"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _made(ctx: Context, api: ClusterApi) -> tuple[str, str]:
    api.apply(MANIFEST)

    def token() -> tuple[str, str] | None:
        secret = api.get("secret", NAME, namespace=NAMESPACE) or {}
        data = secret.get("data", {})
        try:
            ca, token = (base64.b64decode(data[key]).decode() for key in ("ca.crt", "token"))
        except (KeyError, ValueError, binascii.Error):
            return None
        return ca, token

    wait = _TOKEN_WAIT.times(ctx.slowdown)
    try:
        return retry.until(ctx.services.clock, wait, "a token", token)
    except TimeoutExceeded as error:
        raise ClusterError(
            f"there is no token for {NAMESPACE}/{NAME}",
            why="the controller manager did not write it in time",
            hint=f"kubectl -n {NAMESPACE} get secret {NAME} -o yaml",
            id="OMK-K-520",
        ) from error
