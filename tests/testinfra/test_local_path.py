"""What the role local_path gives: a claim without a class is bound, and keeps what is written."""

from __future__ import annotations

import json
from typing import Any

ADMIN = "kubectl --kubeconfig /etc/kubernetes/admin.conf"
PROVISIONER = "-nlocal-path-storage deployment/local-path-provisioner"
DIRECTORY = "/opt/local-path-provisioner"
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
}


def pod(image: str, *command: str) -> dict[str, Any]:
    container = {
        "name": "it",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["/bin/busybox", "sh", "-c", " && ".join(command)],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "uses"},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {"runAsUser": 1000},
            "containers": [container],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        },
    }


def apply(host: Any, *objects: dict[str, Any]) -> None:
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    host.check_output(f"echo %s | {ADMIN} apply -f -", document)


def ended(host: Any) -> str:
    done = "--for=jsonpath={.status.phase}=Succeeded"
    host.check_output(f"{ADMIN} wait pod/uses {done} --timeout=90s")
    said: str = host.check_output(f"{ADMIN} logs uses")
    host.check_output(f"{ADMIN} delete pod/uses")
    return said


def asked_of(host: Any) -> bool:
    """Tell whether this is the node that is asked of the cluster."""
    return bool(host.check_output("hostname") == "cp1")


def test_a_claim_without_a_class_keeps_a_word(host: Any) -> None:
    """From one pod to the next, for a user who is not root; and then nothing is left of it."""
    if not asked_of(host):
        return
    where = "-ojsonpath={.spec.template.spec.containers[0].image}"
    image = host.check_output(f"{ADMIN} get {PROVISIONER} {where}")
    apply(host, CLAIM, pod(image, "echo kept >/data/word"))
    ended(host)
    apply(host, pod(image, "cat /data/word"))
    assert ended(host).strip() == "kept"
    volume = host.check_output(f"{ADMIN} get pvc/data -ojsonpath={{.spec.volumeName}}")
    host.check_output(f"{ADMIN} delete pvc/data")
    host.check_output(f"{ADMIN} wait pv/{volume} --for=delete --timeout=60s")


def test_nothing_of_a_deleted_claim_is_on_the_node(host: Any) -> None:
    assert host.check_output(f"ls -A {DIRECTORY} 2>&1 || true") in ("", absent())


def absent() -> str:
    """Return what ``ls`` says where no volume has been."""
    return f"ls: cannot access '{DIRECTORY}': No such file or directory"


def test_it_is_the_default_and_the_only_class(host: Any) -> None:
    if not asked_of(host):
        return
    (found,) = json.loads(host.check_output(f"{ADMIN} get storageclasses -ojson"))["items"]
    default = "storageclass.kubernetes.io/is-default-class"
    assert found["metadata"]["annotations"][default] == "true"
    assert found["volumeBindingMode"] == "WaitForFirstConsumer"
