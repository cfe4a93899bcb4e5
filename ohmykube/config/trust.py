"""``spec.trust`` and ``ca`` of registries: certificates, in files or as they are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ohmykube.config.nodes import absolute
from ohmykube.config.problems import dotted, echo, echo_path
from ohmykube.kit import certificates

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ohmykube.config.problems import Path as ValuePath
    from ohmykube.config.problems import Problem
    from ohmykube.config.yaml_source import Source

FIELD: ValuePath = ("spec", "trust")
LARGEST_BYTES = 1 << 20
MOST_CERTIFICATES = 300
SOON_SECONDS = 30 * 86400.0
_PEM = "-----BEGIN"


class Reader:
    """Reads what entries name; collects what is wrong."""

    def __init__(self, source: Source, base: Path, *, desired: bool, now: float | None = None):
        """Take what there is to compare with.

        Args:
            source: the document as it was written.
            base: directory that relative paths are taken from.
            desired: it is to be brought about: certificates must be good for something.
            now: seconds since the epoch; None for the present.
        """
        self._source = source
        self._base = base
        self._desired = desired
        self._now = time.time() if now is None else now
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def read(self, entries: Sequence[str]) -> tuple[str, ...]:
        """Return the certificates of all entries, each as one block of PEM, each once."""
        found: list[str] = []
        for number, entry in enumerate(entries):
            found += self.read_one(entry, (*FIELD, number))
        every = tuple(dict.fromkeys(found))
        if len(every) > MOST_CERTIFICATES:
            self._add(FIELD, f"must have at most {MOST_CERTIFICATES} certificates: {len(every)}")
        return every

    def read_one(self, entry: str, path: ValuePath) -> tuple[str, ...]:
        """Return the certificates of the entry at ``path``; none where something is wrong."""
        inline = entry.lstrip().startswith(_PEM)
        data = entry.encode("utf-8", "replace") if inline else self._file(entry, path)
        if data is None:
            return ()
        try:
            found = certificates.read(data)
        except ValueError as error:
            self._add(path, f"{error}{'' if inline else f': {echo(entry)}'}")
            return ()
        if self._desired:
            for pem in found:
                self._judge(pem, path)
        return found

    def _add(self, path: ValuePath, text: str) -> None:
        self.problems.append(self._source.problem(path, text))

    def _file(self, text: str, path: ValuePath) -> bytes | None:
        place = absolute(text, self._base)
        try:
            with place.open("rb") as stream:
                data = stream.read(LARGEST_BYTES + 1)
        except OSError as error:
            self._add(path, f"cannot be read: {echo_path(place)}: {error.strerror}")
            return None
        if len(data) > LARGEST_BYTES:
            self._add(path, f"must have at most {LARGEST_BYTES >> 10} KiB: {echo_path(place)}")
            return None
        return data

    def _judge(self, pem: str, path: ValuePath) -> None:
        """Say what a certificate is not good for.

        One of a record was good when it was written; that it has run out is no reason to refuse all
        else that is asked for.
        """
        one = certificates.authority(pem)
        if one is None:
            text = (
                "is not the certificate of an authority, but of one server or person (no CA:TRUE)"
            )
            self._add(path, f"{text}; give that of the authority that has signed it")
            return
        named = echo_path(one)[1:-1]
        if one.ends < self._now:
            text = f"has expired on {_date(one.ends)}: {named}"
            if path in self._source.lines:
                self._add(path, text)
            else:
                field = path[:-1] if isinstance(path[-1], int) else path  # its place in the record
                self.warnings.append(f"{dotted(field)} {text}")
        elif one.begins > self._now:
            self._add(path, f"is valid from {_date(one.begins)} on: {named}")
        elif one.ends < self._now + SOON_SECONDS:
            self.warnings.append(f"{dotted(path)} expires on {_date(one.ends)}: {named}")


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
