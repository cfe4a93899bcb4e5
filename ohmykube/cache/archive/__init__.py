"""Image archives that users bring: read without trust, put into the store as they are.

``docker save``, OCI archives and OCI layout directories are read by ``reading``; ``images`` makes
sense of them; ``programs`` asks docker, podman and nerdctl for theirs.
"""
