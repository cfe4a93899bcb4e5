# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Which control plane is asked, whether one makes the cluster, and who joins; pure functions."""

from __future__ import annotations

NEXT_MEMBER = "look at them (journalctl -u kubelet, crictl ps -a), start what is stopped, and run this again. Nothing was changed"
NEXT_UNKNOWN = (
    "let it be reached, or take it out of the group of control planes if it is gone for good, and run this again. Nothing "
    "was changed"
)


def kubeadm_choice(hosts, planes, looked, leaving=(), workers=(), *, foretold=()):
    """Return which control plane speaks for the cluster.

    ``hosts``: variables of the hosts of this play. ``planes``: the group of control planes. ``looked``:
    results of ``node_info`` on others. ``leaving``: hosts that are about to leave the cluster.
    ``workers``: the group of workers, which may know a cluster that the control planes do not have.
    ``foretold``: in check mode, control planes of earlier batches that would have made the cluster by now.

    The result has ``leader`` (a host, or ''), ``init`` (True: there is no cluster, and it makes one),
    ``facts`` (its own), ``look`` (hosts that must be looked at first) and ``problem`` (why nothing can
    be done).
    """
    facts = {host["inventory_hostname"]: _facts(host) for host in hosts}
    return Choice(planes, facts, looked, leaving, workers, foretold=foretold).result()


class Choice:
    """What is known of the control planes."""

    def __init__(self, hosts, facts, looked, leaving=(), workers=(), *, foretold=()):
        self._hosts = list(hosts)
        self._foretold = list(foretold)
        self._workers = [host for host in workers if host not in self._hosts]
        self._play = {host: dict(found or {}) for host, found in facts.items()}
        self._leaving = set(leaving)
        self._known = {host: self._play.get(host, {}) for host in [*self._hosts, *self._workers]}
        self._unreached = {}
        self._looked = set()
        for result in looked:
            host = result["__kubeadm_host"]
            self._looked.add(host)
            found = (result.get("ansible_facts") or {}).get("ohmykube_node")
            self._known[host] = dict(found or {})
            if not found:
                self._unreached[host] = str(result.get("msg") or "it cannot be looked at").strip()

    def result(self):
        """Return the choice."""
        members = [host for host in self._hosts if self._is_member(host)]
        answering = [host for host in members if self._answers(host)]
        staying = [host for host in answering if host not in self._leaving]
        candidates = staying or [host for host in members if host not in self._leaving]
        chosen = {
            "leader": min(candidates, key=self._rank, default=""),
            "init": False,
            "look": [] if staying else self._to_look_at(members),
            "problem": "",
        }
        if members:
            chosen["problem"] = self._of_members(members, staying)
        elif self._foretold:
            chosen["leader"] = self._foretold[0]
        else:
            chosen["problem"] = self._of_none()
            chosen["leader"] = self._maker()
            chosen["init"] = bool(chosen["leader"]) and not chosen["problem"]
        chosen["facts"] = self._known.get(chosen["leader"], {})
        return chosen

    def _is_member(self, host):
        found = self._known[host]
        return bool(found.get("joined") or found.get("control_plane"))

    def _answers(self, host):
        found = self._known[host]
        return bool(found.get("control_plane")) and not found.get("api_problem")

    def _rank(self, host):
        """Return what sorts the hosts of the play before others, and then by the group's order."""
        return (host not in self._play, self._hosts.index(host))

    def _to_look_at(self, members):
        wanted = [host for host in self._hosts if host in members or not self._known[host]]
        if not members and not self._leaving and any(self._play.get(host) for host in self._hosts):
            # One of the play may have to make the cluster: nobody else may have one.
            wanted += [host for host in self._workers if host not in self._play]
        return [host for host in wanted if host not in self._looked]

    def _maker(self):
        """Return who makes the cluster: who has begun to, else the first one in the play."""
        begun = [host for host in self._hosts if self._known[host].get("begun") == "init"]
        return next(iter(begun or [host for host in self._hosts if self._play.get(host)]), "")

    def _of_members(self, members, staying):
        by_authority = {}
        for host in members:
            by_authority.setdefault(self._known[host].get("cluster_ca", ""), []).append(host)
        if len(by_authority) > 1:
            shown = "; ".join(
                "%s (certificate authority %s)" % (", ".join(found), authority or "not known")
                for authority, found in sorted(by_authority.items())
            )
            return (
                "the control planes of this inventory belong to different clusters: %s. Put each cluster into an inventory "
                "or a group of its own. Nothing was changed" % shown
            )
        if staying:
            return ""
        reasons = {host: self._known[host].get("api_problem") or "" for host in members}
        reasons.update({host: "it is about to leave" for host in members if host in self._leaving})
        reasons.update({h: why for h, why in self._unreached.items() if h in self._hosts})
        shown = "; ".join(
            "%s: %s" % (host, why or "no API server is set up here")
            for host, why in reasons.items()
        )
        return "a cluster is there, but none of its control planes answers: %s. Next: %s" % (
            shown,
            NEXT_MEMBER,
        )

    def _of_none(self):
        if not self._hosts:
            return "the inventory has no host in the group of control planes (kubeadm_control_plane_group)"
        unknown = [host for host in self._hosts if not self._known[host]]
        if unknown:
            shown = "; ".join("%s: %s" % (host, self._why_unknown(host)) for host in unknown)
            if self._leaving:
                return "no control plane was found that speaks for the cluster: %s. Next: %s" % (
                    shown,
                    NEXT_UNKNOWN,
                )
            return (
                "it cannot be told whether there is a cluster already, and a second one is not made: %s. Next: %s"
                % (shown, NEXT_UNKNOWN)
            )
        if self._leaving:
            return (
                "none of the control planes has a cluster that a node could leave: %s"
                % ", ".join(self._hosts)
            )
        maker = self._maker()
        return self._of_others(maker) or self._of_maker(maker)

    def _of_others(self, maker):
        others = {
            host: found.get("cluster_ca") or "not known"
            for host, found in {**self._known, **self._play}.items()
            if host != maker and has_cluster(found)
        }
        if not others:
            return ""
        return (
            "no control plane of this inventory has a cluster, but %s belongs to one (certificate authority %s), and a "
            "second one is not made. Next: add a control plane of that cluster to the group, or restore one; to make a "
            "new cluster, take %s out of this inventory. Nothing was changed"
            % (
                " and ".join(sorted(others)),
                ", ".join(sorted(set(others.values()))),
                "it" if len(others) == 1 else "them",
            )
        )

    def _of_maker(self, maker):
        if not maker:
            return (
                "there is no cluster yet, and no control plane in this play that could make one. Next: run it with a host of "
                "%s. Nothing was changed" % ", ".join(self._hosts)
            )
        if maker not in self._play:
            return (
                "%s has begun to make the cluster, and is not in this play. Next: run it with that host. Nothing was changed"
                % maker
            )
        return ""

    def _why_unknown(self, host):
        if host in self._play:
            return "it is in this play, but was not looked at; the play needs a strategy that keeps hosts in step, as linear"
        return self._unreached.get(host, "it was not looked at")


def has_cluster(found):
    """Return True for the facts of a node that belongs to a cluster, whoever let it join."""
    made_by_others = found.get("cluster_ca") and not found.get("begun")
    return bool(found.get("joined") or found.get("control_plane") or made_by_others)


def kubeadm_addresses(hosts):
    """Return node name -> address, or '', of hosts given by their variables, the fact ``kubeadm_node`` among them."""
    return {host["kubeadm_node"]["name"]: host["kubeadm_node"]["ip"] for host in hosts}


def kubeadm_joining(hosts):
    """Return node name -> address of those hosts that have yet to join."""
    return kubeadm_addresses(
        host
        for host in hosts
        if not _facts(host).get("joined") and not _facts(host).get("control_plane")
    )


def kubeadm_newcomers(hosts, planes):
    """Return what those hosts are that have yet to join: ``nobody``, ``worker`` or ``control_plane``.

    Nothing is known of them yet but what was found on them: no cluster has been looked at.
    """
    new = {
        host["inventory_hostname"]
        for host in hosts
        if not _facts(host).get("joined") and not _facts(host).get("control_plane")
    }
    if not new:
        return "nobody"
    return "control_plane" if new.intersection(planes) else "worker"


def _facts(host):
    return (host.get("ansible_facts") or {}).get("ohmykube_node") or {}


def kubeadm_default_addresses(node, pod_cidr):
    """Return the node's addresses with the default routes, in the families of the pod network, as kubelet takes them."""
    known = [node.get("default_ip") or "", node.get("default_ip6") or ""]
    found = []
    for network in pod_cidr.split(","):
        found += [one for one in known if one and (":" in one) == (":" in network)][:1]
    return ",".join(found)


class FilterModule:
    """The filters of this file."""

    def filters(self):
        return {
            "kubeadm_default_addresses": kubeadm_default_addresses,
            "kubeadm_addresses": kubeadm_addresses,
            "kubeadm_choice": kubeadm_choice,
            "kubeadm_joining": kubeadm_joining,
            "kubeadm_newcomers": kubeadm_newcomers,
        }
