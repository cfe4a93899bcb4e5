"""Records of older schemas, brought to the present one. What each schema held is frozen here.

The inventory plugin reads records without this package, and has the same once more
(``plugins/plugin_utils/cluster_record.py``); its tests hold both to the same files.
"""

from __future__ import annotations

from typing import Any

_LOCKED = {
    "pause_image": "containerd_sandbox_image",
    "etcd_tag": "kubeadm_etcd_image_tag",
    "coredns_tag": "kubeadm_dns_image_tag",
    "flannel_image": "flannel_image",
    "flannel_cni_image": "flannel_cni_plugin_image",
}
"""Settings of a lock of schema 1, and the variables of roles that they became."""


def from_1(body: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a record of schema 1 as one of schema 2.

    Its lock had one architecture and no sets, and flannel was the only add-on. What has another
    form than that release wrote is left as it is, for the check of the form that follows.
    """
    try:
        return {**body, "lock": _lock(body["lock"]), "addons": _addons(body)}
    except (AttributeError, KeyError, TypeError):
        return body


def _lock(lock: dict[str, Any] | None) -> dict[str, Any] | None:
    if lock is None:
        return None
    settings = lock.get("settings", {})
    return {
        "kubernetes_version": lock["kubernetes_version"],
        "architectures": [lock["arch"]],
        "sets": [
            {
                "name": "release",
                "version": lock["kubernetes_version"],
                "artifacts": lock["artifacts"],
                "variables": {v: settings[name] for name, v in _LOCKED.items() if name in settings},
            }
        ],
    }


def _addons(body: dict[str, Any]) -> list[dict[str, Any]]:
    network = body["document"].get("spec", {}).get("network", {})
    if network.get("cni") != "flannel":
        return []
    return [
        {
            "name": "flannel",
            "version": "0.26.7",
            "role": "ohmykube.cluster.flannel",
            "namespace": "",
            "provides": ["cni"],
            "variables": {
                "flannel_network": network["podCIDR"],
                "flannel_backend": network["flannel"]["backend"],
                "flannel_nftables": network["proxyMode"] == "nftables",
            },
            "removal": {"flannel_state": "absent"},
        }
    ]
