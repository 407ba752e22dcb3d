"""Deletes old state from the local stores, a few entries at a time, so that no sweep ever holds up the loop.

The topic deletes by its own retention; the stores follow with the same cut-off, on the time at which the changelog got
an entry. A whole sweep is spread over an eighth of the retention, so a store holds at most an eighth more than it must.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from processor.store import StatePartition

_EVERY_MS: Final = 1000
_SWEEPS_PER_RETENTION: Final = 8
_ENTRIES_MIN: Final = 16
_ENTRIES_MAX: Final = 2_000
"""Entries looked at in one store at a time: some 2 ms."""


class Purge:
    """Spreads the sweeps of all stores over time; time comes as an argument."""

    def __init__(self, keep_ms: int) -> None:
        """Keep entries for `keep_ms` after the changelog got them."""
        self._keep_ms = keep_ms
        self._last_ms: int | None = None
        self.removed = 0
        """Entries deleted since the start."""

    def step(self, stores: Iterable[StatePartition], now_ms: int) -> None:
        """Go on with each store's sweep, as far as the time since the last step asks for.

        Raises:
            StoreDoubtedError: A store cannot be read or written.
            FatalError: The disk takes nothing.
        """
        if self._last_ms is None:
            self._last_ms = now_ms
        elapsed = now_ms - self._last_ms
        if 0 <= elapsed < _EVERY_MS:
            return
        self._last_ms = now_ms
        if elapsed < 0:
            return  # The clock was set back.
        share = elapsed * _SWEEPS_PER_RETENTION / self._keep_ms
        for store in stores:
            entries = min(_ENTRIES_MAX, _ENTRIES_MIN + int(store.entries() * share))
            self.removed += store.purge(now_ms - self._keep_ms, entries).removed
