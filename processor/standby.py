"""Warm standbys: replicas of partitions that others own, so that taking one over reads seconds of changelog, not hours.

A worker keeps the partitions next to its own, on both sides: when the range assignor spreads a dead worker's
partitions, every other range grows or moves into its neighbours. A standby saves the restore and nothing else; the
session and the transaction of the dead worker must still run out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

    from processor.changelog import ChangelogReader
    from processor.stores import Stores

_CHUNK_RECORDS: Final = 5_000
"""Records of one step; it comes with every turn of the loop and must not hold it up."""


def standby_partitions(own: Collection[int], partitions: int, standbys: int) -> set[int]:
    """Return the partitions next to a worker's own, on each side `standbys` times as many as another worker may own.

    Ranges differ by one partition at most.
    """
    if not own or not standbys:
        return set()
    reach = standbys * (len(own) + 1)
    near = range(max(0, min(own) - reach), min(partitions, max(own) + reach + 1))
    return set(near) - set(own)


class Standbys:
    """The replicas that this worker keeps. Not thread-safe: the loop owns it."""

    def __init__(self, reader: ChangelogReader, stores: Stores, partitions: int, standbys: int) -> None:
        """Keep what is needed.

        Args:
            reader: A changelog reader of its own, so that a restore never waits for a standby.
            stores: This worker's stores; the same directory serves a partition owned and one followed.
            partitions: Partitions of the changelog.
            standbys: Replicas that each partition should have; 0 for none.
        """
        self._reader = reader
        self._stores = stores
        self._partitions = partitions
        self._standbys = standbys

    @property
    def followed(self) -> Collection[int]:
        """Partitions of which a replica is kept now."""
        return self._reader.restores.keys()

    @property
    def records_read(self) -> int:
        """Changelog records read for replicas, since the start."""
        return self._reader.records_restored

    def settle(self, own: Collection[int]) -> None:
        """Follow the partitions next to those that the worker owns now, and no others."""
        wanted = standby_partitions(own, self._partitions, self._standbys)
        for partition in set(self.followed) - wanted:
            self._reader.cancel(partition)
        for partition in sorted(wanted - set(self.followed)):
            self._reader.begin(self._stores.open(partition), None)

    def promote(self, partition: int) -> None:
        """Stop following a partition that the worker owns from now on; its store is as far as it is."""
        self._reader.cancel(partition)

    def step(self) -> None:
        """Read a chunk of what is there, without waiting.

        Raises:
            FatalError: The changelog cannot be read.
            StoreDoubtedError: A replica cannot be written.
        """
        self._reader.step(0.0, _CHUNK_RECORDS)

    def serve(self) -> None:
        """Let the client hand over what it has to tell while there is nothing to follow."""
        self._reader.serve()

    def close(self) -> None:
        """Close the client."""
        self._reader.close()
