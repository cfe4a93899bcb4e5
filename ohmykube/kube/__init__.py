"""Kubernetes as seen through ``kubectl`` on a control plane: kubeconfig, nodes, readiness."""
