"""What stands for RocksDB: a map with atomic batches, of which a crash keeps what was flushed or had a log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Operations = list[tuple[bytes, bytes | None]]


class Batch:
    """Stands for rocksdict's WriteBatch."""

    def __init__(self, *, raw_mode: bool = False) -> None:
        assert raw_mode
        self.operations: Operations = []

    def put(self, key: bytes, value: bytes) -> None:
        self.operations.append((key, value))

    def delete(self, key: bytes) -> None:
        self.operations.append((key, None))


class Files:
    """The files of one database."""

    def __init__(self) -> None:
        self.flushed: dict[bytes, bytes] = {}
        self.written: list[tuple[Operations, bool]] = []
        """Batches since the last flush, and whether they are in the write-ahead log."""

    def crash(self) -> None:
        """Keep what a killed process leaves behind."""
        kept = [operations for operations, logged in self.written if logged]
        self.written = []
        for operations in kept:
            _apply(self.flushed, operations)


class Disk:
    """The state directory of one worker: databases by path. It outlives the worker's processes."""

    def __init__(self, is_corrupt: Callable[[], bool]) -> None:
        """`is_corrupt` tells of each access whether it meets a checksum that does not match."""
        self.files: dict[str, Files] = {}
        self._open: list[Database] = []
        self._is_corrupt = is_corrupt

    def open(self, directory: Path) -> Database:
        """Open a database, or make an empty one."""
        database = Database(self.files.setdefault(str(directory), Files()), self._is_corrupt)
        self._open.append(database)
        return database

    def crash(self) -> None:
        """End the process that has them open."""
        for database in self._open:
            database.dead = True
        self._open = []
        for files in self.files.values():
            files.crash()


class Database:
    """Stands for an open Rdict."""

    def __init__(self, files: Files, is_corrupt: Callable[[], bool]) -> None:
        self.files = files
        self.dead = False
        self._is_corrupt = is_corrupt
        self._content = dict(files.flushed)
        for operations, _ in files.written:
            _apply(self._content, operations)

    def get(self, key: bytes) -> bytes | None:
        self._look(key)
        return self._content.get(key)

    def write(self, batch: Batch, options: Any) -> None:
        for key, _ in batch.operations:
            self._look(key)
        self.files.written.append((batch.operations, not options.disable_wal))
        _apply(self._content, batch.operations)

    def _look(self, key: bytes) -> None:
        if not key.startswith(b"\0") and self._is_corrupt():  # An empty store is in order.
            raise OSError("Corruption: block checksum mismatch")

    def flush(self) -> None:
        if not self.dead:
            self.files.flushed = dict(self._content)
            self.files.written = []

    def close(self) -> None:
        self.flush()

    def keys(self) -> Iterator[bytes]:
        return iter(self._content)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self._content.items())

    def iter(self) -> Cursor:
        return Cursor(sorted(self._content.items()))

    def property_int_value(self, _: str) -> int:
        return len(self._content)


class Cursor:
    """Stands for rocksdict's RdictIter."""

    def __init__(self, items: list[tuple[bytes, bytes]]) -> None:
        self._items = items

    def seek(self, key: bytes) -> None:
        self._items = [item for item in self._items if item[0] >= key]

    def valid(self) -> bool:
        return bool(self._items)

    def key(self) -> bytes:
        return self._items[0][0]

    def value(self) -> bytes:
        return self._items[0][1]

    def next(self) -> None:
        self._items.pop(0)


def _apply(content: dict[bytes, bytes], operations: Operations) -> None:
    for key, value in operations:
        if value is None:
            content.pop(key, None)
        else:
            content[key] = value
