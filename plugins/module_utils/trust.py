# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Certificate authorities in the system's own store, from which all programs of a node take those that they trust."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re

from ansible_collections.ohmykube.cluster.plugins.module_utils import programs, storage

# Where a distribution takes certificates of its administrator from, and what brings them into the store.
STORES = (
    ("/etc/pki/ca-trust/source/anchors", "update-ca-trust"),
    ("/etc/pki/trust/anchors", "update-ca-certificates"),
    ("/usr/local/share/ca-certificates", "update-ca-certificates"),
)
LINKS = "/etc/ssl/certs"
PREFIX = "ohmykube-"
# It stands from before the first file is changed until the store is made: a run that was killed is made good.
PENDING = storage.STATE_DIRECTORY + "/trust.pending"
CERTIFICATE = re.compile(
    r"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n?"
)
LONGEST = 300


def store(at):
    """Return directory and program of this distribution's store; ``at`` leads to files below another root."""
    for directory, program in STORES:
        if os.path.isdir(at(directory)):
            return directory, program
    return STORES[-1]


def problems(certificates):
    """Return what is wrong with texts that are to be one certificate each."""
    wrong = [
        number
        for number, text in enumerate(certificates, 1)
        if not CERTIFICATE.fullmatch(str(text))
    ]
    message = "certificate %d is none: it must be one block of PEM, BEGIN CERTIFICATE to END CERTIFICATE, and no key"
    return [message % number for number in wrong]


def name_of(certificate):
    """Return the name of the file of a certificate."""
    return PREFIX + hashlib.sha256(certificate.strip().encode()).hexdigest()[:16] + ".crt"


def converge(certificates, at, check):
    """Bring exactly these certificates, texts in PEM, into the store; return (changes, diffs, files that are kept)."""
    directory, program = store(at)
    wanted = {}
    for text in certificates:
        wanted[os.path.join(directory, name_of(text))] = text.rstrip("\n") + "\n"
    there = glob.glob(os.path.join(glob.escape(at(directory)), PREFIX + "*.crt"))
    gone = sorted({os.path.join(directory, os.path.basename(path)) for path in there} - set(wanted))
    items = {path: storage.DesiredFile(at(path), wanted[path]) for path in sorted(wanted)}
    items.update((path, storage.DesiredFile(at(path), "", state="absent")) for path in gone)
    changes = [path for path, item in items.items() if item.differs()]
    diffs = [items[path].difference() for path in changes]
    if changes and not check:
        storage.write_atomically(at(PENDING), b"")
        storage.converge_files(items.values(), False)
    if changes or os.path.exists(at(PENDING)):
        changes.append(program)
        if not check:
            programs.run([program], timeout=LONGEST)
            _drop_dangling(at(LINKS))
            with contextlib.suppress(FileNotFoundError):
                os.unlink(at(PENDING))
    return changes, diffs, sorted(wanted)


def _drop_dangling(directory):
    """Remove links to certificates of ours that are gone: Debian's program leaves them, and those that lead to them."""
    for _kind in ("to the certificate", "to that link, by its hash"):
        for path in glob.glob(os.path.join(glob.escape(directory), "*")):
            if not os.path.islink(path) or os.path.exists(path):
                continue
            with contextlib.suppress(FileNotFoundError):
                if os.path.basename(os.readlink(path)).startswith(PREFIX):
                    os.unlink(path)
