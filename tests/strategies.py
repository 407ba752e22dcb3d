"""Hypothesis values of the domain, and short ways to make one."""

from __future__ import annotations

from hypothesis import strategies as st

from processor.model import Action, Meaning, MessageState, RawStatusEvent, StatusEvent
from processor.status import CHANNEL_STATUSES, Channel, Status

RANKS = st.integers(0, len(Status) - 1)


def report(**facts: object) -> RawStatusEvent:
    """Make a raw event; what is not said is absent."""
    fields: dict[str, object] = dict.fromkeys(RawStatusEvent._fields)
    fields |= {"carrier": "test", "message_id": "m1", "status": "word", "received_at": 1_000, "attributes": {}}
    return RawStatusEvent(**{**fields, **facts})  # type: ignore[arg-type]  # by name, from a test


def event(status: Status, channel: Channel = Channel.RCS, **facts: object) -> StatusEvent:
    """Make a mapped event of one message."""
    raw = report(**facts)
    meaning = Meaning(raw.carrier, channel, status, raw.status, raw.error_code, None, "")
    return StatusEvent(f"test\0{raw.message_id}\0\0", raw.message_id, "", meaning, raw)


@st.composite
def events(draw: st.DrawFn, *, parts: bool = True, replies: bool = True) -> StatusEvent:
    """One mapped event of the message m1: whole, of a part, or a reply."""
    statuses = sorted(CHANNEL_STATUSES[Channel.RCS] - ({Status.REPLY} if not replies else set()))
    status = draw(st.sampled_from(statuses))
    facts: dict[str, object] = {}
    if status is Status.REPLY:
        facts["event_id"] = draw(st.sampled_from([None, "e1", "e2", "e3"]))
        facts["action"] = draw(st.sampled_from([None, Action("REPLY", "yes"), Action("REPLY", "no")]))
    elif parts and draw(st.booleans()):
        facts["part_number"] = draw(st.integers(1, 4))
        facts["parts_total"] = draw(st.sampled_from([None, 2, 3, 4]))
    return event(status, Channel.RCS, **facts)


@st.composite
def states(draw: st.DrawFn) -> MessageState:
    """Any state that could be stored."""
    parts = draw(st.dictionaries(st.integers(1, 255), RANKS, max_size=6))
    return MessageState(
        status=draw(st.integers(-1, len(Status) - 1)),
        sequence=draw(st.integers(0, 2**32 - 1)),
        changed_at=draw(st.integers(-(2**63), 2**63 - 1)),
        parts_total=draw(st.none() | st.integers(2, 255)) if parts else None,
        parts=tuple(sorted(parts.items())),
        replies=tuple(draw(st.lists(st.binary(min_size=8, max_size=8).map(bytes.hex), max_size=4))),
    )
