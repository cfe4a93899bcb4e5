"""Artifacts: a content-addressed store, the sources that fill it, and bundles that carry it."""
