"""What lies in the dead-letter topic, counted: by reason, carrier, channel, status and error code."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from processor.letters import Letter

_KINDS_MAX: Final = 10_000


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
    """How many letters of one kind, and between which times they were written (ms)."""

    letters: int = 0
    understood: int = 0
    """Letters that the present packs would understand."""
    first_ms: int = 0
    last_ms: int = 0

    def add(self, letter: Letter) -> None:
        """Count one letter."""
        self.first_ms = min(self.first_ms, letter.written_at) if self.letters else letter.written_at
        self.last_ms = max(self.last_ms, letter.written_at)
        self.letters += 1
        self.understood += letter.understood


@dataclass(slots=True)
class LetterSummary:
    """Counts letters."""

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

    def add(self, letters: Iterable[Letter]) -> None:
        """Count letters."""
        for letter in letters:
            words = (letter.channel, letter.status, letter.error_code)
            kind = Kind(letter.reason, letter.stage, letter.carrier, *words)
            if kind not in self.kinds and len(self.kinds) >= _KINDS_MAX:
                kind = Kind(kind.reason, kind.stage, kind.carrier, "other", "other", "other")
            self.kinds.setdefault(kind, Found()).add(letter)
