"""Fakes and conformance suites that users' own tests may import."""
