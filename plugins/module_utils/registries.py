# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""containerd's registry host files: where images of a registry are asked for, and with which header."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re

from ansible_collections.ohmykube.cluster.plugins.module_utils import fetch, ownership, storage

MARK = ownership.MARK
CA_PREFIX = "ohmykube-"
NOT_READ = """containerd does not read host files in %s: its config_path is %s.
Add this to /etc/containerd/config.toml (the second line for containerd 1.x) and restart containerd:
  [plugins."io.containerd.cri.v1.images".registry]
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "%s"
or name a directory that it reads as registry_config_path."""


def hosts_toml(mirrors, server=None):
    """Return the text of one ``hosts.toml``: mirrors in order, the registry itself last.

    Each is a dictionary: ``url``, and where needed ``header`` (the value of Authorization), ``ca`` (a
    file on the node) and ``override_path``. ``server`` stands for the registry itself; without it
    containerd asks that by https, as nobody.
    """
    lines = [MARK]
    if server:
        lines.append("server = %s\n" % json.dumps(server["url"]))
        lines += _settings(server, "", "[header]")
    for mirror in mirrors:
        table = "host.%s" % json.dumps(mirror["url"])
        lines.append("[%s]\n" % table)
        lines += _settings(mirror, "  ", "  [%s.header]" % table)
    return "".join(lines)


def _settings(mirror, indent, header):
    lines = ['capabilities = ["pull", "resolve"]\n']
    if mirror.get("ca"):
        lines.append("ca = %s\n" % json.dumps(mirror["ca"]))
    if mirror.get("override_path"):
        lines.append("override_path = true\n")
    lines = [indent + line for line in lines]
    if mirror.get("header"):
        lines.append("%s\n" % header)
        lines.append("%s  Authorization = [%s]\n" % (indent, json.dumps(mirror["header"])))
    return lines


def directory_name(registry):
    """Return the directory of a registry below ``certs.d``; containerd writes a port as ``_port_``."""
    if registry == "_default":
        return registry
    if not re.match(r"^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?$", registry):
        raise ValueError("%r is no registry name" % registry)
    return re.sub(r":([0-9]+)$", r"_\1_", registry)


def authorization(url, about, token="", token_scope=""):
    """Return the Authorization header for a mirror, or an empty string."""
    if about.get("token"):
        return "Bearer " + about["token"]
    if about.get("username"):
        pair = "%s:%s" % (about["username"], about.get("password") or "")
        return "Basic " + base64.b64encode(pair.encode()).decode()
    if token and fetch.in_scope(url, token_scope):
        return "Bearer " + token
    return ""


def desired_files(
    directory, mirrors, *, servers=None, token="", token_scope="", options=(), fallback=True
):
    """Return the DesiredFile list for ``mirrors`` (registry -> URLs), and the removal of ours that are not wanted.

    ``servers`` has the URL by which a registry itself is asked, where that is not https, or it needs
    one of ``options``. Those are dictionaries with ``url`` and what the server at that URL needs:
    ``token``, or ``username`` and ``password``; ``ca`` (PEM text); ``override_path``. Without
    ``fallback`` the last mirror stands for a registry that has no server, and is not asked itself.
    """
    about = {one["url"].rstrip("/"): one for one in options}
    servers = servers or {}
    wanted = {}
    for registry in dict.fromkeys([*mirrors, *servers]):
        urls = [*mirrors.get(registry, ()), *([servers[registry]] if registry in servers else ())]
        if not urls:
            continue
        parent = os.path.join(directory, directory_name(registry))
        hosts = []
        for url in urls:
            extra = about.get(url.rstrip("/"), {})
            host = {"url": url, "header": authorization(url, extra, token, token_scope)}
            host["override_path"] = extra.get("override_path")
            if extra.get("ca"):
                host["ca"] = os.path.join(parent, _ca_name(url))
                text = MARK + extra["ca"].strip() + "\n"
                wanted[host["ca"]] = storage.DesiredFile(host["ca"], text)
            hosts.append(host)
        server = hosts.pop() if registry in servers or not fallback else None
        path = os.path.join(parent, "hosts.toml")
        text = hosts_toml(hosts, server)
        wanted[path] = storage.DesiredFile(path, text, mode="0600", sensitive=True)
    files = [
        wanted[path] for path in sorted(wanted, key=lambda path: (path.endswith(".toml"), path))
    ]
    files += [
        storage.DesiredFile(path, state="absent", sensitive=True)
        for path in ours(directory)
        if path not in wanted
    ]
    return files


def _ca_name(url):
    return CA_PREFIX + hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:8] + ".pem"


def ours(directory):
    """Return the paths of the files below ``directory`` that we wrote, sorted."""
    found = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in sorted(os.listdir(directory)):
            parent = os.path.join(directory, name)
            with contextlib.suppress(NotADirectoryError):
                found += [
                    os.path.join(parent, file)
                    for file in sorted(os.listdir(parent))
                    if file == "hosts.toml" or file.startswith(CA_PREFIX)
                ]
    return [path for path in found if storage.read_text(path).startswith(MARK)]


def remove_empty(paths):
    """Remove the directories of files that were removed, where nothing else is in them."""
    for directory in sorted({os.path.dirname(path) for path in paths}):
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def config_path(dump):
    """Return which directories containerd reads host files from, out of ``containerd config dump``.

    None when the dump has no registry section: containerd without its CRI plugin.
    """
    section, found = "", None
    for line in dump.splitlines():
        text = line.strip()
        if text.startswith("["):
            section = text.strip("[]")
        elif section.endswith(".registry") and re.search(r"cri(\.v1\.images)?['\"]", section):
            match = re.match(r"config_path\s*=\s*['\"](.*)['\"]$", text)
            if match:
                found = match.group(1)
            elif found is None:
                found = ""
    return None if found is None else [os.path.normpath(part) for part in found.split(":") if part]


def complaint(directory, read):
    """Return why host files in ``directory`` are in vain, or ''; ``read`` is what ``config_path`` returned."""
    directory = os.path.normpath(directory)
    if read is None or directory in read:
        return ""
    return NOT_READ % (directory, ":".join(read) or "not set", directory)


def check(mirrors, servers, options):
    """Raise ValueError or TypeError for what is no registry, and for options that belong to no URL."""
    known = set()
    for registry, urls in mirrors.items():
        directory_name(registry)
        if not isinstance(urls, list):
            raise TypeError("mirrors of %s must be a list of URLs" % registry)
        known.update(url.rstrip("/") for url in urls)
    for registry, url in servers.items():
        directory_name(registry)
        if not isinstance(url, str):
            raise TypeError("the server of %s must be a URL" % registry)
        known.add(url.rstrip("/"))
    for option in options:
        if option["url"].rstrip("/") not in known:
            raise ValueError("mirror_options has %r, which is no mirror or server" % option["url"])
        if option["ca"] and "-----BEGIN CERTIFICATE-----" not in option["ca"]:
            raise ValueError("ca of %s is no certificate in PEM" % option["url"])
        if option["token"] and option["username"]:
            raise ValueError("%s has a token and a username" % option["url"])
