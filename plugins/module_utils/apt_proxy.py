# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""The proxy that apt goes through: its address in a file for all to read, its login in one for root."""

from __future__ import annotations

import os
import re

from ansible_collections.ohmykube.cluster.plugins.module_utils import storage

DIRECTORY = "/etc/apt/apt.conf.d"
CONFIG = DIRECTORY + "/95ohmykube-proxy"
LOGINS = "/etc/apt/auth.conf.d/ohmykube-proxy.conf"
HEADER = "Managed by ohmykube."
URL = re.compile(r"^https?://[A-Za-z0-9.\[\]:_-]+$")
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9.-]*$")


def problems(proxies):
    """Return what is wrong with the values."""
    found = []
    for one in proxies:
        scheme = one["scheme"]
        if not URL.match(one["url"]):
            found.append("the proxy of apt for %s must be http(s)://HOST[:PORT], without a login" % scheme)  # fmt: skip
        # auth.conf has no way to write them.
        if any(re.search(r"\s", one.get(key) or "") for key in ("username", "password")):
            found.append("the proxy of apt for %s has a login with blanks, which apt cannot take" % scheme)  # fmt: skip
        found += [
            "the proxy of apt for %s has an exception %r, which is no host" % (scheme, name)
            for name in one.get("direct") or ()
            if not NAME.match(name)
        ]
    schemes = [one["scheme"] for one in proxies]
    found += ["apt has two proxies for " + one for one in set(schemes) if schemes.count(one) > 1]
    return found


def texts(proxies):
    """Return {path: (text, whether it is secret)} of the files that are wanted."""
    config, logins = [], []
    for one in proxies:
        scheme = one["scheme"]
        config.append('Acquire::%s::Proxy "%s/";' % (scheme, one["url"]))
        config += [
            'Acquire::%s::Proxy::%s "DIRECT";' % (scheme, name) for name in one.get("direct") or ()
        ]
        if one.get("username"):
            words = (one["url"], one["username"], one.get("password") or "")
            logins.append("machine %s/ login %s password %s" % words)
    found = {}
    if config:
        found[CONFIG] = ("".join(line + "\n" for line in ["// " + HEADER, *config]), False)
    if logins:
        unique = dict.fromkeys(logins)
        found[LOGINS] = ("".join(line + "\n" for line in ["# " + HEADER, *unique]), True)
    return found


def converge(proxies, at, check):
    """Bring these files about, or take them away; return (changes, diffs, files that are kept).

    A node without apt gets none. ``at`` leads to files below another root.
    """
    wanted = texts(proxies) if os.path.isdir(at(DIRECTORY)) else {}
    items = {
        path: storage.DesiredFile(at(path), text[0], sensitive=text[1])
        for path, text in wanted.items()
    }
    for path in (CONFIG, LOGINS):
        if path not in wanted:
            gone = storage.DesiredFile(at(path), "", state="absent", sensitive=True)
            items[path] = gone
    changes = [path for path, item in items.items() if item.differs()]
    diffs = [items[path].difference() for path in changes]
    if changes and not check:
        storage.converge_files([items[path] for path in changes], False)
    return changes, diffs, sorted(wanted)
