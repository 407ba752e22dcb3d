"""A pack's tables turned round, for people: which words and error codes lead to each canonical status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from processor.status import CHANNEL_STATUSES, Channel, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from processor.pack_format import Pack, Row, Rules

FROM_PARTS: Final = (Status.PARTIALLYSENT, Status.PARTIALDELIVERED)
"""What the parts of a long message give together, whatever each of them says."""


class Ways(NamedTuple):
    """How a carrier comes to one status on one channel; words as the pack spells them."""

    statuses: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    """Error codes that refine a failure."""
    pairs: tuple[str, ...] = ()
    """A status with an error code, joined by ` + `."""


def ways(pack: Pack, channel: Channel) -> dict[Status, Ways]:
    """Say how each status comes about that a row of this channel gives, lowest status first."""
    rules = pack.channels[channel]
    tables = (
        _by_status(_words(rules, "statuses")),
        _by_status(_words(rules, "codes")),
        _by_status({f"{status} + {code}": row for (status, code), row in rules.pairs.items()}),
    )
    found = {status: Ways(*(tuple(sorted(table.get(status, ()))) for table in tables)) for status in Status}
    return {status: way for status, way in found.items() if any(way)}


def ignored(pack: Pack, channel: Channel) -> list[str]:
    """List the words that are no delivery statuses."""
    words = _words(pack.channels[channel], "statuses")
    return sorted(as_written(word, row) for word, row in words.items() if row.status is None)


def never(pack: Pack, channel: Channel) -> list[Status]:
    """List the channel's statuses that no row gives, and no parts."""
    given = ways(pack, channel).keys() | {*FROM_PARTS}
    return [status for status in Status if status in CHANNEL_STATUSES[channel] and status not in given]


def as_written(word: str, row: Row) -> str:
    """Give the spelling of the pack, where the table is keyed by a folded one."""
    written = row.rule.split(".", 1)[-1]
    return written if " + " not in word and written else word


def _words(rules: Rules, table: str) -> dict[str, Row]:
    words = rules.statuses if table == "statuses" else rules.codes
    return dict(words.exact) | {f"{prefix}*": row for prefix, row in words.prefixes}


def _by_status(rows: Mapping[str, Row]) -> dict[Status, list[str]]:
    found: dict[Status, list[str]] = {}
    for word, row in rows.items():
        if row.status is not None:
            found.setdefault(row.status, []).append(as_written(word, row))
    return found
