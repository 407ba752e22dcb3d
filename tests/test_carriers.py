"""The built-in packs hold the carriers' facts: the tables in fixtures/carriers were written from the facts alone."""

from __future__ import annotations

import csv
import json
import re
import time
import tomllib
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from processor.errors import DeadLetterReason, InputError
from processor.model import Ignored, IgnoreReason, Meaning, RawCallback, RawStatusEvent, StatusEvent
from processor.pack_check import check_example, outcomes_of
from processor.pack_examples import RECEIVED_AT, Example
from processor.pack_files import builtin_texts
from processor.pack_format import Words
from processor.packs import BUILTIN, Packs
from processor.status import Channel, Status

FIXTURES = Path(__file__).parent / "fixtures" / "carriers"
PACKS = Packs.load(builtin_texts(), identity_key=b"test")


class Fact(NamedTuple):
    """A row of a carrier's table: what a status and an error code mean on a channel."""

    carrier: str
    channel: str
    status: str
    error_code: str
    expected: str


def facts_of(path: Path) -> list[Fact]:
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Fact(path.stem, row["channel"], row["status"], row["error_code"], row["expected"])
            for row in csv.DictReader(file)
        ]


FACTS = [fact for path in sorted(FIXTURES.glob("*.csv")) for fact in facts_of(path)]
BODIES: list[dict[str, Any]] = [
    body
    for path in [FIXTURES / "bodies.json", *sorted((FIXTURES / "bodies").glob("*.json"))]
    for body in json.loads(path.read_text(encoding="utf-8"))
]


def report(carrier: str, channel: str | None, status: str, error_code: str = "") -> RawStatusEvent:
    return RawStatusEvent(
        event_id=None,
        account=None,
        carrier=carrier,
        channel=channel,
        message_id="message-1",
        status=status,
        error_code=error_code or None,
        error_text=None,
        recipient=None,
        sender=None,
        occurred_at=None,
        received_at=RECEIVED_AT,
        parts_total=None,
        part_number=None,
        client_reference=None,
        action=None,
        attributes={},
    )


def word_of(outcome: StatusEvent | Ignored | InputError) -> str:
    return outcome.meaning.status if isinstance(outcome, StatusEvent) else outcome.reason


@pytest.mark.parametrize("fact", FACTS, ids="-".join)
def test_a_report_means_what_the_carriers_facts_say(fact: Fact) -> None:
    given = report(fact.carrier, fact.channel, fact.status, fact.error_code)
    # Some ids cover all recipients of a request, and such a report has to name its own.
    (outcome,) = outcomes_of(PACKS, given._replace(recipient="2348030000009"))

    assert word_of(outcome) == fact.expected


def every_word(words: Words) -> set[str]:
    return {*words.exact, *(f"{prefix}*" for prefix, _ in words.prefixes)}


@pytest.mark.parametrize("carrier", sorted(PACKS.carriers))
def test_every_row_of_a_pack_is_in_the_table_of_facts(carrier: str) -> None:
    pack = PACKS.carriers[carrier]
    facts = facts_of(FIXTURES / f"{carrier}.csv")
    for channel, rules in pack.channels.items():
        mine = [fact for fact in facts if fact.channel == channel and fact.expected in (*Status, "listed")]
        statuses = {pack.status_spelling.of(fact.status) for fact in mine}
        codes = {pack.code_spelling.of(fact.error_code) for fact in mine}

        # Words that every channel of a pack ignores stand in the table of one.
        common = {word for word, row in rules.statuses.exact.items() if row.status is None}
        assert every_word(rules.statuses) - common <= statuses
        assert common <= {pack.status_spelling.of(fact.status) for fact in facts if fact.expected == "listed"}
        assert every_word(rules.codes) <= codes


def test_every_pack_has_a_table_of_facts() -> None:
    assert {path.stem for path in FIXTURES.glob("*.csv")} == set(PACKS.carriers)


@pytest.mark.parametrize("example", PACKS.examples(), ids=lambda example: example.place)
def test_an_example_comes_out_as_its_pack_says(example: Example) -> None:
    assert check_example(PACKS, example) == []


def outcomes_of_example(example: Example) -> list[StatusEvent | Ignored | InputError]:
    try:
        return list(outcomes_of(PACKS, example.input))
    except InputError as error:
        return [error]


@pytest.mark.parametrize("carrier", sorted(PACKS.carriers))
def test_every_status_row_has_an_example(carrier: str) -> None:
    pack = PACKS.carriers[carrier]
    outcomes = [outcome for example in pack.examples for outcome in outcomes_of_example(example)]
    # A reply that names no message is ignored by its row.
    hit = {outcome.meaning.rule for outcome in outcomes if isinstance(outcome, StatusEvent)}
    hit |= {outcome.rule for outcome in outcomes if isinstance(outcome, Ignored)}
    for rules in pack.channels.values():
        rows = {row.rule for row in rules.statuses.exact.values() if row.status is not None}
        assert rows - hit == set()


@pytest.mark.parametrize("carrier", sorted(PACKS.carriers))
def test_a_pack_shows_a_callback_that_it_refuses(carrier: str) -> None:
    examples = PACKS.carriers[carrier].examples
    words = {word_of(outcome) for example in examples for outcome in outcomes_of_example(example)}

    assert DeadLetterReason.MALFORMED in words


@pytest.mark.parametrize("body", BODIES, ids=lambda body: f"{body['facts']}-as-{body['carrier']}")
def test_a_body_from_the_facts_gives_the_status_of_its_table(body: dict[str, Any]) -> None:
    callback = RawCallback(
        account=None,
        carrier=body["carrier"],
        channel=body["channel"],
        received_at=RECEIVED_AT,
        content_type=body["content_type"],
        body=body["body"].encode(),
        query=body["query"],
        attributes=body["attributes"],
    )

    outcomes = [
        f"{outcome.meaning.channel} {outcome.meaning.status}" if isinstance(outcome, StatusEvent) else outcome
        for outcome in outcomes_of(PACKS, callback)
    ]

    assert outcomes == body["expected"]


def patterns_in(value: object) -> Iterator[str]:
    match value:
        case dict():
            yield from (text for key in ("pattern", "part_suffix") if isinstance(text := value.get(key), str))
            yield from (pattern for inner in value.values() for pattern in patterns_in(inner))
        case list():
            yield from (pattern for inner in value for pattern in patterns_in(inner))


PATTERNS = sorted({pattern for text in builtin_texts().values() for pattern in patterns_in(tomllib.loads(text))})


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_text_makes_a_pattern_run_away(pattern: str) -> None:
    search = re.compile(pattern).search
    # What a pattern asks for, over and over, and never to its end: there backtracking is worst.
    for one, other in product(sorted(set(pattern) | {"1", "a"}), repeat=2):
        text = (one + other) * 500
        took = []
        for _ in range(3):  # The least of three: the garbage collector comes when it likes.
            began = time.process_time()
            search(text)
            took.append(time.process_time() - began)
        assert min(took) < 0.002, text[:2]


@pytest.mark.parametrize(
    ("name", "carrier", "channel"),
    [
        ("twilio", "twilio", Channel.SMS),
        ("twilio-rcs", "twilio", Channel.RCS),
        ("twilio-whatsapp", "twilio", Channel.WHATSAPP),
        ("vonage", "vonage", Channel.SMS),
        ("nexmo", "vonage", Channel.SMS),
        ("vonage-rcs", "vonage", Channel.RCS),
        ("vonage-whatsapp", "vonage", Channel.WHATSAPP),
        ("smpp", "smpp", Channel.SMS),
        ("africas-talking", "africastalking", Channel.SMS),
        ("africastalking", "africastalking", Channel.SMS),
        ("termii", "termii", Channel.SMS),
        ("meta", "meta-whatsapp", Channel.WHATSAPP),
        ("meta-whatsapp", "meta-whatsapp", Channel.WHATSAPP),
        ("google-rbm", "google-rcs", Channel.RCS),
        ("google-rbm-rcs", "google-rcs", Channel.RCS),
        ("google-rcs", "google-rcs", Channel.RCS),
        ("Twilio_RCS", "twilio", Channel.RCS),
    ],
)
def test_a_carriers_names_lead_to_its_pack_and_imply_a_channel(name: str, carrier: str, channel: Channel) -> None:
    status = {"twilio": "delivered", "vonage": "delivered", "smpp": "DELIVRD", "africastalking": "Success"}.get(
        carrier, "delivered" if carrier != "google-rcs" else "DELIVERED"
    )
    event = PACKS.interpret(report(name, None, status))

    assert isinstance(event, StatusEvent)
    assert (event.meaning.carrier, event.meaning.channel) == (carrier, channel)
    assert PACKS.known(name) == carrier


@pytest.mark.parametrize(
    ("name", "status", "channel"),
    [
        ("infobip", "DELIVERED", Channel.SMS),
        ("infobip-rcs", "SEEN", Channel.RCS),
        ("infobip-whatsapp", "SEEN", Channel.WHATSAPP),
    ],
)
def test_infobips_names_imply_a_channel(name: str, status: str, channel: Channel) -> None:
    event = PACKS.interpret(report(name, None, status))

    assert isinstance(event, StatusEvent)
    assert event.meaning.channel is channel


@pytest.mark.parametrize(
    ("carrier", "status", "words"),
    [("smpp", "UNKNOWN", "UNKNOWN"), ("smpp", "7", "UNKNOWN"), ("vonage", "unknown", "unknown")],
)
def test_an_outcome_that_the_carrier_does_not_know_is_no_failure_and_keeps_its_word(
    carrier: str, status: str, words: str
) -> None:
    event = PACKS.interpret(report(carrier, "SMS", status))

    assert isinstance(event, StatusEvent)
    assert (event.meaning.status, event.meaning.words) == (Status.SENT, words)


def test_a_reply_that_names_no_message_is_unattributed() -> None:
    reply = report("google-rcs", "RCS", "suggestionResponse")._replace(message_id="")

    assert PACKS.interpret(reply) == Ignored(IgnoreReason.UNATTRIBUTED, "google-rcs", "RCS statuses.suggestionResponse")


def test_a_reply_that_names_its_message_is_a_reply() -> None:
    event = PACKS.interpret(report("google-rcs", "RCS", "suggestionResponse"))

    assert isinstance(event, StatusEvent)
    assert event.meaning.status is Status.REPLY


def group_read(participant: str) -> RawStatusEvent:
    return report("meta-whatsapp", "WHATSAPP", "read")._replace(attributes={"participant": participant})


def test_participants_of_a_group_are_messages_of_their_own_and_never_named() -> None:
    one, same, other = (
        PACKS.interpret(group_read(number)) for number in ("2348030000001", "2348030000001", "2348030000002")
    )

    assert isinstance(one, StatusEvent)
    assert isinstance(same, StatusEvent)
    assert isinstance(other, StatusEvent)
    assert one.identity == same.identity != other.identity
    assert one.message_id == other.message_id
    assert "2348030000001" not in one.identity
    assert "2348030000001" not in one.chain


def test_the_key_decides_the_hash_of_a_participant() -> None:
    keyed = Packs.load(builtin_texts(), identity_key=b"another").interpret(group_read("2348030000001"))
    event = PACKS.interpret(group_read("2348030000001"))

    assert isinstance(keyed, StatusEvent)
    assert isinstance(event, StatusEvent)
    assert keyed.chain != event.chain


def test_built_in_packs_are_the_files_of_the_package() -> None:
    folder = Path(__file__).parent.parent / "processor" / "carriers"

    assert set(builtin_texts()) == {f"{BUILTIN}{path.name}" for path in folder.glob("*.toml")}


def test_a_packs_file_has_its_carriers_name() -> None:
    assert {name: pack.file for name, pack in PACKS.carriers.items()} == {
        name: f"{BUILTIN}{name}.toml" for name in PACKS.carriers
    }


def test_meanings_are_shared_by_the_events_that_have_them() -> None:
    events = [PACKS.interpret(report("twilio", "SMS", "delivered")._replace(message_id=name)) for name in "ab"]
    meanings: list[Meaning] = [event.meaning for event in events if isinstance(event, StatusEvent)]

    assert len(meanings) == 2
    assert meanings[0] is meanings[1]
