"""Runs packs' examples: what the tests and `carriers check` do to every pack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from processor.errors import InputError
from processor.model import Ignored, RawCallback, RawStatusEvent, StatusEvent
from processor.pack_examples import failures

if TYPE_CHECKING:
    from processor.pack_examples import Example
    from processor.packs import Packs


def outcomes_of(packs: Packs, source: RawCallback | RawStatusEvent) -> tuple[StatusEvent | Ignored | InputError, ...]:
    """Take one input all the way through its pack: what comes of each event in it, in order.

    Raises:
        InputError: A callback is not understandable as a whole.
    """
    events = packs.extract(source) if isinstance(source, RawCallback) else [source]
    return tuple(_outcome(packs, event) for event in events)


def _outcome(packs: Packs, event: RawStatusEvent | InputError) -> StatusEvent | Ignored | InputError:
    if isinstance(event, InputError):
        return event
    try:
        return packs.interpret(event)
    except InputError as error:
        return error


def check_example(packs: Packs, example: Example) -> list[str]:
    """Run one example; one line for each thing that did not come out as the pack says."""
    try:
        return failures(example, outcomes_of(packs, example.input))
    except InputError as error:
        return failures(example, error)


def check_examples(packs: Packs) -> list[str]:
    """Run all examples of all packs; no lines where all is well."""
    return [line for example in packs.examples() for line in check_example(packs, example)]
