"""Kubernetes versions that this release installs."""

from __future__ import annotations

DEFAULT = "1.36.3"
"""What a cluster gets when nothing else is asked for."""

PATCHES = {"1.35": "1.35.4", "1.36": DEFAULT, "1.37": "1.37.2"}
"""Supported minor versions, oldest first, each with the patch that the minor alone stands for."""
