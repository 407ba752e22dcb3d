"""Opens what the `dead-letters` commands work with."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from confluent_kafka.admin import AdminClient

from processor.cli.common import load_packs
from processor.codec import Decoder
from processor.errors import FatalError
from processor.letter_reader import LetterReader
from processor.letters import LetterReading
from processor.pack_files import PackSource
from processor.registry import Registry
from processor.replay_plan import Judge
from processor.replay_sender import ReplaySender
from processor.schema_supply import SchemaSupply
from processor.settings import admin_config, registry_config, replay_config
from processor.topic_reader import silent_logger
from processor.topics import describe, state_keep_ms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from processor.settings import Settings


def letter_reader(settings: Settings) -> LetterReader:
    """Return what reads the dead-letter topic.

    Raises:
        TransientError: No broker answers.
        FatalError: The topic is missing, or may not be read.
    """
    return LetterReader(admin_config(settings), settings.topics.dead_letter)


def letter_reading(settings: Settings, directory: Path | None) -> tuple[LetterReading, SchemaSupply]:
    """Return what reads letters, and what supplies it with schemas.

    Raises:
        PackError: A pack breaks the rules.
        FatalError: The directory of packs cannot be read.
    """
    decoder = Decoder(max_bytes=settings.limits.record_bytes_max)
    config = registry_config(settings)
    # Without a directory of its own a command reads the packs as a worker does.
    packs = PackSource(settings.packs.directory, b"").load() if directory is None else load_packs(directory)
    reading = LetterReading(decoder, packs, settings.topics.rekeyed)
    return reading, SchemaSupply(decoder, Registry(config) if config is not None else None)


def replay_judge(settings: Settings, reader: LetterReader, *, allow_old: bool) -> Judge:
    """Return what says which letters may be replayed.

    Raises:
        TransientError: No broker answers.
    """
    return Judge(
        partitions=reader.topics(),
        raw=settings.topics.raw,
        rekeyed=settings.topics.rekeyed,
        attempts_max=settings.dead_letters.attempts_max,
        oldest_ms=None if allow_old else _oldest_ms(settings),
    )


def _oldest_ms(settings: Settings) -> int:
    """Return the time before which what was known of an event's message may be gone.

    An event is held against a state that is at most the retention older than itself, and the state is kept so long
    from when the changelog got it.
    """
    retention = settings.state.retention_ms
    keep = None
    try:
        facts = describe(AdminClient(admin_config(settings), logger=silent_logger()), [settings.topics.state])
        keep = facts[settings.topics.state].keep_ms
    except (FatalError, KeyError):
        pass  # Not to be seen by whoever replays: what it is made with, then.
    return time.time_ns() // 1_000_000 - max(0, (keep or state_keep_ms(retention)) - retention)


@contextmanager
def replay_sender(settings: Settings) -> Iterator[ReplaySender]:
    """Give what sends letters back; what it leaves open is aborted."""
    sender = ReplaySender(
        replay_config(settings), on_wait=lambda what: click.echo(f"waiting for the brokers {what}", err=True)
    )
    try:
        yield sender
    finally:
        sender.close()
