"""Files and directories that pods of the control plane mount, and that nobody puts there.

A kubelet does not start a pod that mounts a file which is not there, and kubeadm waits minutes for
it. The machines of a host that was there before may have it; those that a provider makes have
what their image has, and what ``spec.nodes.controlPlane.files`` puts there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.config.mounts import is_within
from ohmykube.model.cluster import Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ohmykube.config import v1
    from ohmykube.config.problems import Path, Problem
    from ohmykube.config.yaml_source import Source
    from ohmykube.model.cluster import Node

MAKING_PROVIDERS = ("auto", "lima", "nspawn")
"""Those whose machines are all made from an image without anything of the user's."""
_BASE: Path = ("spec", "kubeadm", "clusterConfiguration")
_COMPONENTS = ("apiServer", "controllerManager", "scheduler")
_NEEDED = ("File", "Directory")
"""Types of a host path that must be there; others are made, or not looked at."""
_OF_THE_IMAGE = ("/dev", "/etc/ssl", "/lib", "/proc", "/sys", "/usr")
_OF_KUBEADM = "/etc/kubernetes"
_OF_ANY_SYSTEM = ("/", "/bin", "/etc", "/etc/hosts", "/etc/localtime", "/home", "/opt", "/root",
                  "/run", "/sbin", "/srv", "/var", "/var/lib", "/var/log")  # fmt: skip


def problems(spec: v1.Spec, nodes: Sequence[Node], source: Source) -> list[Problem]:
    """Return the mounts of ``extraVolumes`` to which no file is put."""
    if spec.provider.name not in MAKING_PROVIDERS:
        return []
    planes = [node for node in nodes if node.role is Role.CONTROL_PLANE]
    found = []
    for path, place, kind in _mounts(spec.kubeadm.cluster_configuration):
        missing = [node.name for node in planes if not _is_there(place, kind, node)]
        if missing:
            text = f"is not on a new machine: nothing puts {place} on {', '.join(missing)}"
            found.append(source.problem(path, f"{text}; use spec.nodes.controlPlane.files"))
    return found


def _mounts(document: object) -> Iterator[tuple[Path, str, str]]:
    for component in _COMPONENTS:
        section = document.get(component) if isinstance(document, dict) else None
        volumes = section.get("extraVolumes") if isinstance(section, dict) else None
        for index, volume in enumerate(volumes if isinstance(volumes, list) else ()):
            if not isinstance(volume, dict) or volume.get("pathType") not in _NEEDED:
                continue
            place = volume.get("hostPath")
            if isinstance(place, str):
                path = (*_BASE, component, "extraVolumes", index, "hostPath")
                yield path, place.rstrip("/") or "/", volume["pathType"]


def _is_there(place: str, kind: str, node: Node) -> bool:
    if place in _OF_ANY_SYSTEM or any(
        place == one or place.startswith(f"{one}/") for one in _OF_THE_IMAGE
    ):
        return True
    if any(is_within(place, mount.node) for mount in node.mounts):
        return True  # or not: then it is in a directory of the user's
    # What kubeadm makes is made before the pods start.
    inside = place.removeprefix(_OF_KUBEADM) if place.startswith(f"{_OF_KUBEADM}/") else ""
    if (
        place == _OF_KUBEADM
        or inside.startswith(("/pki", "/manifests"))
        or (inside.count("/") == 1 and inside.endswith(".conf"))
    ):
        return True
    if kind == "Directory":
        return any(file.path.startswith(f"{place}/") for file in node.files)
    return any(file.path == place for file in node.files)
