"""The same worker with one rule broken on purpose. Each of these must be caught, or the schedules prove nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

import processor.assignment
import processor.publisher
import processor.worker
from processor.assignment import Assignment
from processor.changelog import ChangelogReader, watermarks
from processor.publisher import DoubtfulConnection
from processor.store import StatePartition
from processor.worker import Worker
from tests.schedules.clients import SimConsumer


@contextmanager
def _instead(owner: Any, name: str, stand_in: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, stand_in)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


def restore_only_to_the_last_stable_offset() -> AbstractContextManager[None]:
    """Take the first end of partition for the end, as if nothing committed could lie behind an open transaction."""

    def reached(self: ChangelogReader, partition: int, offset: int) -> bool:
        restore = self._restores[partition]
        restore.store.restore((), offset, 0)
        return restore.end is not None

    return _instead(ChangelogReader, "_reached", reached)


@contextmanager
def watermark_read_before_the_stable_offsets() -> Iterator[None]:
    """Ask for the changelog's ends when the worker starts, and go by them when a partition comes."""
    ask, subscribe = watermarks, Worker.subscribe
    early: dict[int, Any] = {}

    def asking_early(self: Worker, topics: list[str]) -> None:
        admin, partitions = self.assignment._admin, self.assignment._options.partitions
        early[id(admin)] = ask(admin, "state", range(partitions))
        subscribe(self, topics)

    def as_early(admin: Any, topic: str, numbers: list[int]) -> Any:
        del topic
        return {number: early[id(admin)][number] for number in numbers}

    with _instead(Worker, "subscribe", asking_early), _instead(processor.assignment, "watermarks", as_early):
        yield


def store_written_before_the_commit() -> AbstractContextManager[None]:
    """Write what is staged to the store, and only then ask for the commit."""
    publish = Worker._publish

    def eager(self: Worker, *arguments: Any) -> None:
        for store in self.assignment.ready.values():
            staged, overlay, dropped = store.encode_staged(), store._overlay, store._dropped
            if staged:
                store.apply(staged, store.offset, 0)
                store._overlay, store._dropped = overlay, dropped
        publish(self, *arguments)

    return _instead(Worker, "_publish", eager)


def no_rewind_after_an_abort() -> AbstractContextManager[None]:
    """Leave the positions where the poll has put them."""
    return _instead(Assignment, "rewind", _nothing)


def retriable_send_offsets_ignored() -> AbstractContextManager[None]:
    """Call once and take no answer for a good one."""

    def once(call: Callable[[], object], _: float) -> None:
        try:
            call()
        except KafkaException as exception:
            if not exception.args[0].retriable():
                raise

    return _instead(processor.publisher, "_until_answered", once)


def producer_kept_after_a_late_end() -> AbstractContextManager[None]:
    """Begin the next transaction with the same epoch, whatever is still on the network."""
    return _instead(DoubtfulConnection, "emit", _nothing)


def pause_kept_over_a_reassignment() -> AbstractContextManager[None]:
    """Believe that the client forgets a pause when a partition goes, so that one that comes back needs no resume."""
    resume = SimConsumer.resume

    def first_only(self: SimConsumer, partitions: list[TopicPartition]) -> None:
        seen = self.__dict__.setdefault("_seen", set())
        resume(self, [tp for tp in partitions if (tp.topic, tp.partition) not in seen])
        seen.update((tp.topic, tp.partition) for tp in partitions)

    return _instead(SimConsumer, "resume", first_only)


def partition_not_paused_until_it_is_restored() -> AbstractContextManager[None]:
    """Process with the store as it is, and restore beside it."""
    begin = Assignment._begin_restore

    def at_once(self: Assignment, partition: int, end: Any) -> None:
        begin(self, partition, end)
        self.ready[partition] = self.stores.get(partition)

    return _instead(Assignment, "_begin_restore", at_once)


def offsets_from_the_clients_position() -> AbstractContextManager[None]:
    """Commit how far the client has fetched."""
    close_books = Worker._close_books

    def of_the_client(self: Worker, *arguments: Any) -> Any:
        books, offsets = close_books(self, *arguments)
        for tp in offsets:
            tp.offset = self.consumer.position([tp])[0].offset
        return books, offsets

    return _instead(Worker, "_close_books", of_the_client)


def offsets_that_name_no_member() -> AbstractContextManager[None]:
    """Send offsets with the metadata of a consumer in no group, which the broker does not fence."""
    return _instead(Worker, "_member", lambda self: self.consumer._cluster.group.metadata(None, "app"))


def member_remembered_from_the_first_batch() -> AbstractContextManager[None]:
    """Take the group's metadata once."""
    ask = Worker._member
    known: dict[int, object] = {}

    def once(self: Worker) -> object:
        return known.setdefault(id(self.consumer), ask(self))

    return _instead(Worker, "_member", once)


def offsets_read_before_they_are_stable() -> AbstractContextManager[None]:
    """Ask for committed offsets as a read_uncommitted consumer does."""

    def committed(self: SimConsumer, partitions: list[TopicPartition], timeout: float = 0) -> list[TopicPartition]:
        del timeout
        found = [(tp, self._cluster.offsets.get((tp.topic, tp.partition), (-1001, ""))) for tp in partitions]
        return [TopicPartition(tp.topic, tp.partition, offset, metadata) for tp, (offset, metadata) in found]

    return _instead(SimConsumer, "committed", committed)


def books_left_out_of_the_offsets() -> AbstractContextManager[None]:
    """Commit offsets without metadata."""
    return _instead(processor.worker, "encode_books", lambda _: "")


def restore_job_kept_after_a_revoke() -> AbstractContextManager[None]:
    """Go on restoring a partition that has gone."""
    drop = Assignment._drop_store

    def keeping(self: Assignment, partition: int) -> None:
        with _instead(self._reader, "cancel", _nothing):
            drop(self, partition)

    return _instead(Assignment, "_drop_store", keeping)


def state_kept_in_memory_over_a_restore() -> AbstractContextManager[None]:
    """Believe that what a partition's state was before it went is what it is when it comes back."""
    restore = StatePartition.restore

    def remembering(self: StatePartition, *arguments: Any) -> None:
        before = self._recent, self._older
        restore(self, *arguments)
        self._recent, self._older = before

    return _instead(StatePartition, "restore", remembering)


def forgotten_state_kept_in_memory() -> AbstractContextManager[None]:
    """Delete what is forgotten from the disk alone."""
    apply = StatePartition.apply

    def remembering(self: StatePartition, *arguments: Any) -> None:
        before = {identity: self._recent[identity] for identity in self._dropped & self._recent.keys()}
        staged = self._overlay
        apply(self, *arguments)
        self._recent.update({identity: state for identity, state in before.items() if identity not in staged})

    return _instead(StatePartition, "apply", remembering)


def forgotten_state_kept_in_the_changelog() -> AbstractContextManager[None]:
    """Write no tombstones."""
    encode = StatePartition.encode_staged

    def without(self: StatePartition) -> Any:
        return [(key, value) for key, value in encode(self) if value is not None]

    return _instead(StatePartition, "encode_staged", without)


def what_was_dropped_survives_an_abort() -> AbstractContextManager[None]:
    """Let what an aborted transaction was to forget be forgotten by the next one."""
    discard = StatePartition.discard

    def keeping(self: StatePartition) -> None:
        dropped = self._dropped
        discard(self)
        self._dropped = dropped

    return _instead(StatePartition, "discard", keeping)


def requests_carried_out_again() -> AbstractContextManager[None]:
    """Obey a control record however often it comes."""
    return _instead(StatePartition, "audited", lambda *_: False)


def restored_state_not_flushed() -> AbstractContextManager[None]:
    """Let the store's log begin while what lies before it is only in memory."""
    return _instead(StatePartition, "settle", _nothing)


def position_that_goes_back_not_noticed() -> AbstractContextManager[None]:
    """Look at the first record of a batch only."""

    def from_the_first(records: list[Any], next_offset: int) -> list[Any]:
        if records[0].offset() >= next_offset:
            return records
        return [record for record in records if record.offset() >= next_offset]

    return _instead(processor.worker, "not_read_yet", from_the_first)


def inputs_given_before_their_offsets_are_known() -> AbstractContextManager[None]:
    """Assign at offset 0 in the callback, and seek when the right one is known."""
    note = Assignment.on_assign

    def at_once(self: Assignment, consumer: SimConsumer, partitions: list[TopicPartition]) -> None:
        note(self, consumer, partitions)  # type: ignore[arg-type]  # it stands for a Consumer
        zero = [TopicPartition(tp.topic, tp.partition, 0) for tp in partitions]
        consumer.incremental_assign(zero)
        consumer.pause(zero)
        self._given.update(self.inputs)

    return _instead(Assignment, "on_assign", at_once)


def lost_position_not_given_again() -> AbstractContextManager[None]:
    """Believe that a client that has lost its place finds it again by itself."""
    return _instead(Assignment, "begin_anew", _nothing)


def unknown_topic_taken_for_one_that_forwards() -> AbstractContextManager[None]:
    """Believe a broker that has just started and does not know a raw topic yet: it does not have P partitions."""
    ask = Assignment._partitions_of

    def count(self: Assignment, topic: str) -> int:
        return ask(self, topic) or self._partition_counts.setdefault(topic, 1_000)

    return _instead(Assignment, "_partitions_of", count)


def partitions_counted_only_at_an_assignment() -> AbstractContextManager[None]:
    """Believe that a worker is told whenever a topic grows."""
    return _instead(Assignment, "_is_count_due", lambda _: False)


def broken_standby_not_followed_again() -> AbstractContextManager[None]:
    """Believe that everything is settled when the store of a standby was set aside."""
    rebuild = Assignment.rebuild

    def settled(self: Assignment, doubt: Any) -> None:
        before = self._settled
        rebuild(self, doubt)
        self._settled = before

    return _instead(Assignment, "rebuild", settled)


MUTANTS: dict[Callable[[], AbstractContextManager[None]], str] = {
    restore_only_to_the_last_stable_offset: "everything",
    watermark_read_before_the_stable_offsets: "everything",
    store_written_before_the_commit: "everything",
    no_rewind_after_an_abort: "everything",
    retriable_send_offsets_ignored: "everything",
    producer_kept_after_a_late_end: "late ends",
    pause_kept_over_a_reassignment: "everything",
    partition_not_paused_until_it_is_restored: "everything",
    offsets_from_the_clients_position: "refused batches",
    offsets_that_name_no_member: "frozen workers",
    member_remembered_from_the_first_batch: "everything",
    offsets_read_before_they_are_stable: "everything",
    books_left_out_of_the_offsets: "everything",
    restore_job_kept_after_a_revoke: "moving partitions",
    state_kept_in_memory_over_a_restore: "moving partitions",
    forgotten_state_kept_in_memory: "forgotten messages",
    forgotten_state_kept_in_the_changelog: "forgotten messages",
    what_was_dropped_survives_an_abort: "forgotten messages",
    requests_carried_out_again: "forgotten messages",
    restored_state_not_flushed: "crashes",
    position_that_goes_back_not_noticed: "everything",
    inputs_given_before_their_offsets_are_known: "everything",
    lost_position_not_given_again: "everything",
    unknown_topic_taken_for_one_that_forwards: "everything",
    partitions_counted_only_at_an_assignment: "growing topics",
    broken_standby_not_followed_again: "corrupt stores",
}
"""Every mutant, and the profile of schedules that finds it soonest."""
