# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""What a control plane gives to nodes that are to join: a token, and the key of its certificates."""

from __future__ import annotations

import re
import secrets
import tempfile
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    api_server,
    etcd,
    kubeadm,
    kubectl,
    programs,
    storage,
)

NOTHING = {
    "token": "",
    "ca_cert_hash": "",
    "ca_certificate": "",
    "certificate_key": "",
    "endpoint": "",
    "api_server": "",
    "etcd_servers": [],
    "nodes": [],
}
TTL = "15m"
TOKEN = re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")
KEY = re.compile(r"\b[0-9a-f]{64}\b")


def known():
    """Return what is no secret: where the cluster is, by which authority it is known, and its nodes."""
    listed = kubectl.Kubectl(kubeadm.ADMIN_CONFIG).objects("nodes")
    return {
        "ca_cert_hash": kubeadm.ca_hash(),
        "endpoint": api_server.server_in(storage.read_text(kubeadm.ADMIN_CONFIG)),
        "api_server": api_server.address(),
        "etcd_servers": etcd.servers(),
        "nodes": sorted(node["metadata"]["name"] for node in listed),
    }


def upload_certificates(config):
    """Upload the certificates under a fresh key and return the key; it goes through a private file."""
    key = secrets.token_hex(32)
    document = {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "InitConfiguration",
        "certificateKey": key,
    }
    # kubeadm asks the API server there, by default at the address with the default route, which need not be the node's.
    host, _colon, port = api_server.address().rpartition(":")
    if host:
        document["localAPIEndpoint"] = {"advertiseAddress": host.strip("[]"), "bindPort": int(port)}
    with tempfile.NamedTemporaryFile("w", prefix="ohmykube-", suffix=".yaml", dir="/run") as stream:
        stream.write(kubeadm.render([document]))
        stream.flush()
        argv = [
            "kubeadm",
            "init",
            "phase",
            "upload-certs",
            "--upload-certs",
            "--skip-certificate-key-print",
        ]
        programs.run([*argv, "--config", stream.name, "--kubeconfig", config], timeout=120)
    return key


def made(certificates, check_mode, ttl=TTL):
    """Make a token, and with ``certificates`` upload those; return them with what is known of the cluster.

    In check mode nothing is made. Raises ProgramError, whose texts hold no secret, and OSError.
    """
    try:
        return _made(certificates, check_mode, ttl)
    except programs.ProgramError as error:
        raise programs.ProgramError(
            without_secrets(str(error)), without_secrets(error.output), error.code
        ) from None


def without_secrets(text):
    """Return what a program has said without tokens and keys."""
    return KEY.sub("(a key)", TOKEN.sub("(a token)", text))


def _made(certificates, check_mode, ttl):
    if check_mode:
        return dict(NOTHING, **known())
    with ThreadPoolExecutor(max_workers=1) as pool, api_server.admin_config() as config:
        beside = pool.submit(known)
        argv = ["kubeadm", "token", "create", "--kubeconfig", config, "--ttl", ttl]
        printed = TOKEN.search(programs.run(argv, timeout=120).stdout)
        if printed is None:
            raise programs.ProgramError("kubeadm token create printed no token")
        key = upload_certificates(config) if certificates else ""
        return dict(
            beside.result(),
            token=printed.group(0),
            ca_certificate=storage.read_text(kubeadm.CA_CERTIFICATE),
            certificate_key=key,
        )
