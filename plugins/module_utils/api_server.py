# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""The API server of a control plane: where it listens, and whether it answers.

A cluster's endpoint may lead to the control plane that is gone. What runs on a control plane asks the API
server of the same node therefore.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import ssl
import tempfile
import time
import urllib.parse

from ansible_collections.ohmykube.cluster.plugins.module_utils import kubeadm, storage

ANNOTATION = re.compile(r"kube-apiserver\.advertise-address\.endpoint: *[\"']?([^\s\"']+)")
SERVER = re.compile(r"^(\s*server: *[\"']?https://)([^\s\"'/]+)", re.MULTILINE)
REQUEST_SECONDS = 10
CONNECT_SECONDS = 3


def manifest():
    """Return the path of the API server's static pod."""
    return kubeadm.DIRECTORY + "/manifests/kube-apiserver.yaml"


def address_in(manifest_text):
    """Return ``host:port`` at which the API server of a manifest of kubeadm listens, or ''."""
    found = ANNOTATION.search(manifest_text)
    return found.group(1) if found else ""


def server_in(kubeconfig_text):
    """Return ``host:port`` of the server in a kubeconfig with one cluster, or ''."""
    found = SERVER.search(kubeconfig_text)
    return found.group(2) if found else ""


def aimed(kubeconfig_text, address):
    """Return a kubeconfig with another ``host:port`` as its server."""
    return SERVER.sub(lambda found: found.group(1) + address, kubeconfig_text)


def address():
    """Return ``host:port`` of the API server of this node, or '' where there is none of kubeadm's."""
    return address_in(storage.read_text(manifest()))


@contextlib.contextmanager
def admin_config():
    """Yield the path of a kubeconfig for administrators that leads to the API server of this node."""
    text, own = storage.read_text(kubeadm.ADMIN_CONFIG), address()
    if not own or server_in(text) == own:
        yield kubeadm.ADMIN_CONFIG
        return
    with tempfile.NamedTemporaryFile("w", prefix="ohmykube-", suffix=".conf", dir="/run") as stream:
        stream.write(aimed(text, own))
        stream.flush()
        yield stream.name


def trusting(authority):
    """Return a TLS context that trusts one certificate authority (PEM); raises ValueError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=authority)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError("the certificate authority cannot be read: %s" % error) from error
    return context


def problem(server, authority, timeout=REQUEST_SECONDS):
    """Return why the API server at ``host:port`` is not ready, or '' when it is.

    It is not ready either when its etcd does not answer.
    """
    try:
        place = urllib.parse.urlsplit("//" + server)
        client = http.client.HTTPSConnection(
            place.hostname, place.port or 443, context=trusting(authority), timeout=timeout
        )
        with contextlib.closing(client):
            client.request("GET", "/readyz")
            answer = client.getresponse()
            text = answer.read(65536).decode(errors="replace")
    except (OSError, ValueError, http.client.HTTPException) as error:
        return "%s does not answer: %s" % (server, getattr(error, "strerror", None) or error)
    if answer.status in (200, 401, 403):  # who may not ask has been answered
        return ""
    failed = re.findall(r"^\[-\](\S+)", text, re.MULTILINE)
    return "%s is not ready (%d%s)" % (server, answer.status, "".join(": " + one for one in failed))


def unreachable(servers, seconds, clock=time.monotonic, pause=time.sleep):
    """Return ``host:port`` and the reason of those to which no connection comes about within ``seconds``."""
    deadline = clock() + seconds
    problems = dict.fromkeys(servers, "")
    while True:
        for server in problems:
            place = urllib.parse.urlsplit("//" + server)
            problems[server] = _refused(place.hostname, place.port or 443)
        problems = {server: why for server, why in problems.items() if why}
        if not problems or clock() >= deadline:
            return list(problems.items())
        pause(1)


def _refused(host, port):
    try:
        with socket.create_connection((host, port), timeout=CONNECT_SECONDS):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def wait(seconds, at=lambda path: path):
    """Return why the API server of this node is not ready after ``seconds``, or '' when it is."""
    deadline = time.monotonic() + seconds
    while True:
        server = address_in(storage.read_text(at(manifest())))
        authority = storage.read_text(at(kubeadm.CA_CERTIFICATE))
        why = problem(server, authority) if server else "no API server is set up here"
        if not why or time.monotonic() >= deadline:
            return why
        time.sleep(1)


def is_here(at=lambda path: path):
    """Return True on a control plane, whether or not it runs."""
    return os.path.exists(at(kubeadm.ADMIN_CONFIG)) and os.path.exists(at(manifest()))
