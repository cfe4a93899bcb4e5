"""The corpus of cluster files: the directory listing is the specification."""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path

import pytest

from ohmykube.config import load
from ohmykube.errors import OhmykubeError

DATA = Path(__file__).parents[2] / "data" / "config"
VALID = sorted(path.name for path in DATA.glob("valid-*.yaml"))
INVALID = sorted(path.name for path in DATA.glob("invalid-*.yaml"))


def told(error: OhmykubeError) -> str:
    """Return an error as the golden files have it: all problems, then what is shown."""
    problems = getattr(error, "problems", ())
    lines = [f"{error.id} exit {int(error.exit_code)}", error.message, *(problems or [])]
    if not problems:
        lines += (error.why or "").splitlines()
    lines.append(f"hint: {error.hint}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", VALID)
def test_valid_file_loads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DATA)
    loaded = load.load(Path(name))
    golden = DATA / name.replace(".yaml", ".warnings")
    told_warnings = "".join(f"{line}\n" for line in loaded.warnings)
    if os.environ.get("OHMYKUBE_GOLDEN") == "write" and told_warnings:
        golden.write_text(told_warnings)
    assert told_warnings == (golden.read_text() if golden.exists() else "")


@functools.cache
def error_of(name: str) -> OhmykubeError:
    """Return how a file fails: read once, as Ansible takes its time for each inventory."""
    with contextlib.chdir(DATA), pytest.raises(OhmykubeError) as caught:
        load.load(Path(name))
    return caught.value


@pytest.mark.parametrize("name", INVALID)
def test_invalid_file_says_what_is_wrong(name: str) -> None:
    golden = DATA / name.replace(".yaml", ".txt")
    text = told(error_of(name))
    if os.environ.get("OHMYKUBE_GOLDEN") == "write":
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("name", INVALID)
def test_a_value_that_is_wrong_is_not_missing_too(name: str) -> None:
    problems = getattr(error_of(name), "problems", ())
    missing = [one.removesuffix(": must be given") for one in problems if "must be given" in one]
    assert not [one for one in problems for place in missing if one.startswith(f"{place}: must b")
                and not one.endswith("must be given")]  # fmt: skip


@pytest.mark.parametrize("name", INVALID)
def test_message_is_short_and_clean(name: str) -> None:
    error = error_of(name)
    shown = [error.message, *(error.why or "").splitlines(), error.hint or ""]
    assert error.hint
    assert len(shown) <= 11
    assert all(line.isascii() and (line.isprintable() or not line) for line in shown)
    assert all(len(line) <= 260 for line in shown)


def test_every_golden_text_has_its_file() -> None:
    orphans = [p.name for p in DATA.glob("invalid-*.txt") if not p.with_suffix(".yaml").exists()]
    assert orphans == []
    assert len(INVALID) >= 60
