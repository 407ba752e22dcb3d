"""What lies in the dead-letter topic, counted: by reason, carrier, channel, status and error code.

The original value is decoded and read again by the packs of now, so a summary also tells what the present packs would
understand: those letters can be replayed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from processor.errors import DecodeError, InputError
from processor.headers import ERRORS_INDEX, ERRORS_REASON, ERRORS_STAGE, headers_of
from processor.logs import printable
from processor.model import RawCallback, RawStatusEvent
from processor.privacy import masked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from processor.codec import Decoder
    from processor.model import Record
    from processor.packs import Packs

UNKNOWN: Final = "unknown"
_KINDS_MAX: Final = 10_000
_WORD_CHARS_MAX: Final = 64


class Kind(NamedTuple):
    """What letters have in common; words of the carrier masked and cut, empty where they are not known."""

    reason: str
    stage: str
    carrier: str
    channel: str = ""
    status: str = ""
    error_code: str = ""


@dataclass(slots=True)
class Found:
    """How many letters of one kind, and between which times their records came (ms)."""

    letters: int = 0
    understood: int = 0
    """Letters that the present packs would understand."""
    first_ms: int = 0
    last_ms: int = 0

    def add(self, timestamp_ms: int, *, understood: bool) -> None:
        """Count one letter."""
        self.first_ms = min(self.first_ms, timestamp_ms) if self.letters else timestamp_ms
        self.last_ms = max(self.last_ms, timestamp_ms)
        self.letters += 1
        self.understood += understood


@dataclass(slots=True)
class LetterSummary:
    """Counts letters as they are read."""

    decoder: Decoder
    packs: Packs
    kinds: dict[Kind, Found] = field(default_factory=dict)

    @property
    def letters(self) -> int:
        """All letters counted."""
        return sum(found.letters for found in self.kinds.values())

    def reasons(self) -> Counter[str]:
        """Count letters by reason alone."""
        counts: Counter[str] = Counter()
        for kind, found in self.kinds.items():
            counts[kind.reason] += found.letters
        return counts

    def ranked(self) -> list[tuple[Kind, Found]]:
        """List the kinds, the most letters first."""
        return sorted(self.kinds.items(), key=lambda item: (-item[1].letters, item[0]))

    def add(self, records: Sequence[Record]) -> None:
        """Count letters."""
        decoded = self.decoder.decode_batch([record.value() for record in records])
        for record, item in zip(records, decoded, strict=True):
            kind, understood = self._kind_of(record, item)
            if kind not in self.kinds and len(self.kinds) >= _KINDS_MAX:
                kind = Kind(kind.reason, kind.stage, kind.carrier, "other", "other", "other")
            self.kinds.setdefault(kind, Found()).add(record.timestamp()[1], understood=understood)

    def _kind_of(self, record: Record, item: RawStatusEvent | RawCallback | DecodeError) -> tuple[Kind, bool]:
        headers = {name: (value or b"").decode(errors="replace") for name, value in headers_of(record)}
        reason, stage = _word(headers.get(ERRORS_REASON, UNKNOWN)), _word(headers.get(ERRORS_STAGE, UNKNOWN))
        if isinstance(item, DecodeError):
            return Kind(reason, stage, UNKNOWN), False
        carrier = self.packs.known(item.carrier)
        if carrier == UNKNOWN:
            carrier = _word(item.carrier)
        report = self._report(item, headers.get(ERRORS_INDEX, ""))
        if report is None:
            return Kind(reason, stage, carrier), False
        words = (report.channel or "", report.status, report.error_code or "")
        return Kind(reason, stage, carrier, *map(_word, words)), self._is_understood(report)

    def _report(self, item: RawStatusEvent | RawCallback, index: str) -> RawStatusEvent | None:
        """Find the event that failed; None where the record as a whole did, or its element still cannot be read."""
        if isinstance(item, RawStatusEvent):
            return item
        try:
            elements = self.packs.extract(item)
        except InputError:
            return None
        if not index.isdecimal() or int(index) >= len(elements):
            return None
        element = elements[int(index)]
        return element if isinstance(element, RawStatusEvent) else None

    def _is_understood(self, report: RawStatusEvent) -> bool:
        try:
            self.packs.interpret(report)
        except InputError:
            return False
        return True


def _word(text: str) -> str:
    """Make a carrier's word fit to be shown."""
    return printable(masked(text), _WORD_CHARS_MAX)
