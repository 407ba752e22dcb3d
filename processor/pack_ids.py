"""How a pack spells message ids, and what it adds where an id alone does not make a message."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from processor.errors import DeadLetterReason, InputError
from processor.pack_shapes import read_pattern

if TYPE_CHECKING:
    from processor.model import RawStatusEvent
    from processor.pack_toml import Table

_PERSONAL: Final = ("recipient", "sender")
_PLAIN: Final = ("client_reference", "channel")
_ATTRIBUTE: Final = "attributes."
_HASH_CHARS: Final = 32  # 128 bits: no two recipients of one message id will ever share it.
_PLAIN_MAX: Final = 256
_CONTROL: Final = re.compile(r"[\0-\x1f]")
_PUNCTUATION: Final = re.compile(r"[\s()+.\-]")
_DECIMAL: Final = re.compile(r"[0-9]{1,40}")
_HEXADECIMAL: Final = re.compile(r"(?:0[xX])?([0-9A-Fa-f]{1,40})")
PARTS_MAX: Final = 255  # SMS counts parts in one byte.
RADIXES: Final = ("hex-to-decimal", "decimal-to-hex")


@dataclass(frozen=True, slots=True)
class ChainPart:
    """A fact that, with the id, makes a message one."""

    fact: str
    """`recipient`, `sender`, `client_reference`, `channel` or `attributes.NAME`."""
    plain: bool
    """Whether it stands in the chain as it is; personal facts and all others only as a keyed hash."""
    required: bool

    def value(self, report: RawStatusEvent, channel: str, key: bytes) -> str:
        """Give this part's text for a report; empty where the report does not have the fact.

        Raises:
            InputError: The fact is required and missing, or is no text that may stand in an identity.
        """
        if self.fact.startswith(_ATTRIBUTE):
            fact = report.attributes.get(self.fact.removeprefix(_ATTRIBUTE))
        else:
            fact = channel if self.fact == "channel" else getattr(report, self.fact)
        if not fact:
            if self.required:
                raise InputError(DeadLetterReason.MALFORMED, f"{self.fact} is missing, and part of the identity")
            return ""
        if not self.plain:
            text = _address(fact) if self.fact in _PERSONAL else fact
            return hmac.digest(key, text.encode(), "sha256").hex()[:_HASH_CHARS]
        if len(fact) > _PLAIN_MAX or _CONTROL.search(fact):
            raise InputError(DeadLetterReason.MALFORMED, f"{self.fact} cannot be part of an identity")
        return str(fact)


def _address(text: str) -> str:
    """Spell a number one way: carriers add and leave out the plus, zeros before the country code, and blanks."""
    bare = _PUNCTUATION.sub("", text)
    return bare.removeprefix("00") if bare.isdecimal() else text.strip().lower()


@dataclass(frozen=True, slots=True)
class IdRules:
    """How ids are normalised. Message centres report one id in several spellings."""

    case: str = ""
    strip_zeros: bool = False
    radix: str = ""
    part_suffix: re.Pattern[str] | None = None
    chain: tuple[ChainPart, ...] = ()

    @property
    def verbatim(self) -> bool:
        """Whether ids stay as they are and make a message alone."""
        return self == _VERBATIM

    @property
    def only_attributes(self) -> bool:
        """Whether ids stay as they are and attributes alone may add to them."""
        optional = all(part.fact.startswith(_ATTRIBUTE) and not part.required for part in self.chain)
        return optional and self == IdRules(chain=self.chain)

    def normalise(self, message_id: str) -> tuple[str, int | None]:
        """Spell an id as the pack wants it, and give the part number where the id named one."""
        part = None
        if self.part_suffix is not None and (match := self.part_suffix.fullmatch(message_id)):
            number = match["part"] or ""
            if number.isdecimal() and len(number) <= 3 and 1 <= int(number) <= PARTS_MAX and match["id"]:
                message_id, part = match["id"], int(number)
        if self.radix:
            message_id = self._in_radix(message_id)
        if self.strip_zeros:
            message_id = message_id.lstrip("0") or message_id[:1]
        if self.case:
            message_id = message_id.lower() if self.case == "lower" else message_id.upper()
        return message_id, part

    def _in_radix(self, message_id: str) -> str:
        """Turn a number into the other spelling; what is no number stays, and 0x says that it is hexadecimal."""
        number = _HEXADECIMAL.fullmatch(message_id)
        if number is None:
            return message_id
        if self.radix == "hex-to-decimal":
            return str(int(number[1], 16))
        return f"{int(message_id):x}" if _DECIMAL.fullmatch(message_id) else number[1]

    def chain_of(self, report: RawStatusEvent, channel: str, key: bytes) -> str:
        """Join what the pack adds to the id; empty where a report has none of it.

        Raises:
            InputError: A required part is missing, or one is unfit for an identity.
        """
        values = [part.value(report, channel, key) for part in self.chain]
        # The separator is a control character, which no part holds.
        return "\x1f".join(values) if any(values) else ""


_VERBATIM: Final = IdRules()


def read_ids(table: Table) -> IdRules:
    """Read how a pack's ids are spelled and what is added to them."""
    pattern = read_pattern(table, "part_suffix")
    if pattern is not None and not {"id", "part"} <= set(pattern.groupindex):
        table.add("needs the groups (?P<id>…) and (?P<part>…)", "part_suffix")
        pattern = None
    rules = IdRules(
        case=table.text("case", among=("lower", "upper")),
        strip_zeros=table.text("leading_zeros", among=("keep", "strip")) == "strip",
        radix=table.text("radix", among=RADIXES),
        part_suffix=pattern,
        chain=tuple(_chain_part(part) for part in table.tables("chain")),
    )
    table.done()
    return rules


def _chain_part(table: Table) -> ChainPart:
    fact = table.text("fact", required=True)
    named = fact.startswith(_ATTRIBUTE) and len(fact) > len(_ATTRIBUTE)
    if fact and not named and fact not in (*_PERSONAL, *_PLAIN):
        table.add(f"{fact!r} is unknown", "fact", allowed=(*_PERSONAL, *_PLAIN, f"{_ATTRIBUTE}NAME"))
    plain = table.flag("plain")
    if plain and fact in _PERSONAL:
        table.add("is personal and stands in an identity only as a hash", "plain")
    part = ChainPart(fact, plain, table.flag("required"))
    table.done()
    return part
