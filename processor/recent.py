"""What happened lately: a few minutes of samples for the operations page, and the last dead letters.

Fed once for each batch, never for each event; the loop's own look at its partitions closes a sample. Nothing here is
from a message: places, counts, and words of closed lists.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from math import sqrt
from typing import TYPE_CHECKING, Final, NamedTuple

from processor.histogram import Histogram
from processor.outbox import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from processor.outbox import Outbox
    from processor.telemetry import PartitionView

SAMPLE_S: Final = 5.0
SAMPLES_MAX: Final = 180
"""A quarter of an hour."""
LETTERS_MAX: Final = 50
_STEPS: Final = 8
"""Classes of delays in a decade: each is a third wider than the one before, so a quantile is a sixth off at most."""
_BOUNDS: Final = tuple(0.001 * 10 ** (step / _STEPS) for step in range(8 * _STEPS + 1))
"""From a millisecond to a day, in seconds."""


class Sample(NamedTuple):
    """What was committed in some seconds."""

    at: float
    """When it ended (s since the epoch)."""
    seconds: float
    records: int
    outcomes: Mapping[str, int]
    """Events by outcome; what did not occur is missing."""
    committed: int
    aborted: int
    lag: int
    """Records left in all partitions, when it ended."""
    delay_median: float | None
    """From receipt at the edge to commit, in seconds; None where nothing was read from a raw topic."""
    delay_p95: float | None


class Letter(NamedTuple):
    """A dead letter: why and where, nothing of what it held."""

    at: float
    """When it was committed (s since the epoch)."""
    reason: str
    stage: str
    carrier: str
    topic: str
    partition: int
    offset: int
    element: int
    """The event's among those of its record, -1 where the whole record is meant."""


@dataclass(slots=True)
class _Open:
    """The sample that is being filled."""

    began_at: float = 0.0
    records: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    committed: int = 0
    aborted: int = 0
    delays: Histogram = field(default_factory=lambda: Histogram(_BOUNDS))


class Recent:
    """The last minutes of one worker. The loop writes; whoever shows pages reads, from threads of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = _Open()
        self._samples: deque[Sample] = deque(maxlen=SAMPLES_MAX)
        self._letters: deque[Letter] = deque(maxlen=LETTERS_MAX)

    def committed(self, outbox: Outbox, received: Sequence[int], now: float) -> None:
        """Take a committed batch.

        Args:
            outbox: What was committed.
            received: When its events were received at the edge (ms since the epoch), rising.
            now: When it was committed (s since the epoch).
        """
        letters = [
            Letter(now, str(letter.reason), letter.stage, letter.carrier, *letter.source)
            for letter in outbox.dead_letters[-LETTERS_MAX:]
        ]
        with self._lock:
            current = self._open
            current.committed += 1
            for tally in outbox.tallies.values():
                current.records += tally.records
                for (_, outcome, _), count in tally.outcomes.items():
                    current.outcomes[outcome] = current.outcomes.get(outcome, 0) + count
            current.delays.observe_ages(received, now * 1000)
            self._letters.extend(letters)

    def aborted(self) -> None:
        """Take an aborted transaction."""
        with self._lock:
            self._open.aborted += 1

    def looked(self, view: PartitionView) -> None:
        """Close a sample when it is time; called at each look of the loop at its partitions."""
        now = view.seen_at
        with self._lock:
            current = self._open
            if not current.began_at:
                current.began_at = now
            if 0 <= now - current.began_at < SAMPLE_S:
                return
            if now < current.began_at:
                # The clock was set back: what seems to lie in the future cannot be shown.
                self._samples = deque((one for one in self._samples if one.at < now), SAMPLES_MAX)
            self._samples.append(_closed(current, view))
            self._open = _Open(began_at=now)

    def samples(self) -> list[Sample]:
        """Return the samples, the oldest first."""
        with self._lock:
            return list(self._samples)

    def letters(self) -> list[Letter]:
        """Return the last dead letters, the newest first."""
        with self._lock:
            return [*reversed(self._letters)]


def _closed(current: _Open, view: PartitionView) -> Sample:
    return Sample(
        at=view.seen_at,
        seconds=max(0.001, view.seen_at - current.began_at) if view.seen_at > current.began_at else SAMPLE_S,
        records=current.records,
        outcomes={str(Outcome(name)): count for name, count in current.outcomes.items()},
        committed=current.committed,
        aborted=current.aborted,
        lag=sum(one.lag or 0 for one in view.inputs.values()),
        delay_median=_quantile(current.delays, 0.5),
        delay_p95=_quantile(current.delays, 0.95),
    )


def _quantile(delays: Histogram, share: float) -> float | None:
    upto = [count for _, count in delays.buckets()]
    if not upto[-1]:
        return None
    at = bisect_left(upto, share * upto[-1])
    low, high = _BOUNDS[max(0, at - 1)], _BOUNDS[min(at, len(_BOUNDS) - 1)]
    return sqrt(low * high)
