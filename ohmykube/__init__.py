"""Real multi-node Kubernetes clusters, made by kubeadm, from one command."""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["__version__"]
