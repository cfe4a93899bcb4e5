"""Ansible: inventory and variables in, a supervised playbook run, typed events and verdict out."""
