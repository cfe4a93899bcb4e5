"""Machines: the contract (``base``), the registry, and one package for each provider."""
