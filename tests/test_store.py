"""The store: staged is not stored, a commit is atomic, a doubted store is not used."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from structlog.testing import capture_logs

from processor.errors import ExitCode, FatalError
from processor.model import MessageState
from processor.state_codec import RESET_KEY, encode_state
from processor.store import StatePartition, StoreDoubtedError, StoreIdentity, encode_states, set_aside
from processor.stores import Stores
from tests.strategies import states

IDENTITY = StoreIdentity("cluster", "state", "topic-id", 0, 6)
STATE = MessageState(3, 1, 1000)


def commit(store: StatePartition, next_offset: int, appended_ms: int = 0) -> None:
    store.apply(store.encode_staged(), next_offset, appended_ms)


def test_what_was_committed_is_there_after_opening_again(tmp_path: Path) -> None:
    store = StatePartition(tmp_path / "s", IDENTITY)
    store.put("a", STATE)
    commit(store, 7)
    store.put("b", STATE)
    store.close()

    again = StatePartition(tmp_path / "s", IDENTITY)

    assert (again.get("a"), again.get("b"), again.offset) == (STATE, None, 7)
    again.close()


def test_a_reset_in_the_changelog_voids_what_is_before_it_and_nothing_behind_it(tmp_path: Path) -> None:
    store = StatePartition(tmp_path / "s", IDENTITY)
    value = encode_state(STATE)
    store.put("stored", STATE)
    commit(store, 3)
    store.restore([(b"old", value), (b"again", value)], 5, 0)
    assert store.get("stored") == STATE

    store.restore([(b"chunk", value), (RESET_KEY, b"{}"), (b"again", value), ("\U0010ffff".encode(), value)], 9, 0)
    store.settle()
    store.close()

    again = StatePartition(tmp_path / "s", IDENTITY)
    assert again.offset == 9
    assert again.count() == 2
    assert [again.get(name) for name in ("stored", "old", "chunk")] == [None, None, None]
    assert (again.get("again"), again.get("\U0010ffff")) == (STATE, STATE)
    again.close()


@pytest.mark.parametrize(
    "other",
    [
        replace(IDENTITY, cluster_id="another"),
        replace(IDENTITY, topic_id="another"),
        replace(IDENTITY, partition=1),
        replace(IDENTITY, partitions=12),
        replace(IDENTITY, store_format=1),
    ],
)
def test_a_store_of_another_changelog_is_doubted(tmp_path: Path, other: StoreIdentity) -> None:
    StatePartition(tmp_path / "s", IDENTITY).close()

    with pytest.raises(StoreDoubtedError):
        StatePartition(tmp_path / "s", other)


def test_a_store_that_is_open_elsewhere_is_refused(tmp_path: Path) -> None:
    store = StatePartition(tmp_path / "s", IDENTITY)

    with pytest.raises(FatalError, match="another process"):
        StatePartition(tmp_path / "s", IDENTITY)
    store.close()


def test_a_corrupt_store_is_set_aside_and_begins_empty(tmp_path: Path) -> None:
    stores = Stores(tmp_path, IDENTITY, 10)
    store = stores.open(0)
    store.put("a", STATE)
    commit(store, 7)
    stores.close_all_but()
    manifest = next((tmp_path / "state-0").glob("MANIFEST*"))
    manifest.write_bytes(b"\xff" * manifest.stat().st_size)

    rebuilt = stores.open(0)

    assert (rebuilt.get("a"), rebuilt.offset) == (None, 0)
    assert (tmp_path / "state-0.set-aside").is_dir()
    stores.close_all_but()


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (replace(IDENTITY, cluster_id="moved"), "another cluster id"),
        (replace(IDENTITY, partitions=12), "another partitions"),
        (replace(IDENTITY, topic_id="made-anew"), "another topic id"),
        (replace(IDENTITY, store_format=99), "another store format"),
    ],
)
def test_a_foreign_store_is_set_aside_with_the_reason(tmp_path: Path, other: StoreIdentity, why: str) -> None:
    before = Stores(tmp_path, other, 10)
    before.open(0)
    before.close_all_but()

    stores = Stores(tmp_path, IDENTITY, 10)
    with capture_logs() as lines:
        store = stores.open(0)

    assert (store.offset, stores.set_aside) == (0, 1)
    assert why in lines[0]["why"]
    stores.close_all_but()


def damage(directory: Path) -> None:
    """Overwrite the data blocks of every table file."""
    for table in directory.glob("*.sst"):
        table.write_bytes(b"\xee" * (table.stat().st_size // 2) + table.read_bytes()[table.stat().st_size // 2 :])


def test_a_table_file_that_does_not_match_its_checksum_is_doubted_when_it_is_read(tmp_path: Path) -> None:
    store = StatePartition(tmp_path / "s", IDENTITY)
    for number in range(2_000):
        store.put(f"m{number}", STATE)
    commit(store, 7)
    store.settle()
    store.close()
    damage(tmp_path / "s")

    with pytest.raises(StoreDoubtedError, match="Corruption"):  # noqa: PT012  # opening may notice, or reading
        store = StatePartition(tmp_path / "s", IDENTITY)
        try:
            for number in range(2_000):
                store.get(f"m{number}")
        finally:
            store.close()


def test_what_another_owner_wrote_meanwhile_is_seen_after_a_restore(tmp_path: Path) -> None:
    store = StatePartition(tmp_path / "s", IDENTITY)
    store.put("a", STATE)
    commit(store, 7)

    later = STATE._replace(sequence=2)
    store.restore(encode_states({"a": later}), 9, 0)

    assert store.get("a") == later
    store.close()


def test_a_restore_that_was_not_settled_may_be_lost_in_a_crash_but_never_in_part(tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from processor.store import StatePartition, StoreIdentity
store = StatePartition(Path(sys.argv[1]), StoreIdentity("cluster", "state", "topic-id", 0, 6))
for number in range(200_000):
    if number % 1000 == 0:
        store.restore([(b"m%d" % n, bytes(40)) for n in range(number, number + 1000)], number + 1000, 0)
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "s")], check=False)

    store = StatePartition(tmp_path / "s", IDENTITY)

    assert store._read(b"m%d" % store.offset) is None
    assert store.offset == 0 or all(store._read(b"m%d" % number) for number in range(store.offset))
    store.close()


def test_only_the_last_store_set_aside_is_kept(tmp_path: Path) -> None:
    for _ in range(2):
        StatePartition(tmp_path / "s", IDENTITY).close()
        set_aside(tmp_path / "s")

    assert [path.name for path in tmp_path.iterdir()] == ["s.set-aside"]


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(FatalError, match="cannot use"):
        StatePartition(tmp_path / "file" / "s", IDENTITY)


class StoreAgainstDict(RuleBasedStateMachine):
    """A store with a tiny cache behaves as a dict that knows commit and abort, through any number of re-openings."""

    identities = Bundle("identities")

    @initialize(target=identities, name=st.just("m0"))
    def first(self, name: str) -> str:
        self.directory = Path(self._temporary())
        self.store = StatePartition(self.directory / "s", IDENTITY, cache_entries=4)
        self.stored: dict[str, MessageState | None] = {}
        self.staged: dict[str, MessageState | None] = {}
        self.audits: set[str] = set()
        self.audits_staged: set[str] = set()
        self.offset = 0
        return name

    def _temporary(self) -> str:
        import tempfile  # noqa: PLC0415  # the machine has no fixtures

        self._keep = tempfile.TemporaryDirectory()
        return self._keep.name

    @rule(target=identities, number=st.integers(1, 12))
    def name(self, number: int) -> str:
        return f"m{number}"

    @rule(identity=identities, state=states())
    def put(self, identity: str, state: MessageState) -> None:
        self.store.put(identity, state)
        self.staged[identity] = state

    @rule(identity=identities)
    def drop(self, identity: str) -> None:
        self.store.drop(identity)
        self.staged[identity] = None

    @rule(request=st.sampled_from(["r1", "r2"]))
    def audit(self, request: str) -> None:
        self.store.audit(request, b"{}")
        self.audits_staged.add(request)

    @rule()
    def commit(self) -> None:
        self.offset += 5
        staged = self.store.encode_staged()
        assert {key.decode() for key, value in staged if value is None} == {
            name for name, state in self.staged.items() if state is None
        }
        commit(self.store, self.offset)
        self.stored |= self.staged
        self.audits |= self.audits_staged
        self._nothing_staged()

    @rule()
    def abort(self) -> None:
        self.store.discard()
        self._nothing_staged()

    def _nothing_staged(self) -> None:
        self.staged, self.audits_staged = {}, set()

    @rule()
    def crash(self) -> None:
        self.store.settle()
        self.store.close()
        self.store = StatePartition(self.directory / "s", IDENTITY, cache_entries=4)
        self._nothing_staged()

    @rule(identity=identities, state=states(), tombstone=st.booleans())
    def restore(self, identity: str, state: MessageState, tombstone: bool) -> None:
        self.abort()
        self.offset += 1
        records = encode_states({identity: state})
        self.store.restore([(key, None if tombstone else value) for key, value in records], self.offset, 0)
        if tombstone:
            self.stored.pop(identity, None)
        else:
            self.stored[identity] = state

    @invariant()
    def equal(self) -> None:
        expected = self.stored | self.staged
        assert {name: self.store.get(name) for name in (f"m{n}" for n in range(13))} == {
            f"m{n}": expected.get(f"m{n}") for n in range(13)
        }
        assert {name for name in ("r1", "r2") if self.store.audited(name)} == self.audits | self.audits_staged
        assert self.store.offset == self.offset

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self._keep.cleanup()


StoreAgainstDict.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
test_a_store_behaves_as_a_dict_with_commit_and_abort = StoreAgainstDict.TestCase


def test_a_store_that_cannot_be_set_aside_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match=r"cannot move .*state-0 aside.*No such file") as caught:
        set_aside(tmp_path / "state-0")

    assert caught.value.exit_code is ExitCode.FAILED


def test_files_deleted_under_an_open_store_end_the_worker_and_the_next_one_begins_empty(tmp_path: Path) -> None:
    store = StatePartition(tmp_path / "state-0", IDENTITY)
    store.put("a", STATE)
    commit(store, 5)
    shutil.rmtree(tmp_path / "state-0")

    with pytest.raises(FatalError, match="cannot write state under") as caught:
        store.settle()

    assert caught.value.exit_code is ExitCode.FAILED
    store.close()
    again = StatePartition(tmp_path / "state-0", IDENTITY)
    assert (again.offset, again.get("a")) == (0, None)
    again.close()
