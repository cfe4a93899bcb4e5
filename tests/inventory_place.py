"""A directory with an inventory file, which Ansible reads as it would without the CLI's package."""

from __future__ import annotations

import atexit
import json
from functools import cache
from pathlib import Path
from typing import Any

from ohmykube.kit import process
from tests import unmeasured
from tests.ansible_programs import Ansible

ROOT = Path(__file__).resolve().parents[1]


def _plain(value: dict[str, Any]) -> Any:
    """Return text that Ansible shows as never to be evaluated as the text alone."""
    return value["__ansible_unsafe"] if list(value) == ["__ansible_unsafe"] else value


@cache
def _ansible() -> Ansible:
    """Start Ansible once, with the collection and without the package, which no import finds."""
    place = Path.home()  # that of the first test which asks, and kept as long as all others'
    absent = place / "absent" / "ohmykube"
    absent.mkdir(parents=True)
    (absent / "__init__.py").write_text("raise ImportError('the package is not installed')\n")
    (place / "ansible.cfg").touch()
    settings = {
        "PYTHONPATH": str(absent.parent),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_CONFIG": str(place / "ansible.cfg"),
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "ANSIBLE_NOCOLOR": "true",
        "_ANSIBLE_TEMPLAR_UNTRUSTED_TEMPLATE_BEHAVIOR": "ignore",
    }
    started = Ansible(unmeasured.environment(), settings)
    atexit.register(started.close)
    return started


def ansible(place: Path, *arguments: object, check: bool = True) -> process.Result:
    """Run a program of Ansible in ``place``."""
    argv = [str(argument) for argument in arguments]
    done = process.Result(tuple(argv), *_ansible().call(argv, place, unmeasured.environment()))
    if check and done.code != 0:
        raise process.CommandFailed(done)
    return done


def listed(inventory: Path) -> dict[str, Any]:
    """Return what ``ansible-inventory --list`` says."""
    done = ansible(inventory.parent, "inventory", "-i", inventory.name, "--list")
    found: dict[str, Any] = json.loads(done.stdout, object_hook=_plain)
    return found


def refused(inventory: Path) -> str:
    """Return, on one line, why Ansible does not take the inventory."""
    done = ansible(inventory.parent, "inventory", "-i", inventory.name, "--list", check=False)
    assert done.code != 0
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())
