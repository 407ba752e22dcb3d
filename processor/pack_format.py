"""A carrier pack: what a carrier's words mean, how it spells its ids, and what its callbacks look like.

Parsed from TOML and checked whole: `read_pack` notes every problem with its file and line and goes on. The format is
described in docs/writing-a-pack.md, its reasons in docs/decisions/0003-pack-format.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Final

from processor.pack_examples import Example, read_examples
from processor.pack_ids import IdRules, read_ids
from processor.pack_shapes import Shape, read_shapes, read_zone
from processor.pack_toml import Table
from processor.status import CHANNEL_STATUSES, Channel, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from processor.pack_toml import Problems

NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_WILD: Final = "*"


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a carrier's words are compared: what is done to a word, and to a table's key, before they meet."""

    fold: bool = False
    trim: bool = False
    cut_at: str = ""
    drop: str = ""

    def of(self, word: str) -> str:
        """Give the form of a word that tables are keyed by."""
        if self.cut_at:
            word = word.partition(self.cut_at)[0]
        if self.trim:
            word = word.strip()
        if self.fold:
            word = word.lower()
        if self.drop:
            word = "".join(char for char in word if char not in self.drop)
        return word


@dataclass(frozen=True, slots=True)
class Row:
    """What a word means on a channel."""

    rule: str
    """Where it stands, for people."""
    status: Status | None
    """None where the word is no delivery status."""
    words: str | None = None
    """What the carrier said of an outcome that it does not know itself."""
    refined: bool = True
    """Whether an error code may say more."""


@dataclass(frozen=True, slots=True)
class Words:
    """A table of words; a key that ends in `*` stands for all words that begin so, the longest such key first."""

    exact: Mapping[str, Row] = field(default_factory=dict)
    prefixes: tuple[tuple[str, Row], ...] = ()

    def find(self, word: str) -> Row | None:
        """Look a word up, in the spelling of the table."""
        row = self.exact.get(word)
        if row is None:
            for prefix, wild in self.prefixes:
                if word.startswith(prefix):
                    return wild
        return row


@dataclass(frozen=True, slots=True)
class Rules:
    """What a carrier's words mean on one channel."""

    statuses: Words
    codes: Words
    pairs: Mapping[tuple[str, str], Row]
    codes_are_statuses: bool = False
    """Whether an error code may be a status word itself, a finer one than the status beside it."""


@dataclass(frozen=True, slots=True)
class Pack:
    """One carrier: everything that is known of it, checked."""

    carrier: str
    name: str
    file: str
    aliases: Mapping[str, Channel | None]
    """Further names of the carrier; some of them say the channel."""
    sources: tuple[str, ...]
    default_channel: Channel | None
    status_spelling: Spelling
    code_spelling: Spelling
    address_prefixes: tuple[tuple[str, Channel], ...]
    """What an address begins with on a channel, for example `whatsapp:`."""
    ids: IdRules
    channels: Mapping[Channel, Rules]
    shapes: tuple[Shape, ...]
    examples: tuple[Example, ...]

    def row(self, channel: Channel | None, status: str, error_code: str | None) -> Row | None:
        """Find what a status and an error code mean together; None where the pack has no such channel or status.

        A pair is the most exact, so it wins. An error code counts on failures only, since carriers leave stale ones
        on later reports, and replaces what the status alone would mean.
        """
        rules = self.channels.get(channel) if channel else None
        row = rules.statuses.find(self.status_spelling.of(status)) if rules else None
        if not error_code or rules is None or row is None:
            return row
        if exact := self._exact(rules, status, error_code):
            return exact
        if row.refined and row.status and row.status.is_failure:
            return rules.codes.find(self.code_spelling.of(error_code)) or row
        return row

    def _exact(self, rules: Rules, status: str, error_code: str) -> Row | None:
        """Find a row for the two together, or for the error code as a status word."""
        pair = rules.pairs.get((self.status_spelling.of(status), self.code_spelling.of(error_code)))
        if pair is None and rules.codes_are_statuses:
            return rules.statuses.find(self.status_spelling.of(error_code))
        return pair

    def knows_code(self, channel: Channel | None, status: str, error_code: str) -> bool:
        """Tell whether an error code says anything, alone or with this status."""
        rules = self.channels.get(channel) if channel else None
        if rules is None:
            return False
        known = self._exact(rules, status, error_code) or rules.codes.find(self.code_spelling.of(error_code))
        return known is not None


def read_pack(file: str, data: Mapping[str, object], problems: Problems) -> Pack:
    """Build a pack from its TOML; what is wrong is noted, and left out of what is returned."""
    table = Table(problems, (), data)
    carrier = table.text("carrier", required=True)
    if carrier and not NAME.fullmatch(carrier):
        table.add(f"{carrier!r} is no name: lower-case letters, digits and single hyphens", "carrier")
    match = table.table("match")
    spellings = _spelling(match.table("status")), _spelling(match.table("error_code"))
    match.done()
    channels = _channels(table, *spellings)
    zone = table.text("zone")
    pack = Pack(
        carrier=carrier,
        name=table.text("name", required=True),
        file=file,
        aliases=_aliases(table),
        sources=tuple(table.texts("sources", required=True)),
        default_channel=_default_channel(table, channels),
        status_spelling=spellings[0],
        code_spelling=spellings[1],
        address_prefixes=_address_prefixes(table.table("address_prefixes")),
        ids=read_ids(table.table("ids")),
        channels=channels,
        shapes=read_shapes(table, read_zone(table, zone) if zone else UTC),
        examples=read_examples(table, carrier, channels),
    )
    table.done()
    return pack


def _spelling(table: Table) -> Spelling:
    spelling = Spelling(
        fold=table.text("case", among=("exact", "fold")) == "fold",
        trim=table.flag("trim"),
        cut_at=table.text("cut_at"),
        drop=table.text("drop"),
    )
    table.done()
    return spelling


def _aliases(table: Table) -> dict[str, Channel | None]:
    """Read the further names: a text, or a table that also says the channel which the name implies."""
    value = table.take("aliases")
    aliases: dict[str, Channel | None] = {}
    if value is not None and not isinstance(value, list):
        table.add("has to be a list", "aliases")
    for at, item in enumerate(value if isinstance(value, list) else []):
        one = Table(table.problems, ("aliases", at), item if isinstance(item, dict) else {"name": item})
        name = one.text("name", required=True)
        channel = one.text("channel", among=tuple(Channel))
        one.done()
        if name and not NAME.fullmatch(name):
            one.add(f"{name!r} is no name: lower-case letters, digits and single hyphens")
        elif name in aliases:
            one.add(f"{name!r} stands twice")
        elif name:
            aliases[name] = Channel(channel) if channel else None
    return aliases


def _default_channel(table: Table, channels: Mapping[Channel, Rules]) -> Channel | None:
    name = table.text("default_channel", among=tuple(Channel))
    if name and name not in channels:
        table.add(f"the pack has no channel {name}", "default_channel", allowed=tuple(channels))
        return None
    if name:
        return Channel(name)
    return next(iter(channels)) if len(channels) == 1 else None


def _address_prefixes(table: Table) -> tuple[tuple[str, Channel], ...]:
    found = []
    for prefix, channel in table.rows():
        if channel in tuple(Channel):
            found.append((prefix, Channel(str(channel))))
        else:
            table.add(f"{channel!r} is unknown", prefix, allowed=tuple(Channel))
    return tuple(found)


def _channels(pack: Table, status_spelling: Spelling, code_spelling: Spelling) -> dict[Channel, Rules]:
    common = pack.texts("ignore")
    channels = {}
    table = pack.table("channels")
    for channel in Channel:
        if table.has(channel):
            rules = _RulesReader(table.table(channel), channel, status_spelling, code_spelling)
            channels[channel] = rules.read(common)
    if not channels and not table.has("channels"):
        pack.add("missing", "channels", allowed=tuple(Channel))
    for name, _ in table.rows():
        table.add("no such channel", name, allowed=tuple(Channel))
    return channels


class _RulesReader:
    """Reads the tables of one channel."""

    def __init__(self, table: Table, channel: Channel, statuses: Spelling, codes: Spelling) -> None:
        self._table = table
        self._channel = channel
        self._statuses = statuses
        self._codes = codes

    def read(self, ignored_everywhere: list[str]) -> Rules:
        """Read the channel; `ignored_everywhere` is the pack's own ignore list."""
        table = self._table
        statuses = self._rows(table.table("statuses"), self._statuses, "statuses")
        if not statuses:
            table.add("has no rows", "statuses")
        rules = Rules(
            statuses=self._words(statuses | self._ignored(table, statuses, ignored_everywhere)),
            codes=self._words(self._rows(table.table("codes"), self._codes, "codes")),
            pairs=self._pairs(table.table("pairs"), statuses),
            codes_are_statuses=table.flag("codes_are_statuses"),
        )
        table.done()
        return rules

    def _rows(self, table: Table, spelling: Spelling, where: str) -> dict[str, Row]:
        rows: dict[str, Row] = {}
        for key, value in table.rows():
            row = self._row(table, key, value, f"{self._channel} {where}.{key}")
            word = spelling.of(key)
            if not word or word == _WILD:
                table.add("is empty once it is spelled as `match` says", key)
            elif row and (known := rows.get(word)) and known.status is not row.status:
                table.add(f"is the same word as another row, {known.rule}, that says {known.status}", key)
            elif row:
                rows.setdefault(word, row)
        return rows

    def _row(self, table: Table, key: str, value: object, rule: str) -> Row | None:
        one = Table(table.problems, (*table.path, key), value if isinstance(value, dict) else {"status": value})
        allowed = CHANNEL_STATUSES[self._channel]
        name = one.take("status")
        words = one.text("words") or None
        refined = one.flag("codes", default=True)
        one.done()
        if not isinstance(name, str) or name not in tuple(Status):
            one.add(f"{name!r} is no canonical status", allowed=allowed)
            return None
        if name not in allowed:
            one.add(f"{self._channel} has no status {name}", allowed=allowed)
            return None
        return Row(rule, Status[name], words, refined)

    def _ignored(self, table: Table, statuses: Mapping[str, Row], everywhere: list[str]) -> dict[str, Row]:
        ignored = {}
        for key in [*table.texts("ignore"), *everywhere]:
            word = self._statuses.of(key)
            if word in statuses:
                table.add(f"{key!r} is ignored and has a row too, {statuses[word].rule}", "ignore")
            ignored[word] = Row(f"{self._channel} ignore.{key}", None)
        return ignored

    def _pairs(self, table: Table, statuses: Mapping[str, Row]) -> dict[tuple[str, str], Row]:
        pairs = {}
        for status, codes in table.rows():
            word = self._statuses.of(status)
            if word not in statuses:
                table.add("no row of `statuses` has this word", status)
            if not isinstance(codes, dict):
                table.add("has to be a table of error codes", status)
                continue
            rows = self._rows(Table(table.problems, (*table.path, status), codes), self._codes, f"pairs.{status}")
            pairs.update({(word, code): row for code, row in rows.items()})
        return pairs

    def _words(self, rows: Mapping[str, Row]) -> Words:
        wild = [(word.removesuffix(_WILD), row) for word, row in rows.items() if word.endswith(_WILD)]
        return Words(
            exact={word: row for word, row in rows.items() if not word.endswith(_WILD)},
            prefixes=tuple(sorted(wild, key=lambda item: len(item[0]), reverse=True)),
        )
