"""Keeps the decoder supplied with the writer schemas that records name: the only I/O that decoding needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from processor.codec import Decoder
    from processor.registry import Registry


class SchemaSupply:
    """Fetches what a batch needs before the core sees it, so that the core stays pure."""

    def __init__(self, decoder: Decoder, registry: Registry | None, beat: Callable[[], object] = lambda: None) -> None:
        self._decoder = decoder
        self._registry = registry
        self._beat = beat

    def supply(self, values: Iterable[bytes | None]) -> None:
        """Fetch the schemas that the decoder does not know yet.

        Without a registry there are none: such a record is a dead letter.

        Raises:
            TransientError: The registry is down; nothing may be dead-lettered for that.
        """
        if self._registry is None:
            return
        for schema_id in self._decoder.missing_schema_ids(list(values)):
            self._decoder.learn(schema_id, self._registry.fetch(schema_id))
            self._beat()  # Each request is bounded in time; many slow ones are no hang.
