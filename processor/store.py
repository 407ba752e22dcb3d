"""The state of one partition: RocksDB on disk, a bounded cache of what was used lately, an overlay of what is staged.

Theory of operation: writes of an open transaction stay in the overlay, in memory. Only after the transaction has
committed does RocksDB get them, with the changelog offset they reach to, in one atomic batch (`apply`); an abort only
forgets the overlay (`discard`). A crash in between is healed by reading the changelog from the stored offset. The
store is a cache of the changelog and nothing more: on any doubt it is set aside and rebuilt.

An entry on disk is the time at which the changelog got it, in seconds (4 bytes, big-endian), and the changelog's value.
That time, and no other, decides when the entry is deleted (`purge`), as it does in the topic: a carrier's clock has no
say. What is deleted late is harmless, since the core itself does not believe what is too old.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from rocksdict import Options, Rdict, WriteBatch, WriteOptions

from processor.control import audit_key
from processor.errors import ExitCode, FatalError, ProcessorError
from processor.state_codec import RESET_KEY, decode_state, encode_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from processor.model import MessageState

STORE_FORMAT: Final = 2
Change = tuple[bytes, "bytes | None"]
"""A record of the changelog: key and value, None where nothing is known any more."""

_META_KEY: Final = b"\0meta"
"""No identity starts with NUL: the first part of an identity is a carrier's name."""
_FIRST_IDENTITY: Final = b"\1"
_BEHIND_IDENTITIES: Final = b"\xff"
"""UTF-8 has no such byte."""
_STAMP: Final = Struct(">I")
_BLOCK_CACHE_MB: Final = 8
_WRITE_BUFFER_BYTES: Final = 8 << 20
_SIZES: Final = ("rocksdb.total-sst-files-size", "rocksdb.size-all-mem-tables")


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """Which changelog partition a store mirrors; a store of another one is foreign."""

    cluster_id: str
    topic: str
    topic_id: str
    partition: int
    partitions: int
    store_format: int = STORE_FORMAT


class Purged(NamedTuple):
    """What one step of a purge has done."""

    examined: int
    removed: int
    complete: bool
    """Whether the step has reached the end of the store; the next one begins anew."""


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
        self.seen_ms: int = 0
        """Time of the last changelog record that it holds; 0 where it holds none."""
        self._directory = directory
        self._overlay: dict[str, MessageState] = {}
        self._dropped: set[str] = set()
        """Staged as forgotten; what the overlay has is of later, and counts."""
        self._audits: dict[bytes, bytes] = {}
        self._recent: dict[str, MessageState] = {}
        self._older: dict[str, MessageState] = {}
        self._generation_entries = max(1, cache_entries // 2)
        self._durable = WriteOptions()
        self._replaceable = WriteOptions()
        self._replaceable.disable_wal = True  # type: ignore[method-assign,assignment]  # the stubs are wrong
        self._purge_cursor = b""
        self._voided = False
        try:
            self._db = (open_db or open_rocksdb)(directory)
        except DatabaseBrokenError as error:
            raise StoreDoubtedError(identity.partition, str(error)) from error
        self._read_meta()

    def get(self, identity: str) -> MessageState | None:
        """Return what is known of a message: staged, lately used, or on disk.

        Raises:
            StoreDoubtedError: The files cannot be read.
        """
        state = self._overlay.get(identity)
        if state is not None:
            return state
        if self._dropped and identity in self._dropped:
            return None
        state = self._recent.get(identity)
        if state is not None:
            return state
        state = self._older.get(identity)
        if state is None:
            value = self._read(identity.encode())
            if value is None:
                return None
            state = decode_state(value[_STAMP.size :])
        self._remember(identity, state)
        return state

    def put(self, identity: str, state: MessageState) -> None:
        """Stage what is known from now on."""
        self._overlay[identity] = state

    def drop(self, identity: str) -> None:
        """Stage that nothing is known of a message any more."""
        self._overlay.pop(identity, None)
        self._dropped.add(identity)

    def audited(self, request: str) -> bool:
        """Tell whether a request has been carried out, staged ones included.

        Raises:
            StoreDoubtedError: The files cannot be read.
        """
        key = audit_key(request)
        return key in self._audits or self._read(key) is not None

    def audit(self, request: str, entry: bytes) -> None:
        """Stage that a request has been carried out, and what it did."""
        self._audits[audit_key(request)] = entry

    def encode_staged(self) -> list[Change]:
        """Return what the open transaction has written: the changelog and the disk get exactly this."""
        if not self._dropped and not self._audits:
            return encode_states(self._overlay)
        forgotten: list[Change] = [(name.encode(), None) for name in self._dropped - self._overlay.keys()]
        return [*sorted(forgotten), *self._audits.items(), *encode_states(self._overlay)]

    def apply(self, staged: Iterable[Change], next_offset: int, appended_ms: int) -> None:
        """Write what was committed, as (key, value) bytes, and the changelog offset after it, in one atomic batch.

        `appended_ms` is when the changelog got it.

        Raises:
            StoreDoubtedError: The files are broken.
            FatalError: The disk takes nothing.
        """
        if len(self._recent) + len(self._overlay) > self._generation_entries:
            self._older, self._recent = self._recent, {}
        for identity in self._dropped:
            self._recent.pop(identity, None)
            self._older.pop(identity, None)
        self._recent.update(self._overlay)
        self._nothing_staged()
        batch, _ = _batch_of(staged, appended_ms)
        self._write(batch, next_offset, appended_ms, self._durable)

    def discard(self) -> None:
        """Forget what was staged: its transaction was aborted."""
        self._nothing_staged()

    def restore(self, records: Iterable[Change], next_offset: int, appended_ms: int) -> None:
        """Apply changelog records in order (None: a tombstone), up to `next_offset`; a reset voids what is before it.

        `appended_ms` is when the changelog got the last of them. Nothing is safe from a crash before `settle`.

        Raises:
            StoreDoubtedError: The files are broken.
            FatalError: The disk takes nothing.
        """
        self._recent, self._older = {}, {}
        batch, voided = _batch_of(records, appended_ms)
        self._voided = self._voided or voided
        self._write(batch, next_offset, appended_ms, self._replaceable)

    def settle(self) -> None:
        """Bring what was restored to the disk: it has no log of its own, and must not lie behind what has one."""
        self._do(self._db.flush)
        if self._voided:
            # Else what a reset has voided stays on the disk, and in RocksDB's estimates, until it is overwritten.
            self._do(lambda: self._db.compact_range(None, None))
            self._voided = False

    def purge(self, before_ms: int, entries_max: int) -> Purged:
        """Delete entries that the changelog got before a time; look at so many, from where the last step ended.

        Raises:
            StoreDoubtedError: The files are broken.
            FatalError: The disk takes nothing.
        """
        before = before_ms // 1000
        old: list[bytes] = []
        examined = 0
        entries = self._db.iter()
        entries.seek(self._purge_cursor)
        while entries.valid() and examined < entries_max:
            key = entries.key()
            if key != _META_KEY and _STAMP.unpack_from(entries.value())[0] < before:
                old.append(key)
            examined += 1
            entries.next()
        complete = not entries.valid()
        self._purge_cursor = b"" if complete else entries.key()
        if old:
            self._delete(old)
        return Purged(examined, len(old), complete)

    def entries(self) -> int:
        """Return RocksDB's estimate of the number of messages known."""
        return int(self._db.property_int_value("rocksdb.estimate-num-keys") or 0)

    def size(self) -> int:
        """Return how many bytes RocksDB's table files have, and what is in memory for the next one (some 5 µs)."""
        return sum(int(self._db.property_int_value(name) or 0) for name in _SIZES)

    def count(self) -> int:
        """Count the messages that are really there: slow, for tests and tools."""
        return sum(1 for key in self._db.keys() if key != _META_KEY)  # noqa: SIM118  # an Rdict is no dict

    def close(self) -> None:
        """Close the files; what was staged is forgotten.

        A disk that takes nothing makes this fail once more; what ended the worker has been raised already, and what is
        missing is read from the changelog again.
        """
        self.discard()
        with suppress(Exception):  # rocksdict raises plain Exception for everything
            self._db.close()

    def _nothing_staged(self) -> None:
        self._overlay = {}
        self._dropped = set()
        self._audits = {}

    def _remember(self, identity: str, state: MessageState) -> None:
        if len(self._recent) >= self._generation_entries:
            self._older, self._recent = self._recent, {}
        self._recent[identity] = state

    def _read(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._db.get(key)
        except Exception as error:  # rocksdict raises plain Exception for everything
            raise StoreDoubtedError(self.identity.partition, str(error)) from error
        return value

    def _delete(self, keys: list[bytes]) -> None:
        batch = WriteBatch(raw_mode=True)
        for key in keys:
            batch.delete(key)
            identity = key.decode()
            self._recent.pop(identity, None)
            self._older.pop(identity, None)
        self._do(lambda: self._db.write(batch, self._durable))

    def _write(self, batch: WriteBatch, next_offset: int, seen_ms: int, options: WriteOptions) -> None:
        seen_ms = max(seen_ms, self.seen_ms)
        meta = {**asdict(self.identity), "offset": next_offset, "seen_ms": seen_ms}
        batch.put(_META_KEY, json.dumps(meta).encode())
        self._do(lambda: self._db.write(batch, options))
        self.offset, self.seen_ms = next_offset, seen_ms

    def _do(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # rocksdict raises plain Exception for everything
            if str(error).startswith("Corruption"):
                raise StoreDoubtedError(self.identity.partition, str(error)) from error
            raise FatalError(
                f"cannot write state under {self._directory}: {error}; free or repair the disk and start again",
                ExitCode.FAILED,
            ) from error

    def _read_meta(self) -> None:
        stored = self._read(_META_KEY)
        if stored is None:
            if next(iter(self._db.keys()), None) is not None:
                self._doubt("it does not say what it mirrors")
            self._write(WriteBatch(raw_mode=True), 0, 0, self._durable)
            return
        try:
            meta = json.loads(stored)
            self.offset, self.seen_ms = int(meta.pop("offset")), int(meta.pop("seen_ms", 0))
        except (ValueError, KeyError, TypeError, AttributeError):
            self._doubt("its own description is broken")
        for name, mine in asdict(self.identity).items():
            if meta.get(name) != mine:
                self._doubt(f"it is of another {name.replace('_', ' ')} ({meta.get(name)} instead of {mine})")

    def _doubt(self, why: str) -> NoReturn:
        self._db.close()
        raise StoreDoubtedError(self.identity.partition, why)


class DatabaseBrokenError(ProcessorError):
    """The files of a database cannot be opened."""


class StoreDoubtedError(ProcessorError):
    """A local store cannot be trusted; it is set aside and rebuilt from the changelog."""

    def __init__(self, partition: int, why: str) -> None:
        super().__init__(f"the local state of partition {partition} cannot be trusted: {why}")
        self.partition = partition
        self.why = why


def set_aside(directory: Path) -> Path:
    """Move a doubted store out of the way, replacing the one set aside before; return where it is now.

    Raises:
        FatalError: The directory above does not allow it.
    """
    aside = directory.with_name(directory.name + ".set-aside")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        directory.rename(aside)
    except OSError as error:
        raise FatalError(
            f"cannot move {directory} aside, whose state cannot be trusted: {error.strerror or error}; "
            "delete it and start again, it is rebuilt from the changelog",
            ExitCode.FAILED,
        ) from error
    return aside


def encode_states(states: Mapping[str, MessageState]) -> list[Change]:
    """Return states as the records of the changelog and of the store."""
    return [(identity.encode(), encode_state(state)) for identity, state in states.items()]


def _batch_of(records: Iterable[Change], appended_ms: int) -> tuple[WriteBatch, bool]:
    """Return what the records do to the store, and whether a reset is among them."""
    batch = WriteBatch(raw_mode=True)
    stamp = _STAMP.pack(appended_ms // 1000)
    voided = False
    for key, value in records:
        if key == RESET_KEY:
            batch.delete_range(_FIRST_IDENTITY, _BEHIND_IDENTITIES)
            voided = True
        elif value is None:
            batch.delete(key)
        else:
            batch.put(key, stamp + value)
    return batch, voided


def open_rocksdb(directory: Path) -> Rdict:
    """Open a database, or make an empty one where there is none.

    Raises:
        DatabaseBrokenError: What is there is broken.
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
        raise DatabaseBrokenError(str(error)) from error
