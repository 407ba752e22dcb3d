"""Keeps the decoder supplied with the writer schemas that records name: the only I/O that decoding needs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from processor.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from processor.codec import Decoder
    from processor.registry import Registry


BUDGET_S: Final = 1.0
"""Time for the schemas of one batch: meanwhile nobody polls, and nobody looks whether the worker is asked to stop."""


class SchemaSupply:
    """Fetches what a batch needs before the core sees it, so that the core stays pure."""

    def __init__(
        self,
        decoder: Decoder,
        registry: Registry | None,
        beat: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._decoder = decoder
        self._registry = registry
        self._beat = beat
        self._clock = clock

    def supply(self, values: Iterable[bytes | None]) -> None:
        """Fetch the schemas that the decoder does not know yet.

        Without a registry there are none: such a record is a dead letter.

        Raises:
            TransientError: The registry is down, or so slow that the batch has to be tried again, which goes on where
                this time ended; nothing may be dead-lettered for that.
        """
        if self._registry is None:
            return
        missing = sorted(self._decoder.missing_schema_ids(list(values)))
        until = self._clock() + BUDGET_S
        for fetched, schema_id in enumerate(missing):
            if fetched and self._clock() > until:
                raise TransientError(f"the schema registry is slow: {fetched} of {len(missing)} schemas fetched by now")
            self._decoder.learn(schema_id, self._registry.fetch(schema_id))
            self._beat()  # Each request is bounded in time; many slow ones are no hang.
