"""A directory with an inventory file, which Ansible reads as it would without the CLI's package."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ohmykube.kit import process
from tests import unmeasured

ROOT = Path(__file__).resolve().parents[1]


def _plain(value: dict[str, Any]) -> Any:
    """Return text that Ansible shows as never to be evaluated as the text alone."""
    return value["__ansible_unsafe"] if list(value) == ["__ansible_unsafe"] else value


def ansible(place: Path, *arguments: object, check: bool = True) -> process.Result:
    """Run a program of Ansible in ``place``, with the collection and without the package."""
    absent = place / "absent" / "ohmykube"
    absent.mkdir(parents=True, exist_ok=True)
    (absent / "__init__.py").write_text("raise ImportError('the package is not installed')\n")
    (place / "ansible.cfg").touch()
    env = {
        **unmeasured.environment(),
        "PYTHONPATH": str(absent.parent),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_CONFIG": str(place / "ansible.cfg"),
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "ANSIBLE_NOCOLOR": "true",
        "_ANSIBLE_TEMPLAR_UNTRUSTED_TEMPLATE_BEHAVIOR": "ignore",
    }
    argv = [sys.executable, "-m", "ansible", *map(str, arguments)]
    return process.run(argv, timeout=120, env=env, cwd=place, check=check)


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
