"""Progress on a terminal: ended steps scroll up as one line each, what runs is redrawn below them.

The redrawn part never has more rows than fit, and is drawn four times a second by one thread;
``emit`` only notes. Rows are cut to the width, never wrapped, so nothing jumps.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ohmykube.progress import ItemProgress, Message, NodeProgress, Status, StepEnded, StepStarted
from ohmykube.ui.console import one_line, seconds
from ohmykube.ui.transfer_rate import TransferRates, amount

if TYPE_CHECKING:
    from collections.abc import Callable

    from ohmykube.progress import Event
    from ohmykube.ui.console import ErrorStream, Terminal

FRAMES_PER_SECOND = 4
MOST_ROWS = 12
MOST_IN_PLACE = 6
_SPIN_SECONDS = 0.25
_STYLES = {
    Status.OK: "green",
    Status.CHANGED: "green",
    Status.SKIPPED: "dim",
    Status.FAILED: "bold red",
}


_DONE = (Status.OK, Status.CHANGED)


@dataclass(slots=True)
class _Part:
    """A node or an item."""

    activity: str
    since: float
    """Begin of this activity."""
    first: float
    """Begin of its first activity."""
    status: Status | None = None
    ended: float = 0.0
    detail: str = ""
    amount: str = ""


@dataclass(slots=True)
class _Step:
    title: str
    since: float
    expect: float | None = None


class LiveReporter:
    """Draws events with rich; see ``frame`` for what is on the screen at a moment."""

    def __init__(
        self,
        stderr: ErrorStream,
        terminal: Terminal,
        *,
        verbosity: int = 0,
        now: Callable[[], float] = time.monotonic,
        console: Console | None = None,
    ) -> None:
        self._symbols = terminal.symbols
        self._verbosity = verbosity
        self._now = now
        self._steps: dict[str, _Step] = {}
        # Steps run side by side and events do not tell theirs, so there is one pool for all.
        self._nodes: dict[str, _Part] = {}
        self._items: dict[str, _Part] = {}
        self._rates = TransferRates()
        self._lock = threading.RLock()
        self._stopping = False
        self._live: Live | None = None
        self._closed = False
        self._stderr = stderr
        self._console = console or Console(
            file=stderr,  # type: ignore[arg-type]  # has all that rich uses of a file
            force_terminal=True,
            color_system="auto" if terminal.colour else None,
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=False,
        )

    # -- events ----------------------------------------------------------------------------------

    def emit(self, event: Event) -> None:
        """Note an event; ended steps and messages are written at once."""
        with self._lock:
            line = self._take(event)
        self._start()
        if line is not None:
            self._print(line)

    def _take(self, event: Event) -> Text | None:
        match event:
            case StepStarted():
                if not self._steps:
                    self._forget_ended()
                self._steps[event.step] = _Step(event.title, self._now(), event.expect_seconds)
            case StepEnded():
                return self._end(event)
            case NodeProgress():
                self._part(self._nodes, event.node, event.activity, event.status)
                self._nodes[event.node].detail = event.detail
            case ItemProgress():
                self._part(self._items, event.item, event.activity, event.status)
                transfer = self._rates.note(event, self._now())
                self._items[event.item].amount = amount(event, transfer)
            case Message():
                return self._message(event)
        return None

    def _part(
        self, pool: dict[str, _Part], name: str, activity: str, status: Status | None
    ) -> None:
        now = self._now()
        part = pool.get(name)
        if part is None or (part.status is not None and status is None):
            part = pool[name] = _Part(activity, now, now)
        if part.activity != activity:
            part.activity, part.since = activity, now
        if status is not None and part.status is None:
            part.ended = now
        part.status = status

    def _end(self, event: StepEnded) -> Text:
        self._steps.pop(event.step, None)
        line = self._ended(event)
        self._forget_ended()
        if not self._steps:
            self._nodes.clear()
            self._items.clear()
        return line

    def _forget_ended(self) -> None:
        for pool in (self._nodes, self._items):
            for name in [name for name, part in pool.items() if part.status is not None]:
                del pool[name]

    def _message(self, event: Message) -> Text | None:
        text = one_line(event.text)
        if event.level == "debug":
            return Text(text, style="dim") if self._verbosity else None
        if event.level == "warning":
            return Text.assemble(("warning: ", "yellow"), text)
        return Text(text)

    # -- drawing ---------------------------------------------------------------------------------

    def _ended(self, event: StepEnded) -> Text:
        mark = {Status.FAILED: self._symbols.failed, Status.SKIPPED: self._symbols.skipped}
        line = Text.assemble(
            (mark.get(event.status, self._symbols.ok), _STYLES[event.status]), f" {event.title}"
        )
        if event.status is Status.FAILED and self._stopping:
            line.append("  stopped", "yellow")
        elif event.status is Status.FAILED:
            line.append("  FAILED", _STYLES[Status.FAILED])
            pools = (*self._nodes.items(), *self._items.items())
            bad = [name for name, part in pools if part.status is Status.FAILED]
            if bad:
                line.append(f" on {', '.join(bad)}")
        if event.status is Status.SKIPPED:
            line.append("  skipped", "dim")
        else:
            line.append(f"  {seconds(event.seconds)}", "dim")
        if event.detail:
            line.append(f"  {one_line(event.detail)}", "dim")
        return self._cut(line)

    def frame(self) -> Group:
        """Return what is drawn now: steps, nodes and items that are under way, also of no step."""
        with self._lock:
            most = min(MOST_ROWS, max(self._console.size.height - 2, 2)) - self._stopping
            rows = [self._step_row(step) for step in self._steps.values()]
            rows += [*self._pool_rows(self._nodes), *self._pool_rows(self._items)]
            if len(rows) > most:
                hidden = len(rows) - most + 1
                rows = [*rows[: most - 1], Text(f"    {self._symbols.ellipsis} {hidden} more")]
            if self._stopping:
                rows.append(Text("stopping (Ctrl-C again to stop now)", style="yellow"))
            return Group(*(self._cut(row) for row in rows))

    def _step_row(self, step: _Step) -> Text:
        now = self._now()
        frames = self._symbols.spinner
        spin = frames[int(now / _SPIN_SECONDS) % len(frames)]
        head = Text.assemble((spin, "cyan"), f" {step.title}  {seconds(now - step.since)}")
        if step.expect:
            head.append(f" of about {seconds(step.expect)}", "dim")
        return head

    def _pool_rows(self, pool: dict[str, _Part]) -> list[Text]:
        # Few parts: all stay in place, so that rows do not jump; many: what is done is counted.
        few = len(pool) <= MOST_IN_PLACE
        shown = [(n, p) for n, p in pool.items() if few or p.status not in _DONE]
        width = max((len(name) for name, _ in shown), default=0)
        rows = [self._part_row(name, part, width) for name, part in shown]
        if len(shown) < len(pool):
            done = len(pool) - len(shown)
            rows.append(Text(f"    {done} of {len(pool)} done", style="dim"))
        return rows

    def _part_row(self, name: str, part: _Part, width: int) -> Text:
        took = self._now() - part.since if part.status is None else part.ended - part.first
        row = Text(f"    {name.ljust(width)}  ")
        if part.status in _DONE:
            row.append(f"{self._symbols.ok} ", "green")
        elif part.status is Status.FAILED:
            row.append(f"{self._symbols.failed} FAILED ", "bold red")
        elif part.status is Status.SKIPPED:
            row.append(f"{self._symbols.skipped} skipped ", "dim")
        row.append(one_line(part.activity))
        if part.amount:
            row.append(f" {part.amount}", "dim")
        row.append(f"  {seconds(took)}", "dim")
        if part.detail:
            row.append(f"  {one_line(part.detail)}", "dim")
        return row

    def _cut(self, row: Text) -> Text:
        row.no_wrap = True
        row.truncate(max(self._console.size.width - 1, 1), overflow="crop")
        return row

    def _start(self) -> None:
        with self._lock:
            busy = self._steps or self._nodes or self._items
            if self._live is not None or self._closed or not busy:
                return
            self._live = Live(
                console=self._console,
                get_renderable=self.frame,
                refresh_per_second=FRAMES_PER_SECOND,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
                vertical_overflow="crop",
            )
            self._live.start()

    def _print(self, line: Text) -> None:
        self._console.print(line, soft_wrap=len(line) > self._console.size.width)

    # -- the end ---------------------------------------------------------------------------------

    def stopping(self) -> None:
        """Show the notice with the next frame."""
        self._stopping = True

    def close(self) -> None:
        """Remove the moving part; the lines of ended steps stay."""
        with self._lock:
            live, self._live, self._closed = self._live, None, True
        if live is not None:
            live.stop()
            self._console.print()
