"""The log of the fake limactl: lines on stderr, as text or JSON, and the errors that end a call."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping


class Fatal(Exception):
    """Ends the call with code 1; the message is logged as fatal."""


class Ended(Exception):
    """Ends the call with a code and no further word."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Killed(Exception):
    """The call is killed here, as by SIGKILL."""


class Hung(Exception):
    """The call never ends by itself."""


def now() -> str:
    """Return the time as limactl writes it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class LimactlLog:
    """Writes lines; ``as_json`` is set once the flags are understood."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.as_json = False

    def info(self, message: str, **fields: str) -> None:
        """Say something."""
        self._line("info", message, fields)

    def warning(self, message: str, **fields: str) -> None:
        """Warn."""
        self._line("warning", message, fields)

    def fatal(self, message: str) -> None:
        """Say why the call ends."""
        self._line("fatal", message, {})

    def _line(self, level: str, message: str, fields: Mapping[str, str]) -> None:
        if self.as_json:
            entry = {**fields, "level": level, "msg": message, "time": now()}
            line = json.dumps(dict(sorted(entry.items())), separators=(",", ":"))
        else:
            more = "".join(f" {name}={json.dumps(text)}" for name, text in fields.items())
            line = f'time="{now()}" level={level} msg={json.dumps(message)}{more}'
        self._stream.write(line + "\n")
        self._stream.flush()
