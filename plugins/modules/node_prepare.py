#!/usr/bin/python
# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: node_prepare
short_description: Prepare kernel modules, sysctls, swap, names, trusted certificates and directories of a node in one step
version_added: 0.1.0
description:
  - Loads kernel modules and keeps them for the next boot, sets sysctls likewise, turns swap off, keeps a block of
    names in C(/etc/hosts), brings certificates into the system's store and makes directories.
  - Returns what it found as the fact C(ohmykube_node), see M(ohmykube.cluster.node_info).
author:
  - The ohmykube authors (@monshunter)
options:
  state:
    description: V(absent) removes the files and the block that V(present) wrote; the running kernel is left as it is.
    type: str
    choices: [present, absent]
    default: present
  kernel_modules:
    description: Modules to load now and at boot. One that is built in counts as loaded.
    type: list
    elements: str
    default: []
  sysctls:
    description: Kernel parameters, such as C(net.ipv4.ip_forward).
    type: dict
    default: {}
  manage_kernel:
    description:
      - V(false) leaves modules and swap alone, and sets only parameters of the node's own network namespace
        (C(net.ipv4.*) and C(net.ipv6.*)).
      - In a system container, which shares its kernel with other machines, that is done in any case.
    type: bool
    default: true
  hosts:
    description: Names and their addresses for C(/etc/hosts). The node's own name and C(localhost) are added where missing.
    type: dict
    default: {}
  swap:
    description: V(off) turns swap off now and for the next boot, V(keep) leaves it.
    type: str
    choices: ["off", keep]
    default: "off"
  trusted_certificates:
    description:
      - Certificates of authorities that all programs of the node are to trust, one in PEM each. They are kept in the system's store
        (C(update-ca-certificates) or C(update-ca-trust)); those that were given before and are no more are taken out of it.
    type: list
    elements: str
    default: []
  directories:
    description: Directories to make with mode 0755.
    type: list
    elements: path
    default: []
  programs:
    description:
      - Programs that must be there. All that are missing are named before anything is changed. C(modprobe) and C(swapoff)
        count only where modules are loaded and swap is turned off.
    type: list
    elements: str
    default: []
  foreign_containerd:
    description: V(refuse) fails before anything is changed on a node with a containerd that these modules did not install.
    type: str
    choices: [allow, refuse]
    default: allow
  apt_proxies:
    description: The proxies that apt goes through, one for each scheme. A node without apt gets no file.
    type: list
    elements: dict
    default: []
    suboptions:
      scheme:
        description: Of the URLs that it is for.
        type: str
        choices: [http, https]
        required: true
      url:
        description: Its own URL, without a login.
        type: str
        required: true
      username:
        description: Name for it.
        type: str
      password:
        description: Password of that name, without blanks.
        type: str
      direct:
        description: Hosts that are reached without it.
        type: list
        elements: str
        default: []
  trust_record:
    description:
      - Whether the fact C(ohmykube_node) names what was deployed here and is as it was left, so that it need not be
        deployed again, and the images that are there.
    type: bool
    default: true
attributes:
  check_mode:
    description: Reports what would change.
    support: full
  diff_mode:
    description: Shows the text files.
    support: full
"""

EXAMPLES = r"""
- name: Prepare a virtual machine
  ohmykube.cluster.node_prepare:
    kernel_modules: [overlay, br_netfilter]
    sysctls:
      net.ipv4.ip_forward: 1
    hosts:
      cp1: 10.0.0.11
"""

RETURN = r"""
problems:
  description: What is missing or in the way, found before anything was changed.
  type: list
  elements: str
  returned: failure
changes:
  description: What was changed, or would be.
  type: list
  elements: str
  returned: always
ansible_facts:
  description: The fact C(ohmykube_node), see M(ohmykube.cluster.node_info).
  type: dict
  returned: always
"""

import os

from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    ansible_module,
    apt_proxy,
    hosts_block,
    managed,
    node,
    ownership,
    preflight,
    programs,
    pulls,
    storage,
    trust,
)

MODULES_FILE = "/etc/modules-load.d/ohmykube.conf"
SYSCTL_FILE = "/etc/sysctl.d/99-ohmykube.conf"
HOSTS_FILE = "/etc/hosts"
FSTAB = "/etc/fstab"
SWAP_MASK = "/etc/systemd/system/swap.target"
# The file's last line had no end before our block came.
SWAP_OFF = "#ohmykube# "
HEADER = "# Managed by ohmykube.\n"
OWN_NAMESPACE = ("net.ipv4.", "net.ipv6.")


class Preparation:
    """One call of the module; ``root`` is for tests."""

    def __init__(self, params, check_mode, facts, root="/"):
        self._params = params
        self._check = check_mode
        self._facts = facts
        self._root = root
        self.changes = []
        self.diffs = []
        self._kept = []
        self._owned = ownership.Ownership()
        self._noted = {"modules": [], "sysctls": {}, "swap_off": False}

    def _at(self, path):
        return os.path.join(self._root, path.lstrip("/"))

    def present(self):
        """Prepare the node."""
        sysctls = self._params["sysctls"]
        # The kernel of a system container is its host's, and modprobe finds no modules in one.
        if self._params["manage_kernel"] and not self._facts.get("in_container"):
            self._load_modules(self._params["kernel_modules"])
            if self._params["swap"] == "off":
                self._swap_off()
        else:
            sysctls = {
                key: value for key, value in sysctls.items() if key.startswith(OWN_NAMESPACE)
            }
        self._set_sysctls(sysctls)
        self._write_hosts()
        self._take(trust.converge(self._params["trusted_certificates"], self._at, self._check))
        self._take(apt_proxy.converge(self._params["apt_proxies"], self._at, self._check))
        for path in self._params["directories"]:
            if not os.path.isdir(self._at(path)):
                self.changes.append(path)
                if not self._check:
                    os.makedirs(self._at(path), mode=0o755)
        if not self._check:
            self._note()

    def _note(self):
        record = managed.Managed()
        record.begin()
        files = [storage.DesiredFile(self._at(path)) for path in dict.fromkeys(self._kept)]
        directories = [self._at(path) for path in self._params["directories"]]
        record.note(files, directories, **self._noted)

    def absent(self):
        """Remove what ``present`` wrote."""
        for path in (MODULES_FILE, SYSCTL_FILE):
            self._file(path, None)
        self._take(trust.converge([], self._at, self._check))
        self._take(apt_proxy.converge([], self._at, self._check))
        text = storage.read_exactly(self._at(HOSTS_FILE))
        if hosts_block.BEGIN in text:
            self._edit(HOSTS_FILE, hosts_block.without_block(text))
        fstab = storage.read_exactly(self._at(FSTAB))
        if SWAP_OFF in fstab:
            self._edit(FSTAB, fstab.replace(SWAP_OFF, ""))
            if self._owned.has(self._at(SWAP_MASK)):
                self.changes.append(SWAP_MASK)
                if not self._check:
                    self._owned.release(self._at(SWAP_MASK))
        if not self._check:
            managed.Managed.remove()

    def _file(self, path, content):
        wanted = storage.DesiredFile(
            self._at(path), content or "", state="absent" if content is None else "present"
        )
        changed, diffs = storage.converge_files([wanted], self._check)
        self.changes += [path for _changed in changed]
        self.diffs += diffs

    def _take(self, converged):
        changes, diffs, kept = converged
        self.changes += changes
        self.diffs += diffs
        self._kept += kept

    def _edit(self, path, content):
        """Change a file that is not ours: mode, owner and all other bytes stay, and a link leads where it led."""
        item = storage.DesiredFile.like(os.path.realpath(self._at(path)), content)
        self.changes.append(path)
        self.diffs.append(item.difference())
        if not self._check:
            item.apply()

    def _load_modules(self, names):
        if not names:
            return
        self._file(MODULES_FILE, HEADER + "".join(name + "\n" for name in names))
        self._kept.append(MODULES_FILE)
        self._noted["modules"] = list(names)
        loaded = {
            line.split(" ")[0] for line in storage.read_text(self._at("/proc/modules")).splitlines()
        }
        for name in names:
            kernel_name = name.replace("-", "_")
            if kernel_name in loaded or os.path.isdir(self._at("/sys/module/" + kernel_name)):
                continue
            self.changes.append("modprobe " + name)
            if not self._check:
                programs.run(["modprobe", "--", name])

    def _set_sysctls(self, sysctls):
        if not sysctls:
            return
        lines = ["%s = %s\n" % (key, value) for key, value in sorted(sysctls.items())]
        self._file(SYSCTL_FILE, HEADER + "".join(lines))
        self._kept.append(SYSCTL_FILE)
        self._noted["sysctls"] = dict(sysctls)
        for key, value in sorted(sysctls.items()):
            path = self._at("/proc/sys/" + key.replace(".", "/"))
            if self._check and not os.path.exists(path):
                self.changes.append("sysctl " + key)
                continue
            if storage.read_text(path).split() == str(value).split():
                continue
            self.changes.append("sysctl " + key)
            if not self._check:
                with open(path, "w", encoding="ascii") as stream:
                    stream.write(str(value))

    def _swap_off(self):
        if self._facts["swap"]:
            self.changes.append("swapoff")
            if not self._check:
                programs.run(["swapoff", "--all"], timeout=300)
        fstab = storage.read_exactly(self._at(FSTAB))
        quiet = "".join(_without_swap(line) for line in hosts_block.lines_of(fstab))
        if quiet != fstab:
            self._edit(FSTAB, quiet)
        if (quiet != fstab or self._facts["swap"]) and not os.path.lexists(self._at(SWAP_MASK)):
            self.changes.append(SWAP_MASK)
            if not self._check:
                self._owned.claim(self._at(SWAP_MASK))
                os.symlink("/dev/null", self._at(SWAP_MASK))
        self._noted["swap_off"] = True
        self._kept += [path for path in (FSTAB, SWAP_MASK) if os.path.lexists(self._at(path))]

    def _write_hosts(self):
        text = storage.read_exactly(self._at(HOSTS_FILE))
        rest = hosts_block.without_block(text)
        names = {name for line in rest.splitlines() for name in line.partition("#")[0].split()[1:]}
        lines = [] if "localhost" in names else ["127.0.0.1 localhost"]
        lines += [
            "%s %s" % (address, name) for name, address in sorted(self._params["hosts"].items())
        ]
        own = self._facts["hostname"]
        if own and own not in names and own not in self._params["hosts"]:
            lines.append("%s %s" % (self._facts["default_ip"] or "127.0.1.1", own))
        if lines:
            is_open = bool(rest) and not rest.endswith("\n")
            begin = "\n" + hosts_block.OPEN_LINE if is_open else hosts_block.BEGIN
            rest += "\n".join([begin, *lines, hosts_block.END]) + "\n"
        if rest != text:
            self._edit(HOSTS_FILE, rest)
        if lines:
            self._kept.append(HOSTS_FILE)


def _without_swap(line):
    fields = line.split()
    is_swap = len(fields) > 2 and fields[2] == "swap" and not line.lstrip().startswith("#")
    return SWAP_OFF + line if is_swap else line


OPTIONS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "kernel_modules": {"type": "list", "elements": "str", "default": []},
    "sysctls": {"type": "dict", "default": {}},
    "manage_kernel": {"type": "bool", "default": True},
    "hosts": {"type": "dict", "default": {}},
    "swap": {"type": "str", "choices": ["off", "keep"], "default": "off"},
    "trusted_certificates": {"type": "list", "elements": "str", "default": []},
    "directories": {"type": "list", "elements": "path", "default": []},
    "programs": {"type": "list", "elements": "str", "default": []},
    "foreign_containerd": {"type": "str", "choices": ["allow", "refuse"], "default": "allow"},
    "apt_proxies": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "scheme": {"type": "str", "choices": ["http", "https"], "required": True},
            "url": {"type": "str", "required": True},
            "username": {"type": "str"},
            "password": {"type": "str", "no_log": True},
            "direct": {"type": "list", "elements": "str", "default": []},
        },
    },
    "trust_record": {"type": "bool", "default": True},
}


def main():
    module = ansible_module.Module(OPTIONS)
    facts = node.gather()
    if module.params["state"] == "present":
        problems = preflight.problems(module.params, facts)
        if problems:
            module.fail_json(msg="; ".join(problems), problems=problems, changes=[])
    preparation = Preparation(module.params, module.check_mode, facts)
    try:
        preparation.present() if module.params["state"] == "present" else preparation.absent()
        facts["deployed"] = managed.intact() if module.params["trust_record"] else {}
        facts["images"] = pulls.there() if facts["deployed"] else []
    except programs.ProgramError as error:
        module.fail_json(msg=str(error), output=error.output, changes=preparation.changes)
    except OSError as error:
        module.fail_json(msg=str(error), changes=preparation.changes)
    facts["swap"] = facts["swap"] and "swapoff" not in preparation.changes
    module.exit_json(
        changed=bool(preparation.changes),
        changes=preparation.changes,
        diff=preparation.diffs,
        ansible_facts={"ohmykube_node": facts},
    )


if __name__ == "__main__":
    main()
