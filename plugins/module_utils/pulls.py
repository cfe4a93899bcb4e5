# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Pulling images with ctr: the command, what it is given, and what is there."""

from __future__ import annotations

import os
import re

from ansible_collections.ohmykube.cluster.plugins.module_utils import node_state, programs, units
from ansible_collections.ohmykube.cluster.plugins.module_utils.node_state import PINNED

UNIT = os.path.basename(node_state.PULLS)

MANAGED = "io.cri-containerd.image=managed"
REFERENCE = re.compile(
    r"^[a-z0-9]([a-z0-9._:-]*[a-z0-9])?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"
)
DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")
NO_DIGEST = "-"
# $1 is the reference, $2 its digest, $3 that of its repacked form, which leaves no name. Pulling by
# digest makes containerd check the manifest too; the name by digest is what the kubelet shows as
# the image's identity. The label MANAGED is set by containerd's CRI itself, after it has given the
# image its third name, the image ID; it leaves an image alone that has the label already
# (UpdateImage in internal/cri/server/images/image_pull.go), which is right only for what goes.
PULL = """
ctr="ctr --namespace k8s.io images"
hosts=$0
name=$1
[ "$2" = - ] || name=${{1%:*}}@$2
by=
[ "$3" = - ] || by=${{1%:*}}@$3
[ -z "$by" ] || $ctr pull --hosts-dir "$hosts" --label {managed} "$by" >/dev/null || by=
$ctr pull --hosts-dir "$hosts" --label {pinned} "$name" >/dev/null || exit 1
[ -z "$by" ] || $ctr rm "$by" >/dev/null
[ "$2" = - ] || {{ $ctr tag --force "$name" "$1" && $ctr label "$1" {pinned}; }} >/dev/null
""".format(pinned=PINNED, managed=MANAGED)
PULL_ALL = """
hosts=$1 parallel=$2 each=$3
shift 3
printf '%s\\n' "$@" | xargs -n 3 -P "$parallel" sh -c "$each" "$hosts"
"""


def command(hosts_dir, parallel, words):
    """Return the argv that pulls images, ``parallel`` at a time; ``words`` are those of ``words``."""
    return ["sh", "-c", PULL_ALL, "sh", hosts_dir, str(parallel), PULL, *words]


def start(hosts_dir, parallel, words):
    """Return the argv that starts the unit, in which they are pulled."""
    # By default the command is the description; its lines break the unit's file, and after a
    # daemon-reload systemd would neither load the unit nor let go of its name.
    named = ["--unit=" + UNIT, "--description=Pull images for ohmykube"]
    properties = ["--property=Nice=5", "--property=After=containerd.service"]
    search = "--setenv=PATH=" + programs.SEARCH_PATH
    run = ["systemd-run", "--quiet", "--collect", *named, *properties, search]
    return [*run, "--", *command(hosts_dir, parallel, words)]


def words(image):
    """Return what the command is given of one image."""
    return [image["ref"], image["digest"] or NO_DIGEST, image["repacked"] or NO_DIGEST]


def check(image):
    """Raise ValueError for an image whose values are no reference or digests."""
    if not REFERENCE.match(image["ref"]):
        raise ValueError("%r is no full image reference with a tag" % image["ref"])
    for digest in (image["digest"], image["repacked"]):
        if digest and not DIGEST.match(digest):
            raise ValueError("%r is no sha256 digest" % digest)
    if image["repacked"] and not image["digest"]:
        raise ValueError("%s has a repacked form, but no digest" % image["ref"])


def is_running():
    """Return True while pulls of an earlier call run."""
    return units.survey([UNIT]).get(UNIT, {}).get("ActiveState") in units.RUNNING


def is_left():
    """Return True while systemd still knows the unit of an earlier call, which a new one has to wait for."""
    return units.survey([UNIT]).get(UNIT, {}).get("LoadState") == "loaded"


def found(timeout):
    """Return {reference: (digest, labels)} of the images that are there; raises ProgramError."""
    argv = ["ctr", "--namespace", "k8s.io", "images", "ls"]
    return node_state.listing(programs.run(argv, timeout=timeout).stdout)


def there():
    """Return ``REFERENCE@DIGEST`` and ``REFERENCE@`` of each pinned image; none where containerd does not answer."""
    try:
        images = found(timeout=20)
    except programs.ProgramError:
        return []  # it is not installed yet, or just begins: whoever needs images has them pulled
    pinned = sorted(ref for ref, (_digest, labels) in images.items() if PINNED in labels)
    return ["%s@%s" % (ref, digest) for ref in pinned for digest in ("", images[ref][0])]
