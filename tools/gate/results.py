"""The cache of results: one file for each part and key, outside the checkout.

Only results of runs that passed are kept. A file that cannot be believed counts as none and is
removed; what cannot be written is not kept. Neither ends a run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

MOST = 30
"""How many results of a part stay: so many states of its files people go back and forth between."""


def directory() -> Path:
    """Return where results, figures and logs are: ``OHMYKUBE_GATE_DIR``, else the user's cache."""
    if named := os.environ.get("OHMYKUBE_GATE_DIR"):
        return Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ohmykube-gate"


@dataclass(frozen=True)
class Result:
    """What a passed run of a part came to."""

    part: str
    key: str
    summary: str
    """The closing line of its runner."""
    seconds: float
    cpu_seconds: float
    coverage: str = ""
    """The digest of its coverage data, which lies beside it; nothing if it measured nothing."""


class ResultCache:
    """The kept results below a directory."""

    def __init__(self, place: Path) -> None:
        self._place = place / "results"
        self.notes: list[str] = []
        """What was wrong with the results themselves; told at the end of a run."""

    def find(self, part: str, key: str) -> Result | None:
        """Return the result of a part under a key; None when there is none to be believed."""
        path = self._file(part, key)
        try:
            document = json.loads(path.read_bytes())
            checksum = document.pop("checksum")
            result = Result(**document)
            whole = checksum == _checksum(document) and (result.part, result.key) == (part, key)
            if result.coverage:
                data = self.coverage(part, key).read_bytes()
                whole = whole and result.coverage == hashlib.sha256(data).hexdigest()
        except FileNotFoundError:
            if not path.exists():
                return None
            whole = False  # its coverage is gone
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            whole = False
        if not whole:
            self.notes.append(f"the kept result of {part} is damaged: removed, and run again")
            self.forget(part, key)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # the last to go
        return result

    def keep(self, result: Result, coverage: Path | None) -> None:
        """Keep the result of a run that passed, with its coverage data."""
        path = self._file(result.part, result.key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if coverage is not None:
                data = coverage.read_bytes()
                result = replace(result, coverage=hashlib.sha256(data).hexdigest())
                write(self.coverage(result.part, result.key), data)
            document = asdict(result)
            whole = {**document, "checksum": _checksum(document)}
            write(path, json.dumps(whole).encode())
        except OSError as error:
            self.notes.append(f"the result of {result.part} is not kept: {error.strerror}")
            self.forget(result.part, result.key)
            return
        self._prune(path.parent)

    def coverage(self, part: str, key: str) -> Path:
        """Return the file of a result's coverage data."""
        return self._file(part, key).with_suffix(".coverage")

    def forget(self, part: str, key: str) -> None:
        """Remove a result."""
        for path in (self._file(part, key), self.coverage(part, key)):
            with contextlib.suppress(OSError):
                path.unlink()

    def _file(self, part: str, key: str) -> Path:
        return self._place / part.replace("/", "-") / f"{key}.json"

    def _prune(self, place: Path) -> None:
        with contextlib.suppress(OSError):  # another gate may prune at the same time
            # By the order of their times alone: a clock that was set back removes nothing.
            files = sorted(place.glob("*.json"), key=lambda path: path.stat().st_mtime)
            for old in files[:-MOST]:
                self.forget(place.name, old.stem)


def _checksum(document: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def write(path: Path, data: bytes) -> None:
    """Replace a file at once: whoever reads meanwhile sees the old one or the new one.

    Raises:
        OSError: it cannot be written; the old one stays.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix="tmp-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
