"""What a report means: the laws that hold for every pack."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.errors import DeadLetterReason, InputError
from processor.identity import identity_of
from processor.model import Ignored, IgnoreReason, RawStatusEvent, StatusEvent
from processor.packs import Packs
from processor.status import Channel, Status

PACK = """
carrier = "acme"
name = "Acme"
aliases = ["acme-old", { name = "acme-rcs", channel = "RCS" }]
default_channel = "SMS"
sources = ["https://acme.example/docs"]
ignore = ["typing"]

[match]
status = { case = "fold", trim = true, drop = " _" }

[address_prefixes]
"whatsapp:" = "WHATSAPP"

[channels.SMS]
ignore = ["received"]

[channels.SMS.statuses]
sent = "SENT"
delivered = "DELIVERED"
failed = "FAILED"
expired = "EXPIRED"
lapsed = { status = "EXPIRED", codes = false }
"no idea" = { status = "SENT", words = "no idea" }
"ESME_*" = "FAILEDTOSEND"
"ESME_RINV*" = "INVALIDNUMBER"
ESME_ROK = "ACCEPTED"

[channels.SMS.codes]
6 = "DND"
06 = "REJECTED"

[channels.SMS.pairs.expired]
215 = "INVALIDNUMBER"

[channels.SMS.pairs.delivered]
2 = "SENT"

[channels.RCS.statuses]
read = "READ"
delivered = "DELIVERED"
reply = "REPLY"

[channels.WHATSAPP.statuses]
read = "READ"
delivered = "DELIVERED"
failed = "FAILED"

[[examples]]
channel = "SMS"
rows = [["sent", "SENT"]]

[[examples]]
channel = "RCS"
rows = [["read", "READ"]]

[[examples]]
channel = "WHATSAPP"
rows = [["read", "READ"]]
"""


def packs(*changes: tuple[str, str]) -> Packs:
    text = PACK
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return Packs.load({"acme.toml": text}, identity_key=b"key")


def event(**facts: object) -> RawStatusEvent:
    fields: dict[str, object] = dict.fromkeys(RawStatusEvent._fields)
    fields |= {"carrier": "acme", "message_id": "m1", "status": "sent", "received_at": 1_000, "attributes": {}}
    return RawStatusEvent(**{**fields, **facts})  # type: ignore[arg-type]  # by name


ACME = packs()


def interpreted(found: Packs = ACME, **facts: object) -> StatusEvent:
    outcome = found.interpret(event(**facts))
    assert isinstance(outcome, StatusEvent)
    return outcome


def refused(found: Packs = ACME, **facts: object) -> DeadLetterReason:
    with pytest.raises(InputError) as caught:
        found.interpret(event(**facts))
    return caught.value.reason


def test_an_event_that_needs_no_change_is_passed_on_as_it_is() -> None:
    raw = event(account="a", recipient="+234", parts_total=3)

    outcome = ACME.interpret(raw)

    assert isinstance(outcome, StatusEvent)
    assert outcome.report is raw
    assert outcome.identity == identity_of("a", "acme", "m1", "")
    assert (outcome.message_id, outcome.chain) == ("m1", "")


@pytest.mark.parametrize(
    ("status", "error_code", "expected"),
    [
        ("sent", "6", Status.SENT),
        ("delivered", "6", Status.DELIVERED),
        ("failed", None, Status.FAILED),
        ("failed", "", Status.FAILED),
        ("failed", "6", Status.DND),
        ("failed", "06", Status.REJECTED),
        ("failed", "006", Status.FAILED),
        ("expired", "6", Status.DND),
        ("expired", "215", Status.INVALIDNUMBER),
        ("failed", "215", Status.FAILED),
        ("lapsed", "6", Status.EXPIRED),
        ("delivered", "2", Status.SENT),
    ],
)
def test_codes_refine_failures_and_pairs_win_over_both(status: str, error_code: str | None, expected: Status) -> None:
    assert interpreted(status=status, error_code=error_code).meaning.status is expected


@pytest.mark.parametrize("status", ["delivered", "Delivered", " DELIVERED ", "deli_vered", "D e l i v e r e d"])
def test_words_are_compared_as_the_pack_says(status: str) -> None:
    meaning = interpreted(status=status).meaning

    assert (meaning.status, meaning.raw_status) == (Status.DELIVERED, status)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("ESME_ROK", Status.ACCEPTED),
        ("ESME_RINVDSTADR", Status.INVALIDNUMBER),
        ("ESME_RTHROTTLED", Status.FAILEDTOSEND),
    ],
)
def test_a_whole_word_wins_over_a_beginning_and_a_longer_one_over_a_shorter(status: str, expected: Status) -> None:
    assert interpreted(status=status).meaning.status is expected


def test_an_unknown_outcome_keeps_the_carriers_words() -> None:
    meaning = interpreted(status="no idea").meaning

    assert (meaning.status, meaning.words) == (Status.SENT, "no idea")


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"carrier": "nobody"}, DeadLetterReason.UNKNOWN_CARRIER),
        ({"channel": "FAX"}, DeadLetterReason.UNKNOWN_CHANNEL),
        ({"status": "teleported"}, DeadLetterReason.UNKNOWN_STATUS),
        ({"status": ""}, DeadLetterReason.UNKNOWN_STATUS),
        ({"status": "read"}, DeadLetterReason.STATUS_NOT_ON_CHANNEL),
        ({"message_id": ""}, DeadLetterReason.MALFORMED),
        ({"message_id": "x" * 257}, DeadLetterReason.MALFORMED),
        ({"message_id": "a\0b"}, DeadLetterReason.MALFORMED),
        ({"account": ""}, DeadLetterReason.MALFORMED),
        ({"account": "x" * 257}, DeadLetterReason.MALFORMED),
        ({"account": "a\0b"}, DeadLetterReason.MALFORMED),
        ({"part_number": 0}, DeadLetterReason.MALFORMED),
        ({"part_number": 256}, DeadLetterReason.MALFORMED),
        ({"parts_total": -1}, DeadLetterReason.MALFORMED),
        ({"parts_total": 256}, DeadLetterReason.MALFORMED),
    ],
)
def test_what_is_not_understood_is_refused_with_its_reason_every_time(
    facts: dict[str, object], reason: DeadLetterReason
) -> None:
    assert [refused(ACME, **facts), refused(ACME, **facts)] == [reason, reason]


def test_a_refusal_never_quotes_the_report() -> None:
    secret = "s3cret"
    for facts in ({"carrier": secret}, {"channel": secret}, {"status": secret}, {"message_id": f"{secret}\0"}):
        with pytest.raises(InputError) as caught:
            ACME.interpret(event(**facts))
        assert secret not in str(caught.value)


def test_a_word_of_another_channel_that_exists_on_this_one_is_just_unknown() -> None:
    assert refused(channel="WHATSAPP", status="lapsed") is DeadLetterReason.STATUS_NOT_ON_CHANNEL
    assert refused(channel="RCS", status="failed") is DeadLetterReason.UNKNOWN_STATUS


def test_a_channel_that_the_pack_lacks_is_unknown() -> None:
    only_sms = packs((PACK[PACK.index("[channels.RCS.statuses]") : PACK.index("[[examples]]")], ""), (EXTRA, ""))

    assert refused(only_sms, channel="RCS") is DeadLetterReason.UNKNOWN_CHANNEL


EXTRA = PACK[PACK.index('[[examples]]\nchannel = "RCS"') :]


def test_without_a_default_an_event_without_a_channel_is_refused() -> None:
    assert refused(packs(('default_channel = "SMS"\n', ""))) is DeadLetterReason.UNKNOWN_CHANNEL


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, Channel.SMS),
        ({"channel": ""}, Channel.SMS),
        ({"channel": "rcs"}, Channel.RCS),
        ({"channel": " WhatsApp "}, Channel.WHATSAPP),
        ({"carrier": "acme-rcs"}, Channel.RCS),
        ({"carrier": "acme-rcs", "channel": "SMS"}, Channel.SMS),
        ({"recipient": "whatsapp:+234"}, Channel.WHATSAPP),
        ({"sender": "whatsapp:+234"}, Channel.WHATSAPP),
        ({"carrier": "acme-rcs", "recipient": "whatsapp:+234"}, Channel.WHATSAPP),
        ({"channel": "SMS", "recipient": "whatsapp:+234"}, Channel.SMS),
    ],
)
def test_the_event_names_its_channel_else_its_address_else_the_carriers_name_else_the_default(
    facts: dict[str, object], expected: Channel
) -> None:
    assert interpreted(ACME, status="delivered", **facts).meaning.channel is expected


@given(st.permutations(["+234", "whatsapp:+234", None, "whatsapp:+235"]))
def test_what_is_remembered_of_one_address_does_not_decide_for_another(recipients: list[str | None]) -> None:
    fresh = packs()
    for recipient in recipients:
        prefixed = recipient is not None and recipient.startswith("whatsapp:")
        expected = Channel.WHATSAPP if prefixed else Channel.SMS
        assert interpreted(fresh, status="delivered", recipient=recipient).meaning.channel is expected


def test_a_word_ignored_on_the_default_channel_is_not_ignored_on_the_addresss() -> None:
    fresh = packs(('failed = "FAILED"\n\n[[examples]]', 'failed = "FAILED"\nreceived = "SENT"\n\n[[examples]]'))

    assert isinstance(fresh.interpret(event(status="received")), Ignored)
    assert interpreted(fresh, status="received", recipient="whatsapp:+234").meaning.channel is Channel.WHATSAPP


def test_the_prefix_of_an_address_is_cut() -> None:
    report = interpreted(status="delivered", recipient="whatsapp:+234", sender="whatsapp:+235").report

    assert (report.recipient, report.sender) == ("+234", "+235")


@pytest.mark.parametrize(("status", "rule"), [("typing", "SMS ignore.typing"), ("received", "SMS ignore.received")])
def test_listed_words_are_ignored_even_without_a_message(status: str, rule: str) -> None:
    assert ACME.interpret(event(status=status, message_id="")) == Ignored(IgnoreReason.LISTED, "acme", rule)


def test_a_reply_without_a_message_is_ignored_as_unattributed() -> None:
    outcome = ACME.interpret(event(status="reply", channel="RCS", message_id=""))

    assert outcome == Ignored(IgnoreReason.UNATTRIBUTED, "acme", "RCS statuses.reply")


@pytest.mark.parametrize(
    ("total", "number", "expected"),
    [
        (None, None, (None, None)),
        (0, None, (None, None)),
        (1, None, (1, None)),
        (3, None, (3, None)),
        (1, 1, (None, None)),
        (0, 1, (None, 1)),
        (None, 2, (None, 2)),
        (3, 2, (3, 2)),
    ],
)
def test_part_one_of_one_is_the_whole_message_and_a_total_of_none_is_unknown(
    total: int | None, number: int | None, expected: tuple[int | None, int | None]
) -> None:
    report = interpreted(parts_total=total, part_number=number).report

    assert (report.parts_total, report.part_number) == expected


@pytest.mark.parametrize(
    ("rules", "message_id", "expected", "part"),
    [
        ('case = "lower"', "0A1B", "0a1b", None),
        ('case = "upper"', "0a1b", "0A1B", None),
        ('leading_zeros = "strip"', "000412", "412", None),
        ('leading_zeros = "strip"', "000", "0", None),
        ('radix = "hex-to-decimal"', "4D2", "1234", None),
        ('radix = "hex-to-decimal"', "0x4d2", "1234", None),
        ('radix = "hex-to-decimal"', "no-hex", "no-hex", None),
        ('radix = "decimal-to-hex"\ncase = "upper"', "1234", "4D2", None),
        ('radix = "decimal-to-hex"', "4D2", "4D2", None),
        ('radix = "decimal-to-hex"', "0x4D2", "4D2", None),
        ('radix = "decimal-to-hex"', "no-hex", "no-hex", None),
        (r"part_suffix = '(?P<id>.+)-(?P<part>\d+)'", "m1-2", "m1", 2),
        (r"part_suffix = '(?P<id>.+)-(?P<part>\d+)'", "m1", "m1", None),
        (r"part_suffix = '(?P<id>.+)-(?P<part>\d+)'", "m1-256", "m1-256", None),
        (r"part_suffix = '(?P<id>.*)-(?P<part>\d+)'", "-2", "-2", None),
    ],
)
def test_ids_are_spelled_as_the_pack_says(rules: str, message_id: str, expected: str, part: int | None) -> None:
    outcome = interpreted(packs(("[match]", f"[ids]\n{rules}\n\n[match]")), message_id=message_id)

    assert (outcome.message_id, outcome.report.part_number) == (expected, part)
    assert outcome.identity == identity_of(None, "acme", expected, "")


def chained(fact: str) -> Packs:
    return packs(("[match]", f"[ids]\nchain = [{fact}]\n\n[match]"))


def test_a_recipient_in_an_identity_is_hashed_and_its_spelling_does_not_matter() -> None:
    found = chained('{ fact = "recipient" }')
    spellings = ["+2348030000000", "2348030000000", "002348030000000", "+234 803 000-0000", "whatsapp:+2348030000000"]
    outcomes = [interpreted(found, status="delivered", channel="SMS", recipient=text) for text in spellings]
    other = interpreted(found, status="delivered", channel="SMS", recipient="+2348030000001")

    assert len({outcome.identity for outcome in outcomes}) == 1
    assert other.identity != outcomes[0].identity
    assert "803" not in outcomes[0].identity.replace(outcomes[0].chain, "")
    assert len(outcomes[0].chain) == 32


def test_a_missing_fact_leaves_the_id_alone_unless_it_is_required() -> None:
    assert interpreted(chained('{ fact = "recipient" }')).chain == ""
    assert refused(chained('{ fact = "recipient", required = true }')) is DeadLetterReason.MALFORMED


def test_a_plain_fact_stands_in_the_chain_as_it_is() -> None:
    found = chained('{ fact = "attributes.index", plain = true }, { fact = "channel", plain = true }')

    assert interpreted(found, attributes={"index": "2"}).chain == "2\x1fSMS"
    assert refused(found, attributes={"index": "2\x1f"}) is DeadLetterReason.MALFORMED


def test_the_memory_of_combinations_starts_over_when_it_is_full() -> None:
    fresh = packs()
    for code in range(10_050):  # Each is remembered twice: as it came, and under its channel.
        interpreted(fresh, status="failed", error_code=f"x{code}")

    assert 0 < len(fresh._rows) <= 20_000


def test_long_words_are_not_remembered() -> None:
    fresh = packs()

    assert interpreted(fresh, status="failed", error_code="x" * 1_000).meaning.status is Status.FAILED
    assert len(fresh._rows) == 0


def test_carriers_are_counted_under_their_packs_name_or_as_unknown() -> None:
    assert [ACME.known(name) for name in ("acme", "acme-old", "ACME_RCS", "else")] == [
        "acme",
        "acme",
        "acme",
        "unknown",
    ]


@given(
    st.builds(
        event,
        carrier=st.sampled_from(["acme", "acme-rcs", "nobody", "", "\0"]) | st.text(max_size=5),
        channel=st.none() | st.sampled_from(["SMS", "rcs", ""]) | st.text(max_size=3),
        status=st.sampled_from(["sent", "failed", "reply", "typing"]) | st.text(max_size=5),
        error_code=st.none() | st.text(max_size=3),
        message_id=st.text(max_size=5),
        account=st.none() | st.text(max_size=3),
        recipient=st.none() | st.text(max_size=3) | st.just("whatsapp:"),
        parts_total=st.none() | st.integers(-(2**31), 2**31 - 1) | st.integers(-1, 3),
        part_number=st.none() | st.integers(-(2**31), 2**31 - 1) | st.integers(-1, 3),
    )
)
def test_any_event_is_interpreted_ignored_or_refused(raw: RawStatusEvent) -> None:
    try:
        outcome = ACME.interpret(raw)
    except InputError:
        return
    assert isinstance(outcome, StatusEvent | Ignored)
