"""What a replay does with a dead letter: the record that goes back to where it came from, or why none does. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from processor.headers import (
    ORIGIN,
    REPLAY_ATTEMPT,
    REPLAY_FIRST_FAILED,
    REPLAY_INDEX,
    REPLAY_OF,
    REPLAY_TIMESTAMP,
    headers_of,
    own_headers,
)
from processor.letters import NOWHERE
from processor.pipeline import WHOLE_RECORD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from processor.headers import Headers
    from processor.letters import Letter
    from processor.model import Record

ATTEMPTS_MAX: Final = 3
"""Replays of one letter, unless a setting says otherwise."""


class Skip(StrEnum):
    """Why a letter is not replayed."""

    ATTEMPTS = "attempts"
    TOO_OLD = "too_old"
    NOT_OURS = "not_ours"
    TOPIC_GONE = "topic_gone"
    VALUE_GONE = "value_gone"
    REFUSED = "refused"

    @property
    def words(self) -> str:
        """What it means, and what to do."""
        return _WORDS[self]


_WORDS: Final = {
    Skip.ATTEMPTS: "replayed as often as dead_letters.attempts_max allows; mend what fails, then raise it",
    Skip.TOO_OLD: "so old that what was known of their messages may be forgotten, and a status could fall; "
    "--allow-old replays them all the same",
    Skip.NOT_OURS: "from no topic that is in topics.raw, nor the rekeyed one",
    Skip.TOPIC_GONE: "their topic or its partition is not there any more, or may not be seen: grant Write on it",
    Skip.VALUE_GONE: "their value was cut, and the record that holds the whole is gone",
    Skip.REFUSED: "their topic does not take them: look at its max.message.bytes",
}


class Outgoing(NamedTuple):
    """A record to produce."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Says which letters may be replayed, and where they go."""

    partitions: Mapping[str, int]
    """Partitions of each topic that is there."""
    raw: Sequence[str]
    """As in the settings: names, or regular expressions that start with ^."""
    rekeyed: str
    attempts_max: int = ATTEMPTS_MAX
    oldest_ms: int | None = None
    """Letters of records before this time are too old; None for no such limit."""

    def skip(self, letter: Letter) -> Skip | None:
        """Return why a letter is not replayed; None where it is."""
        if not self._is_read(letter.source.topic):
            return Skip.NOT_OURS
        if letter.attempt >= self.attempts_max:
            return Skip.ATTEMPTS
        if self.oldest_ms is not None and 0 <= letter.happened_at < self.oldest_ms:
            return Skip.TOO_OLD
        return None if self._is_there(letter) else Skip.TOPIC_GONE

    def _is_read(self, topic: str) -> bool:
        """Tell whether workers read the topic: anything else would be a way to write where nobody may."""
        named = any(re.search(raw, topic) if raw.startswith("^") else raw == topic for raw in self.raw)
        return topic != NOWHERE and (named or topic == self.rekeyed)

    def _is_there(self, letter: Letter) -> bool:
        topic, partition, _, _ = letter.source
        count = self.partitions.get(topic, 0)
        # Another partition of the rekeyed topic would belong to other messages.
        return partition >= 0 and count > 0 and (topic != self.rekeyed or partition < count)

    def outgoing(self, letter: Letter, record: Record, value: bytes | None) -> Outgoing:
        """Return the record that replays a letter.

        Key and value are the original's, byte for byte. It goes to the partition that it came from; where a raw topic
        was made anew with fewer, to one of those, since any partition will do.

        Args:
            letter: The letter.
            record: Its record.
            value: The original value, whole.
        """
        topic, partition, _, _ = letter.source
        headers = own_headers(headers_of(record))
        if topic != self.rekeyed:
            # The two together would make it an event that was forwarded.
            headers = [header for header in headers if header[0] != ORIGIN]
        headers += [(name, text.encode()) for name, text in _replay_headers(letter).items()]
        return Outgoing(topic, partition % self.partitions[topic], record.key(), value, headers)


def _replay_headers(letter: Letter) -> dict[str, str]:
    headers = {
        REPLAY_ATTEMPT: str(letter.attempt + 1),
        REPLAY_OF: f"{letter.partition}:{letter.offset}",
        REPLAY_FIRST_FAILED: str(letter.first_failed_at),
    }
    if letter.happened_at >= 0:
        headers[REPLAY_TIMESTAMP] = str(letter.happened_at)
    if letter.source.index != WHOLE_RECORD:
        headers[REPLAY_INDEX] = str(letter.source.index)
    return headers
