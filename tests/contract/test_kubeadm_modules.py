"""The forms of kubeadm's configuration that we know are those of its Go modules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.build
def test_the_forms_are_those_of_the_modules() -> None:
    """Every supported minor has its file, and it is what is derived today."""
    argv = [sys.executable, str(ROOT / "tools" / "kubeadm_types.py"), "--check"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
