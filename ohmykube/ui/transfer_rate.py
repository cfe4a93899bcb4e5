"""How fast bytes come and when they will all be there, from the progress of one item."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.kit.amounts import size
from ohmykube.ui.console import seconds

if TYPE_CHECKING:
    from ohmykube.progress import ItemProgress

WINDOW_SECONDS = 10.0
_LEAST_SECONDS = 0.5
"""A rate over less time says nothing."""


@dataclass(frozen=True, slots=True)
class TransferRate:
    """Bytes per second over the last seconds, and seconds until the end; None when unknown."""

    rate: float | None = None
    left: float | None = None


class TransferRates:
    """The transfer rates of all items of a run that count bytes."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    def note(self, event: ItemProgress, now: float) -> TransferRate:
        """Take an event at ``now`` (monotonic seconds) and return the rate of its item."""
        if event.unit != "bytes" or event.done is None or event.status is not None:
            self._seen.pop(event.item, None)
            return TransferRate()
        seen = self._seen.setdefault(event.item, deque())
        if seen and event.done < seen[-1][1]:  # it began anew
            seen.clear()
        seen.append((now, event.done))
        while now - seen[0][0] > WINDOW_SECONDS and len(seen) > 2:
            seen.popleft()
        passed = now - seen[0][0]
        if passed < _LEAST_SECONDS:
            return TransferRate()
        rate = (event.done - seen[0][1]) / passed
        if not event.total or rate <= 0:
            return TransferRate(rate)
        return TransferRate(rate, max(0, event.total - event.done) / rate)


def amount(event: ItemProgress, transfer: TransferRate) -> str:
    """Return how far an item is, or nothing: ``20.0 of 30.0 MiB, 12.5 MiB/s, 0.8s left``."""
    if event.done is None:
        return ""
    if event.unit != "bytes":
        return f"{event.done}/{event.total}" if event.total else str(event.done)
    text = size(event.done)
    if event.total:
        whole = size(event.total)
        done, unit = text.split(" ")
        text = f"{done if whole.endswith(f' {unit}') else text} of {whole}"
    if transfer.rate is not None:
        text += f", {size(transfer.rate)}/s"
    if transfer.left is not None:
        text += f", {seconds(transfer.left)} left"
    return text
