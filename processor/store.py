"""The state of one partition: RocksDB on disk, a bounded cache of what was used lately, an overlay of what is staged.

Theory of operation: writes of an open transaction stay in the overlay, in memory. Only after the transaction has
committed does RocksDB get them, with the changelog offset they reach to, in one atomic batch (`apply`); an abort only
forgets the overlay (`discard`). A crash in between is healed by reading the changelog from the stored offset. The
store is a cache of the changelog and nothing more: on any doubt it is set aside and rebuilt.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from rocksdict import Options, Rdict, WriteBatch, WriteOptions

from processor.errors import ExitCode, FatalError
from processor.state_codec import decode_state, encode_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from processor.model import MessageState

STORE_FORMAT: Final = 1
_META_KEY: Final = b"\0meta"
"""No identity starts with NUL: the first part of an identity is a carrier's name."""
_BLOCK_CACHE_MB: Final = 8
_WRITE_BUFFER_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """Which changelog partition a store mirrors; a store of another one is foreign."""

    cluster_id: str
    topic: str
    topic_id: str
    partition: int
    partitions: int
    store_format: int = STORE_FORMAT


class StatePartition:
    """State of one partition. Not thread-safe: the worker's loop owns it."""

    def __init__(
        self,
        directory: Path,
        identity: StoreIdentity,
        cache_entries: int = 100_000,
        open_db: Callable[[Path], Rdict] | None = None,
    ) -> None:
        """Open the store, or make an empty one where there is none.

        Raises:
            StoreDoubtedError: What is there is broken, or mirrors another changelog.
            FatalError: The directory cannot be used at all.
        """
        self.identity = identity
        self.offset: int = 0
        """Next changelog offset to read."""
        self._directory = directory
        self._overlay: dict[str, MessageState] = {}
        self._recent: dict[str, MessageState] = {}
        self._older: dict[str, MessageState] = {}
        self._generation_entries = max(1, cache_entries // 2)
        self._write_options = WriteOptions()
        self._db = (open_db or open_rocksdb)(directory)
        self._read_meta()

    def get(self, identity: str) -> MessageState | None:
        """Return what is known of a message: staged, lately used, or on disk."""
        state = self._overlay.get(identity)
        if state is not None:
            return state
        state = self._recent.get(identity)
        if state is not None:
            return state
        state = self._older.get(identity)
        if state is None:
            value = self._db.get(identity.encode())
            if value is None:
                return None
            state = decode_state(value)
        self._remember(identity, state)
        return state

    def put(self, identity: str, state: MessageState) -> None:
        """Stage what is known from now on."""
        self._overlay[identity] = state

    @property
    def staged(self) -> dict[str, MessageState]:
        """What the open transaction has written; the changelog gets exactly this."""
        return self._overlay

    def apply(self, staged: Iterable[tuple[bytes, bytes]], next_offset: int) -> None:
        """Write what was committed, as (key, value) bytes, and the changelog offset after it, in one atomic batch."""
        self._write(staged, next_offset)
        if len(self._recent) + len(self._overlay) > self._generation_entries:
            self._older, self._recent = self._recent, {}
        self._recent.update(self._overlay)
        self._overlay = {}

    def discard(self) -> None:
        """Forget what was staged: its transaction was aborted."""
        self._overlay = {}

    def restore(self, records: Iterable[tuple[bytes, bytes | None]], next_offset: int) -> None:
        """Apply changelog records in order (None: a tombstone), up to `next_offset`."""
        self._write(records, next_offset)

    def entries(self) -> int:
        """Return RocksDB's estimate of the number of messages known."""
        return int(self._db.property_int_value("rocksdb.estimate-num-keys") or 0)

    def close(self) -> None:
        """Close the files; what was staged is forgotten."""
        self.discard()
        self._db.close()

    def _remember(self, identity: str, state: MessageState) -> None:
        if len(self._recent) >= self._generation_entries:
            self._older, self._recent = self._recent, {}
        self._recent[identity] = state

    def _write(self, records: Iterable[tuple[bytes, bytes | None]], next_offset: int) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in records:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(_META_KEY, self._meta(next_offset))
        try:
            self._db.write(batch, self._write_options)
        except Exception as error:  # rocksdict raises plain Exception for every I/O error
            raise FatalError(
                f"cannot write state under {self._directory}: {error}; free or repair the disk and start again",
                ExitCode.FAILED,
            ) from error
        self.offset = next_offset

    def _meta(self, next_offset: int) -> bytes:
        return json.dumps({**asdict(self.identity), "offset": next_offset}).encode()

    def _read_meta(self) -> None:
        stored = self._db.get(_META_KEY)
        if stored is None:
            if next(iter(self._db.keys()), None) is not None:
                self._doubt("it does not say what it mirrors")
            self._write((), 0)
            return
        meta = json.loads(stored)
        self.offset = int(meta.pop("offset"))
        if meta != asdict(self.identity):
            self._doubt("it mirrors another changelog")

    def _doubt(self, why: str) -> None:
        self._db.close()
        raise StoreDoubtedError(why)


class StoreDoubtedError(Exception):
    """A local store cannot be trusted; it is set aside and rebuilt from the changelog."""


def set_aside(directory: Path) -> Path:
    """Move a doubted store out of the way, replacing the one set aside before; return where it is now."""
    aside = directory.with_name(directory.name + ".set-aside")
    shutil.rmtree(aside, ignore_errors=True)
    directory.rename(aside)
    return aside


def encode_staged(staged: dict[str, MessageState]) -> list[tuple[bytes, bytes]]:
    """Return the overlay as the records of the changelog and of the store."""
    return [(identity.encode(), encode_state(state)) for identity, state in staged.items()]


def open_rocksdb(directory: Path) -> Rdict:
    """Open a database, or make an empty one where there is none.

    Raises:
        StoreDoubtedError: What is there is broken.
        FatalError: The directory cannot be used at all, or another process holds it.
    """
    options = Options(raw_mode=True)
    options.create_if_missing(create_if_missing=True)
    # A plain bloom filter had no effect on reads of missing keys here; this one takes them to under a microsecond.
    options.optimize_for_point_lookup(_BLOCK_CACHE_MB)
    options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
    options.set_max_write_buffer_number(2)
    options.set_keep_log_file_num(2)
    options.set_max_background_jobs(2)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return Rdict(str(directory), options)
    except OSError as error:
        raise FatalError(f"cannot use {directory} for state: {error.strerror or error}", ExitCode.FAILED) from error
    except Exception as error:
        if "lock" in str(error).lower():
            raise FatalError(
                f"another process holds the state in {directory}: give each worker a state directory of its own",
                ExitCode.STATE_REFUSED,
            ) from error
        raise StoreDoubtedError(str(error)) from error
