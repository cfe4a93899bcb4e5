"""Mechanics without a word of Kubernetes: processes, files, locks, paths, retries, digests."""
