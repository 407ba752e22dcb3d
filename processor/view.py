"""What the loop sees of its partitions, once a second, for whoever asks from outside: metrics, health, pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import TopicPartition

from processor.telemetry import InputView, PartitionView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import Consumer, Message

    from processor.assignment import Assignment, Progress
    from processor.changelog import ChangelogReader


def partition_view(consumer: Consumer, assignment: Assignment, reader: ChangelogReader, now: float) -> PartitionView:
    """Look at everything; it asks no broker. `now` is in seconds since the epoch."""
    inputs: dict[tuple[str, int], InputView] = {}
    for key, progress in assignment.inputs.items():
        _, high = consumer.get_watermark_offsets(TopicPartition(*key), cached=True)
        position = progress.position
        lag = max(0, high - position) if position is not None and high >= 0 else None
        inputs[key] = input_view(progress, lag, now)
    running = sum(one.running for one in inputs.values())
    restores = reader.restores
    stores = [*assignment.open_stores(), *(restore.store for restore in restores.values())]
    return PartitionView(
        seen_at=now,
        inputs=inputs,
        state_entries={number: store.entries() for number, store in assignment.ready.items()},
        state_bytes={store.identity.partition: store.size() for store in stores},
        restore_share={number: restore.share for number, restore in restores.items()},
        restore_left={number: restore.left for number, restore in restores.items()},
        running=running,
        waiting=len(inputs) - running,
        standbys=len(assignment.standbys.followed),
    )


def input_view(progress: Progress, lag: int | None, now: float) -> InputView:
    """Look at one input, and remember in its progress what the next look needs."""
    if progress.seen_offset != progress.next_offset or lag == 0 or not (progress.moved_at and progress.may_move):
        progress.seen_offset, progress.moved_at = progress.next_offset, now
    if progress.first_seen_at is None:
        progress.first_seen_at = now
    if lag == 0:
        progress.empty_at = now
    return InputView(lag, progress.running, progress.moved_at, _oldest_at(progress) if lag else None)


def _oldest_at(progress: Progress) -> float | None:
    """Tell when the oldest unprocessed record came, or after what it came: then its age is the most that it can be.

    Where neither is known it was there when this worker first looked: then its age is the least that it can be.
    """
    if progress.unprocessed_at is not None:
        return progress.unprocessed_at
    after = [at for at in (progress.processed_at, progress.empty_at) if at is not None]
    return max(after, default=progress.first_seen_at)


def record_time(message: Message, now: float) -> float | None:
    """Return a record's time in seconds since the epoch, and no later than now; None where it has none."""
    kind, told_ms = message.timestamp()
    return min(told_ms / 1000, now) if kind and told_ms > 0 else None


def went_back(progress: Progress, records: Sequence[Message], now: float) -> None:
    """Note that records were read and are not processed: how old the first of them is is known now."""
    if progress.next_offset is None:
        return
    first = next((record for record in records if (record.offset() or 0) >= progress.next_offset), None)
    if first is not None:
        progress.unprocessed_at = record_time(first, now)


def went_through(progress: Progress, records: Sequence[Message], now: float) -> None:
    """Note that records were processed, up to the last."""
    at = record_time(records[-1], now)
    progress.processed_at = now if at is None else at
    progress.unprocessed_at = None
