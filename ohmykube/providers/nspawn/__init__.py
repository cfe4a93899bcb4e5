"""Nodes as systemd-nspawn system containers: Linux, root, no virtualization needed."""
