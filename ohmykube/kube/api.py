"""The API of a cluster, asked with ``kubectl`` through any control plane that answers.

``kubectl`` runs on a control plane and talks to the API server of that node, never to the cluster's
endpoint: the machine behind the endpoint may be the one that is gone. Which control plane answered
is remembered; when it stops answering, another one takes its place.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from ohmykube.errors import ClusterError, NodeError
from ohmykube.kit import parallel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Object: TypeAlias = dict[str, Any]
"""A Kubernetes object as the API gives it."""

ADMIN = "/etc/kubernetes/admin.conf"
CACHE = "/run/ohmykube-kubectl"
"""On the node, instead of root's home; a reset of the node removes it."""
REQUEST_SECONDS = 5
ALL = "*"
"""As a namespace: all of them."""
# A certificate of kubeadm has this name on every control plane; 127.0.0.1 it need not have.
_LOCAL = ("--server=https://127.0.0.1:6443", "--tls-server-name=kubernetes")
_KUBECTL = ("kubectl", "--kubeconfig", ADMIN, "--cache-dir", CACHE, *_LOCAL)
_FIELD_MANAGER = "ohmykube"
_FAILED_CHECK = re.compile(r"\[-\](\S+) failed")
_SIGNS = (
    (
        re.compile(rf"{re.escape(ADMIN)}.*no such file|kubectl: (?:command )?not found", re.DOTALL),
        "Kubernetes is not set up there yet",
    ),
    (re.compile(r"connection refused|was refused"), "its API server does not run"),
    (re.compile(r"i/o timeout|Client\.Timeout|deadline exceeded"), "its API server is silent"),
)
"""How kubectl puts it (client-go), and what it means."""
_LOG_HEAD = re.compile(r"^[IWEF]\d{4} [\d:.]+ +\d+ [\w.]+:\d+\] ")
"""Of a line that klog wrote."""
_COMMAND_SECONDS = 30.0
"""What a command may take that waits for nothing in the cluster."""
_LOG_SECONDS = 60.0
"""What reading the output of a pod may take."""
_MARGIN = 15.0
"""Seconds more than what ``kubectl`` itself was told to wait at most."""


class Shell(Protocol):
    """Runs commands on one control plane, as root."""

    def __call__(self, argv: Sequence[str], stdin: str = "", timeout: float = 30) -> str:
        """Return the standard output; ``timeout`` in seconds on a machine of common speed.

        Raises:
            NodeError: it failed, did not end in time, or the node was not reached.
        """
        ...


class ClusterApi:
    """The API of one cluster; objects come and go as parsed JSON.

    All methods raise ClusterError (``OMK-K-260``) when no control plane answers, with the reason of
    each, and NodeError with kubectl's own words when one answers and refuses.
    """

    def __init__(
        self,
        cluster: str,
        shells: Mapping[str, Shell],
        *,
        absent: Mapping[str, str] | None = None,
        slowdown: int = 1,
    ) -> None:
        """Ask nothing yet.

        Args:
            cluster: its name, for messages.
            shells: of the control planes that can be asked, by node name, best first.
            absent: why others cannot be asked, by node name.
            slowdown: how many times longer than usual everything takes on the nodes.
        """
        self._cluster = cluster
        self._shells = dict(shells)
        self._absent = dict(absent or {})
        self._slowdown = slowdown
        self._limit = f"--request-timeout={REQUEST_SECONDS * slowdown}s"
        self._answering: str | None = None

    @property
    def control_plane(self) -> str:
        """Return the name of the control plane that answered last, or of one that answers now."""
        if self._answering is None:
            self._choose(self.health())
        return str(self._answering)

    def health(self) -> dict[str, str]:
        """Return why each control plane does not answer, by node name; empty for those that do."""
        names = list(self._shells)
        return dict(zip(names, parallel.each(names, self._problem), strict=True)) | self._absent

    def version(self) -> str:
        """Return the version of the API server, such as ``v1.36.3``."""
        return str(json.loads(self._kubectl("get", "--raw=/version"))["gitVersion"])

    def get(self, kind: str, name: str, *, namespace: str = "") -> Object | None:
        """Return one object, or None when there is none of this name."""
        words = [*_in(namespace), "--ignore-not-found", "-ojson"]
        text = self._kubectl("get", kind, name, *words)
        return dict(json.loads(text)) if text.strip() else None

    def get_all(self, kind: str, *, namespace: str = "", selector: str = "") -> list[Object]:
        """Return the objects of a kind in a namespace, or in all with ``ALL``."""
        labels = [f"--selector={selector}"] if selector else []
        return list(
            json.loads(self._kubectl("get", kind, *_in(namespace), *labels, "-ojson"))["items"]
        )

    def apply(self, manifest: str) -> tuple[str, ...]:
        """Apply documents on the server's side; return what kubectl says of each object."""
        owner = f"--field-manager={_FIELD_MANAGER}"
        words = ["--server-side", "--force-conflicts", owner, "--filename=-"]
        return tuple(self._kubectl("apply", *words, stdin=manifest).splitlines())

    def delete(self, kind: str, name: str, *, namespace: str = "", seconds: float = 60) -> bool:
        """Delete an object and wait until it is gone; return False when there was none."""
        limit = f"--timeout={_whole(seconds * self._slowdown)}s"
        words = [*_in(namespace), "--ignore-not-found", "--wait", limit, "--output=name"]
        return bool(self._waiting(seconds, "delete", kind, name, *words).strip())

    def cordon(self, node: str) -> None:
        """Let no more pods onto a node."""
        self._kubectl("cordon", node)

    def uncordon(self, node: str) -> None:
        """Let pods onto a node again."""
        self._kubectl("uncordon", node)

    def unlabel(self, node: str, label: str) -> None:
        """Take a label off a node, if it has it."""
        self._kubectl("label", "nodes", node, f"{label}-")

    def drain(self, node: str, *, seconds: float) -> None:
        """Move all pods off a node, as far as disruption budgets allow it within ``seconds``.

        Pods of DaemonSets stay, contents of ``emptyDir`` are lost.

        Raises:
            ClusterError: some pods are still there (``OMK-K-261``); the node takes no new ones.
        """
        limit = f"--timeout={_whole(seconds * self._slowdown)}s"
        words = ["--ignore-daemonsets", "--delete-emptydir-data", limit]
        try:
            self._waiting(seconds, "drain", node, *words)
        except NodeError as error:
            raise ClusterError(
                f"node {node} could not be drained within {seconds * self._slowdown:g} s",
                why="\n".join([*self._exhausted_budgets(), error.why or error.message]),
                hint=f"give those pods room, then the same command again; `kubectl uncordon {node}`"
                " takes it back",
                id="OMK-K-261",
            ) from error

    def wait(
        self, kind: str, name: str, condition: str, *, seconds: float, namespace: str = ""
    ) -> None:
        """Wait until a condition of an object is true; raises NodeError when it does not come."""
        limit = f"--timeout={_whole(seconds * self._slowdown)}s"
        words = [*_in(namespace), f"--for=condition={condition}", limit]
        self._waiting(seconds, "wait", f"{kind}/{name}", *words)

    def logs(self, pod: str, namespace: str, since: str = "") -> list[str]:
        """Return what a pod has written, each line with a time stamp before it.

        Args:
            pod: its name.
            namespace: where it is.
            since: a time stamp; with it only lines of this moment and after it.
        """
        words = [*_in(namespace), "--timestamps", *([f"--since-time={since}"] if since else [])]
        return self._waiting(_LOG_SECONDS, "logs", pod, *words).splitlines()

    def remove(self, *names: str, selector: str = "") -> None:
        """Begin to delete objects, ``KIND/NAME`` or all of a kind with a label; none is fine."""
        words = [*names, *([f"--selector={selector}"] if selector else [])]
        self._kubectl("delete", *words, "--ignore-not-found", "--wait=false")

    def run(self, argv: Sequence[str], stdin: str = "") -> str:
        """Run another program on a control plane that answers; return its output."""
        name = self.control_plane
        try:
            return self._shells[name](argv, stdin, _COMMAND_SECONDS)
        except NodeError:
            if self._problem(name):
                self._answering = None  # the next call takes another one
            raise

    def _exhausted_budgets(self) -> list[str]:
        found = []
        for budget in self.get_all("poddisruptionbudgets", namespace=ALL):
            name = "{namespace}/{name}".format_map(budget["metadata"])
            status = budget.get("status", {})
            if status.get("disruptionsAllowed") == 0:
                healthy, needed = status["currentHealthy"], status["desiredHealthy"]
                found.append(
                    f"disruption budget {name} allows none: {healthy} pods are healthy, "
                    f"{needed} must be"
                )
        return found

    def _kubectl(self, *words: str, stdin: str = "") -> str:
        argv = [*_KUBECTL, self._limit, *words]
        return self._any(lambda shell: shell(argv, stdin, _COMMAND_SECONDS))

    def _waiting(self, seconds: float, *words: str) -> str:
        """Run a command that waits in the cluster, so that no request of it is cut short."""
        argv = [*_KUBECTL, *words]
        return self._any(lambda shell: shell(argv, "", seconds + _MARGIN))

    def _any(self, act: Callable[[Shell], str]) -> str:
        """Act through the control plane that answered last, and through another if it is gone.

        Whoever fails is asked for its health: if that is well, the failure is the answer.
        """
        name = self._answering or next(iter(self._shells), None)
        if name is not None:
            try:
                text = act(self._shells[name])
            except NodeError:
                health = self.health()
                if not health[name]:
                    self._answering = name
                    raise
                return act(self._shells[self._choose(health)])
            self._answering = name
            return text
        return act(self._shells[self._choose(self.health())])

    def _choose(self, health: Mapping[str, str]) -> str:
        self._answering = next((name for name in self._shells if not health[name]), None)
        if self._answering is None:
            raise ClusterError(
                f'no control plane of cluster "{self._cluster}" answers',
                why="\n".join(f"{name}: {reason}" for name, reason in health.items()) or None,
                hint=f"ohmykube status {self._cluster}; `ohmykube start {self._cluster}` starts "
                "what is stopped",
                id="OMK-K-260",
            )
        return self._answering

    def _problem(self, name: str) -> str:
        argv = [*_KUBECTL, self._limit, "get", "--raw=/readyz"]
        try:
            self._shells[name](argv, "", _COMMAND_SECONDS)
        except NodeError as error:
            return _brief(error.why or error.message)
        return ""


def _brief(reason: str) -> str:
    """Return in one line what is wrong with a control plane, by what its kubectl or ssh said.

    Of what an API server says of itself only the checks that failed; no line of a client's log.
    """
    failed = _FAILED_CHECK.findall(reason)
    if failed:
        return f"its API server is not ready: {', '.join(failed)}"
    for sign, meaning in _SIGNS:
        if sign.search(reason):
            return meaning
    lines = [_LOG_HEAD.sub("", line).strip() for line in reason.splitlines()]
    return next((line for line in reversed(lines) if line), "")


def _in(namespace: str) -> list[str]:
    if namespace == ALL:
        return ["--all-namespaces"]
    return [f"--namespace={namespace}"] if namespace else []


def _whole(seconds: float) -> int:
    return max(1, round(seconds))
