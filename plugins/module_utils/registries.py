# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""containerd's registry host files: where images of a registry are asked for, and with which header."""

from __future__ import annotations

import contextlib
import json
import os
import re

from ansible_collections.ohmykube.cluster.plugins.module_utils import fetch, storage

MARK = "# Managed by ohmykube.\n"


def hosts_toml(urls, token="", token_scope=""):
    """Return the text of one ``hosts.toml``: mirrors in order, the registry itself last.

    The bearer token goes to mirrors below ``token_scope`` only.
    """
    lines = [MARK]
    for url in urls:
        lines.append("[host.%s]\n" % json.dumps(url))
        lines.append('  capabilities = ["pull", "resolve"]\n')
        if token and fetch.in_scope(url, token_scope):
            lines.append("  [host.%s.header]\n" % json.dumps(url))
            lines.append("    Authorization = [%s]\n" % json.dumps("Bearer " + token))
    return "".join(lines)


def directory_name(registry):
    """Return the directory of a registry below ``certs.d``; containerd writes a port as ``_port_``."""
    if registry == "_default":
        return registry
    if not re.match(r"^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?$", registry):
        raise ValueError("%r is no registry name" % registry)
    return re.sub(r":([0-9]+)$", r"_\1_", registry)


def desired_files(directory, mirrors, token, token_scope):
    """Return the DesiredFile list for ``mirrors`` (registry -> URLs), and the removal of ours that are not wanted."""
    wanted = {}
    for registry, urls in mirrors.items():
        if urls:
            path = os.path.join(directory, directory_name(registry), "hosts.toml")
            wanted[path] = hosts_toml(urls, token, token_scope)
    files = [
        storage.DesiredFile(path, text, mode="0600", sensitive=True)
        for path, text in sorted(wanted.items())
    ]
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(directory)):
            path = os.path.join(directory, name, "hosts.toml")
            if path not in wanted and storage.read_text(path).startswith(MARK):
                files.append(storage.DesiredFile(path, state="absent", sensitive=True))
    return files
