"""W3C trace context: the headers `traceparent` and `tracestate` of a raw record, for whatever it leads to.

They are passed on as they are. What is not valid is left behind, as the recommendation asks: nobody could use it, and
it comes from outside. https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from processor.headers import Headers

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"

Trace = tuple[tuple[str, bytes], ...]
"""Headers to pass on; empty where there are none."""

NO_TRACE: Final[Trace] = ()

_PARENT_BYTES_MAX: Final = 128
"""Version 00 has 55; a later one may append."""
_STATE_BYTES_MAX: Final = 512
"""What everybody has to pass on (section 3.3.1.5); who sends more takes the risk."""
_STATE_MEMBERS_MAX: Final = 32

_PARENT: Final = re.compile(
    rb"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<more>-[\x21-\x7e]*)?"
)
_MEMBER: Final = re.compile(
    rb"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    rb"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


def trace_of(headers: Headers) -> Trace:
    """Return the trace context among a record's headers; one that is not valid is none."""
    parents = [value for name, value in headers if name.lower() == TRACEPARENT]
    if len(parents) != 1 or not _is_parent(parents[0]):
        return NO_TRACE
    parent = (TRACEPARENT, parents[0] or b"")
    states = [value or b"" for name, value in headers if name.lower() == TRACESTATE]
    state = b",".join(states)  # Several are one list (RFC 9110, section 5.3).
    if not state or not _is_state(state):
        return (parent,)
    return parent, (TRACESTATE, state)


def _is_parent(value: bytes | None) -> bool:
    if value is None or len(value) > _PARENT_BYTES_MAX:
        return False
    found = _PARENT.fullmatch(value)
    return found is not None and (found["version"] != b"00" or found["more"] is None)


def _is_state(value: bytes) -> bool:
    if len(value) > _STATE_BYTES_MAX:
        return False
    members = [member.strip(b" \t") for member in value.split(b",")]
    given = [member for member in members if member]
    return 0 < len(given) <= _STATE_MEMBERS_MAX and all(_MEMBER.fullmatch(member) for member in given)
