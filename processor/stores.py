"""The local stores of one worker: a directory for each partition, opened when it comes, set aside when doubted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from processor.store import StatePartition, StoreDoubtedError, StoreIdentity, open_rocksdb, set_aside

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from rocksdict import Rdict

_log = structlog.get_logger(__name__)


class Stores:
    """Opens and closes the stores of the partitions that this worker holds."""

    def __init__(
        self,
        directory: Path,
        identity: StoreIdentity,
        cache_entries: int,
        open_db: Callable[[Path], Rdict] = open_rocksdb,
    ) -> None:
        """Keep what is needed.

        Args:
            directory: Where the partitions' directories are; this worker's alone.
            identity: Which changelog the stores mirror; the partition is filled in.
            cache_entries: Messages kept in memory for each partition.
            open_db: Opens a database, so that a simulation can bring its own.
        """
        self._directory = directory
        self._identity = identity
        self._cache_entries = cache_entries
        self._open_db = open_db
        self._open: dict[int, StatePartition] = {}
        self.set_aside = 0
        """Stores that could not be trusted, since the start."""

    def get(self, partition: int) -> StatePartition:
        """Return an open store."""
        return self._open[partition]

    @property
    def opened(self) -> Collection[int]:
        """Partitions whose stores are open."""
        return self._open.keys()

    def open(self, partition: int) -> StatePartition:
        """Open a store, or an empty one where what is there cannot be trusted."""
        if partition not in self._open:
            try:
                self._open[partition] = self._make(partition)
            except StoreDoubtedError as doubt:
                self._set_aside(partition, doubt.why)
                self._open[partition] = self._make(partition)
        return self._open[partition]

    def rebuild(self, partition: int, why: str) -> StatePartition:
        """Set an open store aside and return an empty one."""
        self.close(partition)
        self._set_aside(partition, why)
        return self.open(partition)

    def close(self, partition: int) -> None:
        """Close a store, if it is open; its files stay."""
        store = self._open.pop(partition, None)
        if store is not None:
            store.close()

    def close_all_but(self, kept: Collection[int] = ()) -> None:
        """Close every store but those kept."""
        for partition in set(self._open) - set(kept):
            self.close(partition)

    def _make(self, partition: int) -> StatePartition:
        identity = replace(self._identity, partition=partition)
        return StatePartition(self._path(partition), identity, self._cache_entries, self._open_db)

    def _set_aside(self, partition: int, why: str) -> None:
        aside = set_aside(self._path(partition))
        self.set_aside += 1
        _log.warning("local state set aside, rebuilding it", partition=partition, why=why, path=str(aside))

    def _path(self, partition: int) -> Path:
        return self._directory / f"{self._identity.topic}-{partition}"
