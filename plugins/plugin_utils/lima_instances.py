# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Read what limactl and the marks on the machines tell; changes nothing, starts nothing.

The CLI's package may not be installed where this runs, so its mark is read here once more. Its tests
hold both readers to the same files. Everything returned is data from outside.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess

import yaml

MARK = "ohmykube.yaml"
SCHEMA = 1
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
GROUPS = {"control-plane": "kube_control_plane", "worker": "kube_node"}
SECONDS = 60


class LimaError(Exception):
    """limactl cannot be asked; says why and what to do."""


def home(environ):
    """Return the directory of Lima in which the CLI keeps its machines for this environment's user."""
    if environ.get("OHMYKUBE_LIMA_HOME"):
        return os.path.abspath(os.path.expanduser(environ["OHMYKUBE_LIMA_HOME"]))
    if environ.get("OHMYKUBE_HOME"):
        return os.path.join(os.path.abspath(os.path.expanduser(environ["OHMYKUBE_HOME"])), "lima")
    return os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".omk", "lima")


def marks(lima_home, cluster=None):
    """Return the marks of whole machines by instance, those of one cluster or of all."""
    found = {}
    if not os.path.isdir(lima_home):
        return found
    for name in sorted(os.listdir(lima_home)):
        mark = None if name[0] in "._" else _mark(os.path.join(lima_home, name), name)
        if mark is not None and cluster in (None, mark["cluster"]):
            found[name] = mark
    return found


def _mark(directory, name):
    if not os.path.isfile(os.path.join(directory, "lima.yaml")):
        return None
    try:
        with open(os.path.join(directory, MARK), encoding="utf-8") as stream:
            content = yaml.load(stream, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        return None
    if content.get("instance") != name or not content.get("complete"):
        return None
    texts = {key: str(content.get(key) or "") for key in ("cluster", "node", "role", "network")}
    texts["address"] = str(content.get("routable") or content.get("address") or "")
    return texts if all(NAME.fullmatch(texts[key]) for key in ("cluster", "node")) else None


def listed(lima_home, limactl, names):
    """Return what ``limactl list --json`` tells of these instances, by name.

    Raises LimaError.
    """
    if not names:
        return {}
    argv = [limactl, "--tty=false", "--log-format=json", "list", "--json", *names]
    environ = dict(os.environ, LIMA_HOME=lima_home)
    try:
        done = subprocess.run(
            argv,
            check=False,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
        )
    except FileNotFoundError:
        raise LimaError("%s is not installed, or not on PATH (option limactl)" % limactl) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LimaError("%s cannot be run: %s" % (limactl, error)) from None
    if done.returncode != 0:
        told = done.stderr.decode(errors="replace").strip().splitlines()
        raise LimaError(
            "limactl could not list its machines: %s" % (told or ["no reason given"])[-1]
        )
    found = {}
    try:
        for line in done.stdout.decode(errors="replace").splitlines():
            if line.strip():
                instance = json.loads(line)
                found[str(instance["name"])] = instance
    except (ValueError, TypeError, KeyError) as error:
        raise LimaError("limactl answered something unknown: %s" % error) from None
    return found


def hosts(lima_home, marked, instances):
    """Return a list of hosts: ``name`` of the instance, its ``cluster``, ``node``, ``group``, ``running``, ``variables``."""
    found = []
    for name, mark in marked.items():
        instance = instances.get(name)
        if instance is None:
            continue
        found.append(
            {
                "instance": name,
                "cluster": mark["cluster"],
                "node": mark["node"],
                "group": GROUPS.get(mark["role"], ""),
                "running": instance.get("status") == "Running",
                "variables": _variables(lima_home, name, mark, instance),
            }
        )
    return found


def _variables(lima_home, name, mark, instance):
    user = ((instance.get("config") or {}).get("user") or {}).get("name")
    arguments = [
        # cloud-init makes new host keys at each boot, and the way there does not leave this host.
        *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
        *("-o", "GlobalKnownHostsFile=none", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"),
    ]
    variables = {
        "ansible_host": "127.0.0.1",
        "ansible_user": user,
        "ansible_become": True,
        "ansible_ssh_private_key_file": os.path.join(lima_home, "_config", "user"),
        "ansible_ssh_common_args": shlex.join(arguments),
        "ansible_python_interpreter": "/usr/bin/python3",
        "kubeadm_node_name": mark["node"],
        "ohmykube_cluster": mark["cluster"],
        "ohmykube_provider": "lima",
        "ohmykube_role": mark["role"],
        "lima_instance": name,
        "lima_status": instance.get("status"),
        "lima_cpus": instance.get("cpus"),
        "lima_memory": instance.get("memory"),
        "lima_disk": instance.get("disk"),
        "lima_arch": instance.get("arch"),
        "lima_vm_type": instance.get("vmType"),
        "lima_network": mark["network"],
        "lima_version": instance.get("limaVersion"),
    }
    if instance.get("sshLocalPort"):
        variables["ansible_port"] = instance["sshLocalPort"]
    if mark["address"]:
        variables["kubeadm_node_ip"] = mark["address"]
    return {key: value for key, value in variables.items() if value not in (None, "")}
