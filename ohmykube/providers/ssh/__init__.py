"""Existing machines, reached by ssh: never created, never removed."""
