"""Packs turned round: what each status can come from, and what no carrier can say."""

from __future__ import annotations

from pathlib import Path

import pytest

from processor.carriers_page import carriers_page
from processor.errors import InputError
from processor.model import StatusEvent
from processor.pack_files import builtin_texts
from processor.pack_tables import FROM_PARTS, never, ways
from processor.packs import Packs
from processor.status import CHANNEL_STATUSES
from processor.testing import raw_event

PACKS = Packs.load(builtin_texts())
PAGE = Path(__file__).parent.parent / "docs" / "carriers.md"


@pytest.mark.parametrize("carrier", sorted(PACKS.carriers))
def test_every_status_that_can_result_does_from_the_words_named_for_it(carrier: str) -> None:
    pack = PACKS.carriers[carrier]
    for channel in pack.channels:
        for status, way in ways(pack, channel).items():
            for word in way.statuses:
                event = raw_event(carrier, "m1", word.replace("*", "x"), channel=channel, recipient="2348030000009")
                outcome = PACKS.interpret(event._replace(attributes={"address": "1"}))
                assert isinstance(outcome, StatusEvent)
                assert outcome.meaning.status is status


@pytest.mark.parametrize("carrier", sorted(PACKS.carriers))
def test_a_status_of_a_channel_can_result_or_never_does(carrier: str) -> None:
    pack = PACKS.carriers[carrier]
    for channel in pack.channels:
        given = set(ways(pack, channel))
        missing = set(never(pack, channel))

        assert given | missing | {*FROM_PARTS} >= CHANNEL_STATUSES[channel]
        assert not given & missing
        assert given | missing <= CHANNEL_STATUSES[channel]


def test_a_channel_without_partial_statuses_takes_no_parts() -> None:
    part = raw_event("twilio", "SM1", "sent", channel="WHATSAPP", part_number=1, parts_total=2)
    with pytest.raises(InputError, match="messages on WHATSAPP have no parts"):
        PACKS.interpret(part)

    whole = PACKS.interpret(part._replace(parts_total=1))

    assert isinstance(whole, StatusEvent)
    assert whole.report.part_number is None


def test_the_page_of_carriers_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == carriers_page()
