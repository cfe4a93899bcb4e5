# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Whether what our modules look after on this node still is as they left it; changes nothing.

``managed`` writes the records that are compared here. This file and ``pod_network`` need Python's standard
library and nothing else: fed, one after the other, to ``python3 - '{"seconds": 5}'`` they print, as JSON, what
``Look.answer`` returns.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys

from ansible_collections.ohmykube.cluster.plugins.module_utils.pod_network import (
    dns_answers,
    gateways,
    reached,
)

DIRECTORY = "/var/lib/ohmykube"
MANAGED = "managed.json"
OBJECTS = "objects.json"
ARTIFACTS = "artifacts.json"
KUBEADM = "kubeadm.json"
SUCCESS = {
    "init": "Your Kubernetes control-plane has initialized successfully",
    "join": "This node has joined the cluster",
}
LOG_DIRECTORY = "/var/log/ohmykube"
KUBELET_CONFIG = "/etc/kubernetes/kubelet.conf"
ADMIN_CONFIG = "/etc/kubernetes/admin.conf"
PROC = "/proc"
SYS = "/sys"
# It is there as long as systemd knows the unit (systemd.unit(5)), and that is collected when it has ended.
PULLS = "/run/systemd/transient/ohmykube-images.service"
KUBECTL_CACHE = "/run/ohmykube-kubectl"
# This node's own API server, not the cluster's endpoint, which may lead to a machine that is gone.
LOCAL = ("--server=https://127.0.0.1:6443", "--tls-server-name=kubernetes")
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PINNED = "io.cri-containerd.pinned=pinned"
PRESSURES = ("DiskPressure", "MemoryPressure", "PIDPressure")
RUNNING = ("active", "activating", "reloading")
ENABLED = ("enabled", "enabled-runtime", "static", "alias")
SHOW = ("systemctl", "show", "--property=Id,ActiveState,UnitFileState,NeedDaemonReload", "--")


# -- files -----------------------------------------------------------------------------------------


def mark(found):
    """Return what changes with a file, of its ``lstat``: editing it leaves none of these as it was."""
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, *identity(found)]


def identity(found):
    """Return type, mode and owner of a file, of its ``lstat``."""
    return [found.st_mode, found.st_uid, found.st_gid]


def digest_of(path):
    """Return the sha256 of a file's bytes, as hex."""
    total = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            total.update(block)
    return total.hexdigest()


def lstat(path):
    """Return ``lstat``, or None where nothing is."""
    try:
        return os.lstat(path)
    except OSError:
        return None


def file_differs(path, entry):
    """Return in what a file differs from its entry in the record, or ''; the entry None says that it is gone."""
    found = lstat(path)
    if entry is None:
        return "%s is there again" % path if found else ""
    if found is None:
        return "%s is gone" % path
    if mark(found) == entry["mark"]:
        return ""
    if identity(found) != entry["mark"][3:]:
        return "%s has another mode or owner" % path
    # Touched, or put back: the bytes decide.
    return "" if digest_of(path) == entry["sha256"] else "%s has been edited" % path


def files_differ(managed, artifacts):
    """Return in what files of the records differ from them, and '' for those that do not."""
    for path, entry in sorted(managed.get("files", {}).items()):
        yield file_differs(path, entry)
    for path in managed.get("directories", ()):
        yield "" if os.path.isdir(path) else "%s is gone" % path
    for name, known in sorted(artifacts.get("artifacts", {}).items()):
        for path, marked in sorted(known["files"].items()):
            found = lstat(path)
            if found is None:
                yield "%s of %s is gone" % (path, name)
            elif [found.st_size, found.st_mtime_ns] != marked:
                yield "%s of %s has been replaced" % (path, name)


def _kernel(managed):
    for key, value in sorted(managed.get("sysctls", {}).items()):
        found = _text(PROC + "/sys/" + key.replace(".", "/")).split()
        if found != str(value).split():
            yield "sysctl %s is %s" % (key, " ".join(found) or "not there")
    for name in managed.get("modules", ()):
        kernel_name = name.replace("-", "_")
        loaded = re.search(r"^%s " % re.escape(kernel_name), _text(PROC + "/modules"), re.MULTILINE)
        if not loaded and not os.path.isdir(SYS + "/module/" + kernel_name):
            yield "kernel module %s is not loaded" % name
    if managed.get("swap_off") and len(_text(PROC + "/swaps").splitlines()) > 1:
        yield "swap is on"


def _text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def _json(text):
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


# -- units and images ------------------------------------------------------------------------------


def properties(shown):
    """Return {property: value} of each unit of which ``systemctl show`` has printed ``shown``."""
    return [
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for block in shown.split("\n\n")
    ]


def units_differ(units, shown):
    """Return in what units differ from the record; ``shown`` is what ``systemctl show`` prints of them, in order."""
    for (name, wanted), found in zip(sorted(units.items()), properties(shown)):
        state = found.get("ActiveState", "unknown")
        if wanted.get("active") is not None and wanted["active"] is not (state in RUNNING):
            yield "%s is %s" % (name, state)
        enabled = found.get("UnitFileState", "") in ENABLED
        if wanted.get("enabled") is not None and wanted["enabled"] is not enabled:
            yield "%s is %s" % (name, "enabled" if enabled else "not enabled")
        if found.get("NeedDaemonReload") == "yes":
            yield "systemd has read another file of %s" % name


def listing(text):
    """Return {reference: (digest, labels)} of the output of ``ctr images ls``."""
    rows = [line.split() for line in text.splitlines()[1:]]
    return {row[0]: (row[2], row[-1].split(",")) for row in rows if len(row) > 3}


def matches(image, found):
    """Return True when ``image`` is there, with the wanted digest, pinned."""
    digest, labels = found.get(image["ref"], ("", []))
    return bool(digest) and image["digest"] in ("", digest) and PINNED in labels


# -- the API ---------------------------------------------------------------------------------------


def object_digest(item):
    """Return a hash of what somebody may have changed in an object: all but its status and bookkeeping."""
    metadata = item.get("metadata", {})
    rest = {key: value for key, value in item.items() if key not in ("metadata", "status")}
    kept = {key: metadata.get(key) or {} for key in ("labels", "annotations")}
    return hashlib.sha256(json.dumps([rest, kept], sort_keys=True).encode()).hexdigest()


def object_name(item):
    """Return ``Kind namespace/name``, or ``Kind name``."""
    metadata = item["metadata"]
    names = [metadata[key] for key in ("namespace", "name") if metadata.get(key)]
    return "%s %s" % (item["kind"], "/".join(names))


def objects_differ(recorded, listed):
    """Return {name: [when it was applied, in what it differs or '']} of objects of the record."""
    found = {
        object_name(item): object_digest(item) for item in listed.get("items", [listed]) if item
    }
    result = {}
    for name, entry in recorded.items():
        problem = ""
        if entry["digest"] is None:
            problem = "%s is there again" % name if name in found else ""
        elif name not in found:
            problem = "%s is gone" % name
        elif found[name] != entry["digest"]:
            problem = "%s has been changed" % name
        result[name] = [entry["at"], problem]
    return result


def node_summary(item):
    """Return of a Node object what we look at."""
    conditions = item.get("status", {}).get("conditions", [])
    ready = next((one for one in conditions if one["type"] == "Ready"), {})
    is_ready = ready.get("status") == "True"
    short = [one for one in conditions if one["type"] in PRESSURES and one["status"] == "True"]
    return {
        "name": item["metadata"]["name"],
        "labels": item["metadata"].get("labels", {}),
        "taints": [
            "%s=%s:%s" % (taint["key"], taint.get("value", ""), taint["effect"])
            for taint in item.get("spec", {}).get("taints", [])
        ],
        "pod_network": ",".join(item.get("spec", {}).get("podCIDRs", [])),
        "unschedulable": bool(item.get("spec", {}).get("unschedulable")),
        "ready": is_ready,
        "reason": "" if is_ready else str(ready.get("message", "no status yet")),
        "pressure": "; ".join("%s: %s" % (one["type"], one.get("message", "")) for one in short),
        "version": item.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", ""),
    }


# -- the whole -------------------------------------------------------------------------------------


class _Program:
    """A program that runs while we look at other things."""

    def __init__(self, argv, seconds, stdin=None):
        self._stdin = stdin
        self._seconds = seconds
        self._process = None
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={"HOME": "/root", "LC_ALL": "C.UTF-8", "PATH": SEARCH_PATH},
                universal_newlines=True,
            )

    def output(self):
        """Return (its output, '') or (None, why it has none)."""
        if self._process is None:
            return None, "it is not installed"
        try:
            out, err = self._process.communicate(self._stdin, timeout=self._seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return None, "it did not end within %d s" % self._seconds
        if self._process.returncode != 0:
            return None, (err.strip().splitlines() or ["no reason given"])[-1]
        return out, ""


class Look:
    """One look at this node.

    ``options``: ``seconds`` for each program; ``dns``, a pair of server and name to ask it for, or
    None; ``overlays``, starts of the names of network cards that lead to pods of other nodes;
    ``differences``, false where what differs from the record is not asked.
    """

    def __init__(self, options, directory=DIRECTORY):
        self._seconds = options["seconds"]
        self._dns = options.get("dns")
        self._overlays = tuple(options.get("overlays", ()))
        self._compares = options.get("differences", True)
        texts = {
            name: _text(os.path.join(directory, name))
            for name in (MANAGED, ARTIFACTS, KUBEADM, OBJECTS)
        }
        self._records = "".join(texts[name] for name in (MANAGED, ARTIFACTS, KUBEADM))
        self._managed, self._artifacts = _json(texts[MANAGED]), _json(texts[ARTIFACTS])
        self._kubeadm, self._objects = _json(texts[KUBEADM]), _json(texts[OBJECTS])
        self._is_control_plane = lstat(ADMIN_CONFIG) is not None

    def answer(self):
        """Return everything; programs run side by side."""
        api, objects = self._ask_api(), self._ask_objects()
        local = list(self._differences()) if self._compares else []
        joined = self._progress() == "joined"
        dns = bool(self._dns) and joined and dns_answers(*self._dns)
        tables = [_text(PROC + "/net/" + name) for name in ("route", "ipv6_route")]
        hops = gateways(*tables, self._overlays) if self._overlays and joined else ()
        return {
            "record": hashlib.sha256(self._records.encode()).hexdigest() if self._managed else "",
            "kubeadm": self._progress(),
            "differs": [text for text in local if text],
            **self._api(api),
            **self._applied(objects),
            "dns": dns,
            "pulling": os.path.exists(PULLS),
            "reached": reached(hops),
            "admin": _text(ADMIN_CONFIG),
        }

    def _program(self, argv, stdin=None):
        return _Program(argv, self._seconds, stdin)

    def _kubectl(self, arguments, stdin=None):
        options = ["--kubeconfig", ADMIN_CONFIG, "--cache-dir", KUBECTL_CACHE, *LOCAL]
        limit = "--request-timeout=%ds" % self._seconds
        return self._program(["kubectl", *options, limit, *arguments, "--output=json"], stdin)

    def _ask_api(self):
        if not self._is_control_plane:
            return None
        return self._kubectl(["get", "nodes,services", "--all-namespaces"])

    def _ask_objects(self):
        known = self._objects.get("objects", {})
        if not known or not self._is_control_plane or not self._compares:
            return None
        items = [entry["identity"] for _name, entry in sorted(known.items())]
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        return self._kubectl(["get", "--ignore-not-found", "--filename=-"], manifest)

    def _differences(self):
        units, images = self._managed.get("units", {}), self._managed.get("images", [])
        shown = self._program([*SHOW, *sorted(units)]) if units else None
        there = self._program(["ctr", "--namespace", "k8s.io", "images", "ls"]) if images else None
        yield from files_differ(self._managed, self._artifacts)
        yield from _kernel(self._managed)
        if self._progress() == "joined" and lstat(KUBELET_CONFIG) is None:
            yield "%s is gone" % KUBELET_CONFIG
        if shown is not None:
            text, why = shown.output()
            yield from [why and "systemctl: " + why] if text is None else units_differ(units, text)
        if there is not None:
            text, why = there.output()
            found = listing(text or "")
            yield why and "images cannot be listed: " + why
            yield from (
                "image %s is not there" % image["ref"]
                for image in images
                if text is not None and not matches(image, found)
            )

    def _progress(self):
        """Return how far kubeadm is; one whose caller was killed may have finished."""
        if not self._kubeadm:
            return ""
        done = self._kubeadm.get("finished") or any(
            words in _text("%s/kubeadm-%s.log" % (LOG_DIRECTORY, action))
            for action, words in SUCCESS.items()
        )
        return "joined" if done else "begun"

    @staticmethod
    def _api(program):
        text, why = program.output() if program else (None, "")
        if text is None:
            return {"nodes": None, "services": [], "api": why}
        items = json.loads(text)["items"]
        services = [
            item
            for item in items
            if item["kind"] == "Service" and item["spec"].get("type") == "LoadBalancer"
        ]
        nodes = [node_summary(item) for item in items if item["kind"] == "Node"]
        return {"nodes": nodes, "services": services, "api": ""}

    def _applied(self, program):
        known = self._objects.get("objects", {})
        # That the API does not answer is told with the nodes.
        text, _why = program.output() if program else (None, "")
        return {"objects": {} if text is None else objects_differ(known, json.loads(text or "{}"))}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(Look(json.loads(sys.argv[1])).answer()))
