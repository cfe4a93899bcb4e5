"""Image archives that users bring: read without trust, put into the store as they are.

``archive_reader`` reads archives of ``docker save``, OCI archives and OCI layout directories,
``images`` finds the images in them, and ``container_engines`` asks docker, podman and nerdctl.
"""
