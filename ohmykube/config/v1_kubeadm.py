"""The form of ``spec.kubeadm`` in ``apiVersion: ohmykube.dev/v1``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ohmykube.config.fields import Free, Patch  # noqa: TC001 - pydantic reads them
from ohmykube.config.mutability import Mutability
from ohmykube.config.strict import Strict

AT_CREATION = Mutability.AT_CREATION


def _document(kind: str, group: str) -> Any:
    """Return the field of a document of kubeadm: its kind, as the field has it, and its group."""
    description = f"{group} {kind[0].upper()}{kind[1:]}."
    return Field(default_factory=dict, alias=kind, description=description)


class Kubeadm(Strict):
    """Fields of kubeadm's own configuration, as the Kubernetes version has them, merged over ours.
    Arguments, ignored preflight errors and names that a list adds come beside our own entries."""

    init_configuration: Annotated[Free, AT_CREATION] = _document(
        "initConfiguration", "kubeadm.k8s.io/v1beta4"
    )
    join_configuration: Annotated[Free, AT_CREATION] = _document(
        "joinConfiguration", "kubeadm.k8s.io/v1beta4"
    )
    cluster_configuration: Annotated[Free, AT_CREATION] = _document(
        "clusterConfiguration", "kubeadm.k8s.io/v1beta4"
    )
    kubelet_configuration: Annotated[Free, AT_CREATION] = _document(
        "kubeletConfiguration", "kubelet.config.k8s.io/v1beta1"
    )
    kube_proxy_configuration: Annotated[Free, AT_CREATION] = _document(
        "kubeProxyConfiguration", "kubeproxy.config.k8s.io/v1alpha1"
    )
    patches: Annotated[list[Patch], AT_CREATION] = Field(
        default_factory=list,
        description="What is laid over what kubeadm writes: name, such as "
        "kube-apiserver+merge.yaml, and content or source (a local file).",
        max_length=50,
    )
