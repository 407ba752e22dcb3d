"""Replays dead letters: sends the original bytes back to where they came from, each letter once.

A session starts the one producer that may send, reads the topic with its marks, and then sends batch by batch, each in
a transaction with the marks of its letters. So whatever ends a session, in whatever moment, the next one finds by the
marks what is left. After any trouble a new session begins.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from processor.errors import TransientError
from processor.letter_marks import mark_of
from processor.letter_reader import around
from processor.letters import LetterBox, in_order
from processor.replay_plan import Outgoing, Skip
from processor.replay_sender import LettersRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from confluent_kafka import Message

    from processor.letter_reader import LetterReader
    from processor.letters import Letter, LetterFilter, LetterReading, Position
    from processor.replay_plan import Judge
    from processor.replay_sender import ReplaySender
    from processor.schema_supply import SchemaSupply

BATCH_LETTERS: Final = 500
"""Letters of one transaction: short enough that readers of committed records hardly wait for it."""
_BATCH_BYTES: Final = 8 * 1024 * 1024
_TRIES: Final = 5
"""Sessions in a row that may end in trouble without having sent anything."""
_PAUSE_S: Final = 1.0


class Planned(NamedTuple):
    """What a replay is about to do."""

    letters: Counter[str]
    """By reason, those that are to be sent."""
    not_understood: int
    """Of these, letters that the present packs still do not understand."""
    skipped: Counter[Skip]
    left: int
    """More letters that a limit leaves for later."""


@dataclass(slots=True)
class ReplayReport:
    """What a replay did."""

    sent: Counter[str] = field(default_factory=Counter)
    """Letters by reason."""
    skipped: Counter[Skip] = field(default_factory=Counter)
    left: int = 0

    @property
    def letters(self) -> int:
        """All letters that were sent."""
        return self.sent.total()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """How letters are replayed."""

    topic: str
    """The dead-letter topic, where marks go."""
    by: str
    """Who replays, for the marks."""
    limit: int | None = None
    """Most letters."""
    rate: int | None = None
    """Most letters in a second."""


@dataclass(slots=True)
class Replay:
    """One replay; without a sender nothing is sent, and it only says what would be."""

    reader: LetterReader
    reading: LetterReading
    schemas: SchemaSupply
    judge: Judge
    wanted: LetterFilter
    options: ReplayOptions
    sender: ReplaySender | None
    confirm: Callable[[Planned], object] = lambda _: None
    """Told once what is to be sent; raises where that is not wanted."""
    progress: Callable[[int, int], object] = lambda _done, _all: None
    """Told how many letters were sent, of how many."""
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    report: ReplayReport = field(default_factory=ReplayReport)
    _skipped: dict[Position, Skip] = field(default_factory=dict)
    """Letters that turned out impossible in the middle of sending."""
    _batch_letters: int = BATCH_LETTERS
    _confirmed: bool = False
    _paced_from: float = 0.0

    def run(self) -> ReplayReport:
        """Replay what is wanted.

        Raises:
            TransientError: The brokers do not answer.
            FatalError: An access is denied, another replay has begun, or an outcome is unknown.
        """
        tries = 0
        while True:
            sent = self.report.letters
            try:
                self._session()
            except TransientError as error:
                done = self.report.letters > sent or isinstance(error, LettersRefusedError)
                tries = 0 if done else tries + 1
                if tries >= _TRIES:
                    raise
                self.sleep(_PAUSE_S)
            else:
                return self.report

    def _session(self) -> None:
        if self.sender is not None:
            self.sender.start()
        chosen = self._choose()
        if self.sender is None:
            batches = self._batches(chosen)
            self.report.sent = Counter(
                letter.reason for batch in batches for letter, message in batch if self._outgoing(letter, message)
            )
        else:
            self._paced_from = self.clock() - self._pace(self.report.letters)
            self._send_all(chosen, self.sender)
        self.report.skipped.update(Counter(self._skipped.values()))

    def _choose(self) -> dict[Position, Letter]:
        """Read what there is, and choose from it: what may be replayed, the oldest first."""
        box = LetterBox(self.reading, self.wanted)
        for records in self.reader.read(self.reader.spans(self.wanted.since_ms)):
            self.schemas.supply(record.value() for record in records)
            box.add(records)
        skipped: Counter[Skip] = Counter()
        possible = []
        for letter in in_order(box.open.values()):
            skip = self.judge.skip(letter)
            if skip is not None:
                skipped[skip] += 1
            elif letter.position not in self._skipped:
                possible.append(letter)
        limit = self.options.limit
        most = None if limit is None else max(0, limit - self.report.letters)
        chosen = possible[:most]
        self.report.skipped, self.report.left = skipped, len(possible) - len(chosen)
        if chosen and not self._confirmed:
            not_understood = sum(not letter.understood for letter in chosen)
            reasons = Counter(letter.reason for letter in chosen)
            self.confirm(Planned(reasons, not_understood, skipped, self.report.left))
            self._confirmed = True
        return {letter.position: letter for letter in chosen}

    def _send_all(self, chosen: Mapping[Position, Letter], sender: ReplaySender) -> None:
        whole = self.report.letters + len(chosen)
        self.progress(self.report.letters, whole)
        for batch in self._batches(chosen):
            if sender.doubted:
                raise TransientError("a connection to the brokers failed")
            self._send(batch, sender)
            self.progress(self.report.letters, whole)

    def _send(self, batch: Sequence[tuple[Letter, Message]], sender: ReplaySender) -> None:
        """Send a batch with its marks; one that is refused is halved in the next session, down to the letter."""
        records = [(letter, self._outgoing(letter, message)) for letter, message in batch]
        good = [(letter, record) for letter, record in records if record is not None]
        if not good:
            return
        self._keep_pace()
        try:
            sender.send([*(record for _, record in good), *self._marks([letter for letter, _ in good])])
        except LettersRefusedError:
            if len(good) == 1:
                self._skipped[good[0][0].position] = Skip.REFUSED
                self._batch_letters = BATCH_LETTERS
            else:
                self._batch_letters = max(1, len(good) // 2)
            raise
        self.report.sent.update(letter.reason for letter, _ in good)

    def _marks(self, letters: Sequence[Letter]) -> list[Outgoing]:
        offsets: dict[int, list[int]] = {}
        for letter in letters:
            offsets.setdefault(letter.partition, []).append(letter.offset)
        return [
            Outgoing(self.options.topic, partition, None, *mark_of(found, self.options.by))
            for partition, found in offsets.items()
        ]

    def _batches(self, chosen: Mapping[Position, Letter]) -> Iterator[list[tuple[Letter, Message]]]:
        """Read the chosen letters once more, whole, and give them in batches."""
        most = min(self._batch_letters, self.options.rate or self._batch_letters)
        batch: list[tuple[Letter, Message]] = []
        size = 0
        for records in self.reader.read(around(chosen)):
            for record in records:
                letter = chosen.get((record.partition() or 0, record.offset() or 0))
                if letter is None:
                    continue
                batch.append((letter, record))
                size += len(record.value() or b"")
                if len(batch) >= most or size >= _BATCH_BYTES:
                    yield batch
                    batch, size = [], 0
        if batch:
            yield batch

    def _outgoing(self, letter: Letter, message: Message) -> Outgoing | None:
        """Return the record that replays a letter; None where a value that was cut cannot be had whole any more."""
        if not letter.sha256:
            return self.judge.outgoing(letter, message, message.value())
        whole = whole_value(self.reader, letter)
        if whole is None:
            self._skipped[letter.position] = Skip.VALUE_GONE
            return None
        return self.judge.outgoing(letter, message, whole)

    def _keep_pace(self) -> None:
        delay = self._paced_from + self._pace(self.report.letters) - self.clock()
        if delay > 0:
            self.sleep(delay)

    def _pace(self, letters: int) -> float:
        """Return how long so many letters take, in seconds."""
        return letters / self.options.rate if self.options.rate else 0.0


def whole_value(reader: LetterReader, letter: Letter) -> bytes | None:
    """Return the value of a letter that was cut, from the record that was read; None where it is gone, or another.

    Raises:
        TransientError: No broker answers.
        FatalError: That topic may not be read.
    """
    topic, partition, offset, _ = letter.source
    record = reader.record(topic, (partition, offset))
    value = None if record is None else record.value()
    if value is None or hashlib.sha256(value).hexdigest() != letter.sha256:
        return None
    return value
