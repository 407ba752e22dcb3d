"""What the state changelog says of one message: its states by identity, and what was forgotten of it on request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from processor.changelog import appended_ms
from processor.control import AUDIT_PREFIX, Forgotten, decode_audit, request_id
from processor.state_codec import RESET_KEY, decode_state

if TYPE_CHECKING:
    from collections.abc import Iterable

    from confluent_kafka import Message

    from processor.model import MessageState


class Known(NamedTuple):
    """One message that is known, and where in the changelog that stands."""

    carrier: str
    message_id: str
    account: str | None
    chain: str
    state: MessageState
    offset: int
    appended_ms: int

    def request_id(self, partition: int) -> str:
        """Name the request to forget just this state."""
        identity = "\0".join((self.carrier, self.message_id, self.account or "", self.chain))
        return request_id(identity, f"{partition} {self.offset} {self.appended_ms}")


class Audit(NamedTuple):
    """A request to forget that was carried out, and when."""

    forgotten: Forgotten
    appended_ms: int


@dataclass(slots=True)
class Choice:
    """Which of the messages that share an id are meant; None for any."""

    account: str | None = None
    carrier: str | None = None
    chain: str | None = None

    def takes(self, account: str | None, carrier: str, chain: str) -> bool:
        """Tell whether a message is meant; an empty account is none."""
        return (
            (self.account is None or self.account == (account or ""))
            and self.carrier in {None, carrier}
            and self.chain in {None, chain}
        )


@dataclass(slots=True)
class Knowledge:
    """Collects what records of the owner's changelog partition say of a message, in their order."""

    message_id: str
    choice: Choice
    states: dict[bytes, Known] = field(default_factory=dict)
    audits: dict[str, Audit] = field(default_factory=dict)
    """By request."""
    next_offset: int = 0

    @property
    def known(self) -> list[Known]:
        """The messages that are known now, in a fixed order."""
        return sorted(self.states.values(), key=lambda one: (one.carrier, one.account or "", one.chain))

    def add(self, messages: Iterable[Message]) -> None:
        """Take records.

        Raises:
            FatalError: A state is of a later format, or none.
        """
        part = f"\0{self.message_id}\0".encode()
        for message in messages:
            key, value = message.key(), message.value()
            self.next_offset = (message.offset() or 0) + 1
            if key is None:
                continue
            if key == RESET_KEY:
                self.states.clear()
            elif key.startswith(AUDIT_PREFIX):
                self._add_audit(value, appended_ms(message))
            elif part in key:
                self._add_state(key, value, message)

    def _add_state(self, key: bytes, value: bytes | None, message: Message) -> None:
        carrier, message_id, account, chain = key.decode().split("\0")
        if message_id != self.message_id or not self.choice.takes(account, carrier, chain):
            return
        if value is None:
            self.states.pop(key, None)
            return
        state, offset = decode_state(value), message.offset() or 0
        self.states[key] = Known(carrier, message_id, account or None, chain, state, offset, appended_ms(message))

    def _add_audit(self, value: bytes | None, at_ms: int) -> None:
        forgotten = None if value is None else decode_audit(value)
        if forgotten is None or forgotten.forget.message_id != self.message_id:
            return
        forget = forgotten.forget
        if self.choice.takes(forget.account, forget.carrier, forget.chain):
            self.audits[forget.request] = Audit(forgotten, at_ms)
