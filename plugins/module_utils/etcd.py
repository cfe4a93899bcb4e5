# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Members of the etcd that kubeadm runs on control planes.

Asked over etcd's JSON gateway with the client certificate that kubeadm makes for health checks, so neither
etcdctl nor an API server has to be there.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import urllib.parse

from ansible_collections.ohmykube.cluster.plugins.module_utils import api_server, kubeadm, storage

LOCAL = "https://127.0.0.1:2379"
LISTENS = re.compile(r"--listen-client-urls=(?:\S*,)?(https://(?:127\.0\.0\.1|\[::1\]):[0-9]+)")
ADVERTISED = re.compile(r"--(?:advertise-client|initial-advertise-peer)-urls=https://([^\s\"',]+)")
REQUEST_SECONDS = 10
HEALTH_SECONDS = 4


class EtcdError(Exception):
    """etcd does not answer, or what was asked for would end it."""


class Member:
    """One member; ``name`` is empty, and so are its client URLs, until it has started once."""

    def __init__(self, found):
        self.id = str(found["ID"])
        self.name = found.get("name", "")
        self.peers = found.get("peerURLs", [])
        self.clients = found.get("clientURLs", [])
        self.learner = bool(found.get("isLearner"))

    def __str__(self):
        return self.name or "%x" % int(self.id)

    def is_of(self, node, address):
        """Return True for the member of a node: kubeadm gives it the node's name and its address."""
        hosts = [urllib.parse.urlsplit(url).hostname for url in self.peers]
        return (bool(node) and self.name == node) or (bool(address) and address in hosts)

    def facts(self):
        """Return it as a module shows it."""
        return {
            "id": "%x" % int(self.id),
            "name": self.name,
            "peer_urls": self.peers,
            "learner": self.learner,
        }


def is_here():
    """Return True where kubeadm runs a member of etcd; an external one has none on control planes."""
    return os.path.exists(kubeadm.ETCD_MANIFEST)


def servers():
    """Return where the member of this node answers others, as ``host:port``: clients, and its peers."""
    return ADVERTISED.findall(storage.read_text(kubeadm.ETCD_MANIFEST))


def local():
    """Return where the member of this node answers itself: of IPv6 where the node's primary address is."""
    found = LISTENS.search(storage.read_text(kubeadm.ETCD_MANIFEST))
    return found.group(1) if found else LOCAL


class Etcd:
    """The cluster's etcd, through the member on this node."""

    def __init__(self):
        pki = kubeadm.DIRECTORY + "/pki/etcd/"
        try:
            self._context = api_server.trusting(storage.read_text(pki + "ca.crt"))
            self._context.load_cert_chain(
                pki + "healthcheck-client.crt", pki + "healthcheck-client.key"
            )
        except (OSError, ValueError) as error:
            raise EtcdError("the certificates for etcd cannot be used: %s" % error) from error

    def members(self):
        """Return all members; raises EtcdError."""
        return [Member(one) for one in self._ask(local(), "cluster/member/list").get("members", [])]

    def remove(self, member):
        """Remove a member; raises EtcdError. Nothing is changed without a majority of members."""
        self._ask(local(), "cluster/member/remove", ID=member.id)

    def is_healthy(self, member):
        """Return True when a member answers and knows a leader."""
        if not member.clients:
            return False
        try:
            status = self._ask(member.clients[0], "maintenance/status", timeout=HEALTH_SECONDS)
        except EtcdError:
            return False
        return status.get("leader", "0") != "0"

    def _ask(self, url, method, timeout=REQUEST_SECONDS, **body):
        place = urllib.parse.urlsplit(url)
        client = http.client.HTTPSConnection(
            place.hostname, place.port, context=self._context, timeout=timeout
        )
        try:
            with contextlib.closing(client):
                client.request("POST", "/v3/" + method, json.dumps(body))
                answer = client.getresponse()
                text = answer.read().decode(errors="replace")
                content = json.loads(text) if answer.status == 200 else {}
        except (OSError, ValueError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or error
            raise EtcdError("etcd at %s does not answer: %s" % (url, why)) from error
        if answer.status != 200:
            raise EtcdError("etcd at %s refuses %s: %s" % (url, method, _message(text)))
        return content


def _message(text):
    try:
        return json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        return text.strip()[:200]


def problem_without(member, members, healthy):
    """Return why etcd would not live on without a member, or ''.

    ``healthy``: ids of the members that answer.
    """
    if member.learner:
        return ""
    voters = [one for one in members if not one.learner and one.id != member.id]
    if not voters:
        return "it is the last member"
    missing = [one for one in voters if one.id not in healthy]
    needed = len(voters) // 2 + 1
    if len(voters) - len(missing) >= needed:
        return ""
    return "of the %d members that stay %d must answer, and %s does not" % (
        len(voters),
        needed,
        " and ".join(map(str, missing)),
    )
