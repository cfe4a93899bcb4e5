"""The log file of a run."""

from __future__ import annotations

import logging
import re

from ohmykube.cli._log import KEEP_FILES, RunLog
from tests.data.cli.fake_cli import script
from tests.unit.cli.conftest import logs


def test_nothing_is_written_before_it_is_opened(tmp_path) -> None:
    log = RunLog(tmp_path / "logs", "up")
    log.note("early")
    assert not (tmp_path / "logs").exists()
    log.open()
    log.open()
    log.note("late\nand later")
    log.close()
    assert log.path is not None
    lines = log.path.read_text().splitlines()
    assert [line.split(maxsplit=2)[2] for line in lines] == ["early", "late", "and later"]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 INFO ", x) for x in lines)
    log.note("after the end")


def test_events_and_records(tmp_path) -> None:
    log = RunLog(tmp_path, "up")
    log.open()
    script(log.event, lambda _beats: None)
    log.emit(logging.LogRecord("ohmykube.kit", logging.DEBUG, "f", 1, "run: %s", ("ls",), None))
    log.emit(logging.LogRecord("ohmykube.kit", logging.DEBUG, "f", 1, "bad %d", ("x",), None))
    error = ValueError("inner")
    info = (ValueError, error, None)
    log.emit(logging.LogRecord("ohmykube.x", logging.ERROR, "f", 1, "odd", (), info))
    log.close()
    text = log.path.read_text()
    for wanted in (
        "step plan: ok after 0.10s: 3 nodes to create",
        "step create: started (Create nodes)",
        "node dev-worker-1: started: ok",
        "item etcd: packed: ok",
        "warning: registry.k8s.io cannot be reached",
        "debug: TASK [containerd : Install]",
        "ohmykube.kit: run: ls",
        "ohmykube.kit: 'bad %d'",
        "ValueError: inner",
    ):
        assert wanted in text


def test_the_last_twenty_are_kept(tmp_path) -> None:
    for _ in range(KEEP_FILES + 5):
        log = RunLog(tmp_path, "up")
        log.open()
        log.close()
    assert len(list(tmp_path.iterdir())) == KEEP_FILES
    assert log.path is not None
    assert log.path.exists()


def test_a_link_in_the_way_is_not_followed(tmp_path, monkeypatch) -> None:
    import datetime as dt

    from ohmykube.cli import _log

    class Frozen(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    monkeypatch.setattr(_log.dt, "datetime", Frozen)
    victim = tmp_path / "victim"
    (tmp_path / "20260102T030405-up.log").symlink_to(victim)
    log = RunLog(tmp_path, "up")
    log.open()
    log.close()
    assert not victim.exists()
    assert log.path == tmp_path / "20260102T030405-up-1.log"


def test_loggers_of_the_product_end_in_the_log(cli, fakes, home) -> None:
    def up(services, cluster, options):
        logging.getLogger("ohmykube.kit.process").debug("run: %s", "mmdebstrap")
        logging.getLogger("elsewhere").warning("not ours")
        raise KeyError("x")

    fakes.up = up
    outcome = cli("up")
    text = logs(home)[0].read_text()
    assert "run: mmdebstrap" in text
    assert "not ours" not in text
    assert "mmdebstrap" not in outcome.err
    assert "debug: run: mmdebstrap" in cli("up", "-vv").err
    assert logging.getLogger("ohmykube").propagate
    assert not any(
        type(handler).__name__ in ("RunLog", "_Echo")
        for handler in logging.getLogger("ohmykube").handlers
    )


def test_values_of_flags_are_not_logged(cli, home) -> None:
    assert cli("up", "--mirror", "https://user:hunter2@mirror.example").code in (0, 3)
    assert not any("hunter2" in log.read_text() for log in logs(home))


def test_verbose_shows_ansible_and_quiet_nothing(cli, fakes) -> None:
    fakes.play = "demo"
    assert "TASK [containerd : Install]" not in cli("up").err
    assert "TASK [containerd : Install]" in cli("up", "-v").err
    quiet = cli("up", "-q")
    assert quiet.err == ""
    assert quiet.out.startswith('Cluster "dev"')


def test_live_without_a_terminal_is_plain(cli, fakes) -> None:
    fakes.play = "demo"
    outcome = cli("up", "--progress", "live")
    assert "\x1b" not in outcome.err
    assert re.match(r"\[\d\d:\d\d\] Check this host \.\.\.", outcome.err)


def test_no_command_takes_the_place_of_another_s_logs(tmp_path) -> None:
    """The log of the `up` that matters is there after any number of other commands."""
    for command in ("up", *["kubeconfig", "cache", "up-again"] * (KEEP_FILES + 3)):
        log = RunLog(tmp_path, command)
        log.open()
        log.close()
    names = [path.name for path in tmp_path.iterdir()]
    assert len([name for name in names if re.search(r"Z?-up(-\d+)?\.log$", name)]) == 1
    for command in ("kubeconfig", "cache", "up-again"):
        pattern = rf"\dT?\d+-{command}(-\d+)?\.log$"
        assert len([name for name in names if re.search(pattern, name)]) == KEEP_FILES


def test_without_a_place_there_is_no_file_and_no_error() -> None:
    log = RunLog(None, "up")
    log.open()
    log.note("said")
    log.close()
    assert log.path is None
