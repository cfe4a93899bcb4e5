"""Bundles: everything that clusters of one description need, as one OCI archive in plain tar."""
