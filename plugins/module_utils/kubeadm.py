# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Run kubeadm so that it can be killed at any instant and run again.

One lock for each node keeps two kubeadm apart, also when the first one's caller is long dead: the
kubeadm process itself holds it. A record says what was begun and what was finished.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import time

from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    kubeadm_settings,
    leftovers,
    managed,
    node_state,
    programs,
    storage,
    units,
)

LOCK = "/run/lock/ohmykube-kubeadm.lock"
RECORD = storage.STATE_DIRECTORY + "/" + node_state.KUBEADM
LOG_DIRECTORY = node_state.LOG_DIRECTORY
DIRECTORY = "/etc/kubernetes"
ADMIN_CONFIG = node_state.ADMIN_CONFIG
KUBELET_CONFIG = node_state.KUBELET_CONFIG
KUBELET = "kubelet.service"
CA_CERTIFICATE = DIRECTORY + "/pki/ca.crt"
ETCD_MANIFEST = DIRECTORY + "/manifests/etcd.yaml"
CLIENT_CERTIFICATE = "/var/lib/kubelet/pki/kubelet-client-current.pem"
SUCCESS = node_state.SUCCESS
FLAGS = {"init": ["--skip-token-print"], "join": []}
TRACES = (
    ADMIN_CONFIG,
    KUBELET_CONFIG,
    DIRECTORY + "/bootstrap-kubelet.conf",
    DIRECTORY + "/manifests",
    DIRECTORY + "/pki",
)


class KubeadmError(Exception):
    """kubeadm failed: ``phase`` names where, ``output`` holds its last lines."""

    def __init__(self, message, phase="", output=""):
        super().__init__(message)
        self.phase = phase
        self.output = output


@contextlib.contextmanager
def locked(timeout):
    """Hold the node's kubeadm lock; yields its descriptor, to be inherited by the kubeadm process.

    Waits ``timeout`` seconds for another kubeadm, then raises KubeadmError.
    """
    os.makedirs(os.path.dirname(LOCK), exist_ok=True)
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
            if time.monotonic() > deadline:
                raise KubeadmError(
                    "another kubeadm still runs on this node after %d s of waiting" % timeout
                )
            time.sleep(0.2)
        yield descriptor
    finally:
        os.close(descriptor)


class Record:
    """What we began and finished on this node.

    Keys: ``action`` (init, join), ``finished``, ``config`` (a hash), ``settings`` (see
    ``kubeadm_settings.sums``), ``kubernetes`` (a version, or ''),
    ``endpoint`` (where admin.conf has to lead once the node has joined), ``found`` (what of Kubernetes'
    names was there before and stays; see ``leftovers``).
    """

    def __init__(self, path=None):
        self.path = path or RECORD
        self.value = storage.read_json(self.path, {})

    @property
    def finished(self):
        return bool(self.value.get("finished"))

    @property
    def begun(self):
        return bool(self.value) and not self.finished

    @property
    def found(self):
        """What of Kubernetes' names was there before."""
        return dict(leftovers.NOTHING, **(self.value.get("found") or {}))

    def begin(self, action, documents, version, found=None):
        """Note that ``kubeadm <action>`` begins; on disk when this returns."""
        self._write(
            action=action,
            finished=False,
            config=kubeadm_settings.sum_of(documents),
            settings=kubeadm_settings.sums(documents),
            kubernetes=version,
            found=found,
        )

    def finish(self, action):
        """Note that ``kubeadm <action>`` has finished, keeping what was noted when it began."""
        self._write(**dict(self.value, action=action, finished=True))

    def note(self, **facts):
        """Note more; None forgets."""
        kept = dict(self.value, **facts)
        self._write(**{key: value for key, value in kept.items() if value is not None})

    def _write(self, **facts):
        self.value = dict(facts, schema=1)
        storage.write_json(self.path, self.value)

    def remove(self):
        self.value = {}
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


def traces():
    """Return the paths that a kubeadm run left on this node."""
    return [
        path
        for path in TRACES
        if os.path.isfile(path) or (os.path.isdir(path) and _files_below(path))
    ]


def _files_below(path):
    return any(names for _directory, _directories, names in os.walk(path))


def render(documents):
    """Return documents as one YAML stream; each is JSON, which every YAML reader reads."""
    return "".join(
        "---\n%s\n" % json.dumps(document, indent=1, sort_keys=True) for document in documents
    )


def log_path(action):
    """Return where the output of the last ``kubeadm <action>`` is kept."""
    return "%s/kubeadm-%s.log" % (LOG_DIRECTORY, action)


def execute(action, argv, lock, timeout):
    """Run kubeadm with its output going to a log; raises KubeadmError with phase and last lines.

    The log is a file and not a pipe, so that kubeadm can finish when its caller dies.
    """
    os.makedirs(LOG_DIRECTORY, mode=0o750, exist_ok=True)
    descriptor = os.open(log_path(action), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        programs.run_logged(["kubeadm", *argv], descriptor, timeout=timeout, pass_fds=(lock,))
    except programs.ProgramError as error:
        output = storage.read_text(log_path(action))
        phase = failed_phase(output)
        where = " in phase %s" % phase if phase else ""
        message = "kubeadm %s failed%s: %s" % (action, where, _why(output) or error)
        raise KubeadmError(message, phase, programs.last_lines(output)) from error
    finally:
        os.close(descriptor)
    return storage.read_text(log_path(action))


def has_joined(record, at=lambda path: path):
    """Tell whether kubeadm has finished on a node.

    A run whose caller was killed counts as finished when kubeadm's own log ends with its success line.
    """
    if not record.value or not os.path.exists(at(KUBELET_CONFIG)):
        return False
    action = record.value.get("action", "")
    log = storage.read_text(at(log_path(action)))
    return record.finished or (action in SUCCESS and SUCCESS[action] in log)


def survey():
    """Return what an earlier run left: ``absent``, ``finished``, ``half-done`` or ``foreign``.

    Whatever it was, ``init`` or ``join``: a node that belongs to a cluster is finished. ``foreign``:
    Kubernetes is here, and it was not begun by us.
    """
    record = Record()
    if has_joined(record):
        if record.begun:
            record.finish(record.value["action"])
        return "finished"
    if record.value:
        return "half-done"
    return "foreign" if traces() else "absent"


def failed_phase(output):
    """Return the phase that kubeadm's own error line names, else that of its last '[phase]' line."""
    named = re.search(r"error execution phase ([\w/-]+)", output)
    if named:
        return named.group(1)
    seen = re.findall(r"^\[([\w/-]+)\]", output, re.MULTILINE)
    return seen[-1] if seen else ""


def _why(output):
    """Return the checks that failed, each with its name; else the last line that tells of an error."""
    failed = re.findall(r"^\s*(\[ERROR [^]]+\]: .*?)\s*$", output, re.MULTILINE)
    if failed:
        return "; ".join(dict.fromkeys(failed))
    lines = [line for line in output.splitlines() if re.match(r"\s*(error|unable|couldn't)", line)]
    return lines[-1].strip() if lines else ""


def reset(lock, timeout, found):
    """Undo what a kubeadm run left, as far as kubeadm itself does that, and what would stop the next run.

    kubeadm leaves etcd's data where the manifest of etcd is gone already. What was ``found`` stays.
    """
    argv = ["reset", "--force"]
    if not os.path.exists(ETCD_MANIFEST) and leftovers.is_kept(leftovers.ETCD_DATA, found["paths"]):
        # The data is another etcd's, which is no business of kubeadm's.
        argv.append("--skip-phases=remove-etcd-member")
    execute("reset", argv, lock, timeout)
    for part in leftovers.removable(leftovers.ETCD_DATA, found["paths"]):
        leftovers.remove(part)


def validate(path):
    """Let kubeadm check a configuration file; raises KubeadmError with what it dislikes."""
    try:
        programs.run(["kubeadm", "config", "validate", "--config", path], timeout=30)
    except programs.ProgramError as error:
        message = "kubeadm refuses the configuration: %s" % (_why(error.output) or error)
        raise KubeadmError(message, "config", error.output) from error


def run_once(action, documents, params, *, check_mode, adopt, prepare, before=None):
    """Do ``kubeadm <action>`` unless it was done; return True when it ran, or would in check mode.

    ``params``: ``timeout``, ``lock_timeout`` and ``kubernetes_version`` of the module. ``adopt()``
    tells whether Kubernetes that we did not begin is complete. ``prepare()`` writes the configuration
    and returns its path. ``before(path, lock)`` is what may leave traces of its own. Raises KubeadmError.
    """
    with locked(params["lock_timeout"]) as lock:
        state = survey()
        if state == "foreign":
            if not adopt():
                message = (
                    "this node holds parts of a Kubernetes that is not ours and does not answer: %s"
                )
                raise KubeadmError(message % ", ".join(traces()), "survey")
            if not check_mode:
                record = Record()
                record.note(found=leftovers.found_beside(os.path.exists(ETCD_MANIFEST)))
                record.finish(action)
            return False
        if state == "finished":
            return False
        if check_mode:
            return True
        record = Record()
        if state == "half-done":
            found = record.found
            reset(lock, params["timeout"], found)
        else:
            found = leftovers.found(managed.files() | {params.get("config_path")})
        path = prepare()
        record.begin(action, documents, params["kubernetes_version"], found)
        if before is not None:
            before(path, lock)
            record = Record()
        execute(action, [action, "--config", path] + FLAGS[action], lock, params["timeout"])
        record.finish(action)
        return True


def drift(action, documents, params):
    """Return the names of settings that were others when ``kubeadm <action>`` made this node.

    ``params``: ``drift`` of the module. Raises KubeadmError where there must be none.
    """
    record = Record()
    if record.value.get("action") != action:
        return []
    names = kubeadm_settings.differing(record.value.get("settings"), documents)
    if names and params["drift"] == "fail":
        raise KubeadmError(kubeadm_settings.warning(names), "config")
    return names


def start_kubelet(check_mode):
    """Start the kubelet where it does not run; return whether it did not. kubeadm starts it once only."""
    runs = units.survey([KUBELET]).get(KUBELET, {}).get("ActiveState") in units.RUNNING
    if check_mode:
        return not runs
    if not runs:
        units.apply("start", KUBELET)
    managed.Managed().note(units={KUBELET: {"active": True}})
    return not runs


def ca_hash(path=None):
    """Return ``sha256:<hex>`` of the certificate authority's public key as kubeadm wants it, or ''."""
    text = storage.read_text(path or CA_CERTIFICATE)
    body = re.search(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", text, re.DOTALL)
    if not body:
        return ""
    certificate = base64.b64decode("".join(body.group(1).split()))
    return "sha256:" + hashlib.sha256(_subject_public_key(certificate)).hexdigest()


def _subject_public_key(certificate):
    """Return the DER bytes of subjectPublicKeyInfo: the seventh field, the sixth without a version."""
    inside = _der_fields(certificate, *_der_content(certificate, 0))
    fields = _der_fields(certificate, *_der_content(certificate, inside[0][0]))
    has_version = certificate[fields[0][0]] == 0xA0
    start, end = fields[6 if has_version else 5]
    return certificate[start:end]


def _der_content(data, start):
    """Return (first, last + 1) of the content of the DER value at ``start``."""
    length, offset = data[start + 1], start + 2
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(data[offset : offset + count], "big")
        offset += count
    return offset, offset + length


def _der_fields(data, start, end):
    """Return (start, end) of each DER value between two offsets."""
    fields = []
    while start < end:
        stop = _der_content(data, start)[1]
        fields.append((start, stop))
        start = stop
    return fields
