"""Callbacks of every shape give their reports, one for each element."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote_plus

import pytest

from processor.errors import DeadLetterReason, InputError
from processor.model import RawCallback, RawStatusEvent
from processor.pack_files import builtin_texts
from processor.packs import Packs

RECEIVED_AT = 1_795_435_200_000
BUILTIN = Packs.load(builtin_texts())

HEAD = """
carrier = "acme"
name = "Acme"
sources = ["https://acme.example/docs"]

[channels.SMS.statuses]
sent = "SENT"
failed = "FAILED"
"failed in part" = "PARTIALDELIVERED"
DELIVRD = "DELIVERED"

[channels.SMS.codes]
5002 = "SENT"
x9 = "DND"

[[examples]]
channel = "SMS"
rows = [["sent", "SENT"]]
"""
JSON = """
[[callbacks]]
format = "json"
fields = { message_id = "id", status = "status", error_text = "text" }
"""


FORM = """
[[callbacks]]
format = ["form", "query"]
when = "id"
fields = { message_id = "id", status = "status", error_text = "text" }
"""


def callback(body: bytes | str = b"", carrier: str = "acme", **facts: object) -> RawCallback:
    fields: dict[str, object] = {"account": None, "channel": None, "content_type": "", "query": None, "attributes": {}}
    fields |= {"carrier": carrier, "received_at": RECEIVED_AT}
    fields["body"] = body.encode() if isinstance(body, str) else body
    return RawCallback(**{**fields, **facts})  # type: ignore[arg-type]  # by name


def pack(shapes: str) -> Packs:
    return Packs.load({"acme.toml": HEAD + shapes})


def reports(shapes: str, given_callback: RawCallback) -> list[RawStatusEvent]:
    found = pack(shapes).extract(given_callback)
    events = [report for report in found if isinstance(report, RawStatusEvent)]
    assert len(events) == len(found)
    return events


def refusal(shapes: str, given_callback: RawCallback) -> str:
    with pytest.raises(InputError) as caught:
        pack(shapes).extract(given_callback)
    assert caught.value.reason is DeadLetterReason.MALFORMED
    return caught.value.detail


# Where the reports are


def test_a_bad_element_is_an_error_in_its_place_and_the_rest_go_on() -> None:
    body = json.dumps(
        [{"id": "1", "status": "sent"}, {"id": "2"}, None, {"status": "sent"}, {"id": "5", "status": "failed"}]
    )

    found = pack(JSON.replace('"json"', '"json"\neach = ["@"]')).extract(callback(body))

    assert [type(report) for report in found] == [RawStatusEvent, InputError, InputError, InputError, RawStatusEvent]


@pytest.mark.parametrize("given", ["null", '"x"', "7", "true", "[]", "[[1]]"])
def test_what_is_no_object_on_the_way_down_to_the_elements_is_an_error_in_its_place(given: str) -> None:
    shape = JSON.replace('"json"', '"json"\neach = ["a", "b"]')
    body = f'{{"a": [{given}, {{"b": [{{"id": "1", "status": "sent"}}]}}, {{}}]}}'

    error, report = pack(shape).extract(callback(body))

    assert isinstance(error, InputError)
    assert isinstance(report, RawStatusEvent)


def test_one_thing_counts_as_a_list_of_one_and_nothing_as_none() -> None:
    shape = JSON.replace('"json"', '"json"\neach = ["a", "b"]')

    for body, count in (
        ('{"a": {"b": {"id": "1", "status": "sent"}}}', 1),
        ('{"a": [{"b": [{"id": "1", "status": "sent"}]}, {"b": null}, {}]}', 1),
        ('{"a": []}', 0),
        ("{}", 0),
    ):
        assert len(reports(shape, callback(body))) == count


def test_too_many_elements_refuse_the_callback() -> None:
    shape = JSON.replace('"json"', '"json"\neach = ["@"]')
    element = json.dumps({"id": "1", "status": "sent", "text": "x" * 60})

    assert len(pack(shape).extract(callback(f"[{','.join([element] * 2_000)}]"))) == 2_000
    assert "more than 2000" in refusal(shape, callback(f"[{','.join([element] * 2_001)}]"))
    assert "more than 103 elements" in refusal(shape, callback(f"[{'1,' * 129}1]"))


def test_the_first_shape_that_fits_counts_and_one_may_hold_nothing() -> None:
    shapes = """
[[callbacks]]
holds = "nothing"
format = "json"
when = "type == 'inbound'"
""" + JSON.replace('"json"', '"json"\nwhen = "id"')

    assert reports(shapes, callback('{"type": "inbound", "id": "1"}')) == []
    assert len(reports(shapes, callback('{"id": "1", "status": "sent"}'))) == 1
    assert refusal(shapes, callback('{"other": 1}')) == "no callback of acme looks like this"


def test_an_unknown_carrier_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        BUILTIN.extract(callback("{}", "nobody"))

    assert caught.value.reason is DeadLetterReason.UNKNOWN_CARRIER


# Shapes that other carriers have


def test_json_text_in_a_form_field_with_the_id_one_level_up() -> None:
    shape = """
[[callbacks]]
format = "form"
unwrap = [{ at = "data", as = ["json"] }]
each = ["data", "report"]
[callbacks.fields]
message_id = { path = "requestId", up = 1 }
status = { path = "status", map = { "1" = "DELIVRD", "*" = "failed" } }
recipient = "number"
"""
    data = [{"requestId": "r1", "report": [{"number": "91", "status": "1"}, {"number": "92", "status": 16}]}]
    body = f"data={quote_plus(json.dumps(data))}"

    found = reports(shape, callback(body))

    assert [(report.message_id, report.status, report.recipient) for report in found] == [
        ("r1", "DELIVRD", "91"),
        ("r1", "failed", "92"),
    ]


def test_elements_that_are_texts_with_their_facts_two_levels_up() -> None:
    shape = """
[[callbacks]]
format = "json"
each = ["statuses", "recipients"]
[callbacks.fields]
message_id = { path = "batch_id", up = 2 }
status = { path = "status", up = 1 }
error_code = { path = "code", up = 1 }
recipient = "@"
"""
    body = '{"batch_id":"b1","statuses":[{"code":0,"status":"sent","recipients":["91","92"]}]}'

    found = reports(shape, callback(body))

    assert [(report.message_id, report.status, report.error_code, report.recipient) for report in found] == [
        ("b1", "sent", "0", "91"),
        ("b1", "sent", "0", "92"),
    ]


def test_a_code_in_a_sentence_and_counters_of_parts() -> None:
    shape = """
[[callbacks]]
format = "json"
each = ["@"]
[callbacks.fields]
message_id = "data.id"
status = ["data.attempts[-1].ok != '0' && data.attempts[-1].failed != '0' && 'failed in part'", "data.status"]
error_code = { path = "data.details", pattern = 'ErrorCode (\\d+)' }
"""
    body = json.dumps(
        [
            {
                "data": {
                    "id": "1",
                    "status": "failed",
                    "details": "ErrorCode 5002, x",
                    "attempts": [{"ok": 0, "failed": 1}],
                }
            },
            {"data": {"id": "2", "status": "failed", "details": "No error.", "attempts": [{"ok": 1, "failed": 1}]}},
        ]
    )

    found = reports(shape, callback(body))

    assert [(report.status, report.error_code) for report in found] == [("failed", "5002"), ("failed in part", None)]


def test_a_prefix_before_json_is_cut() -> None:
    shape = JSON.replace('"json"', '"json"\nprefix = "response="\neach = ["@"]')

    assert len(reports(shape, callback('response=[{"id":"1","status":"sent"}]'))) == 1


def test_a_part_and_its_total_from_one_text() -> None:
    shape = """
[[callbacks]]
format = "form"
[callbacks.fields]
message_id = "ParentMessageUUID"
status = "Status"
part_number = { path = "PartInfo", pattern = '^(\\d+) of' }
parts_total = { path = "PartInfo", pattern = 'of (\\d+)$' }
"""
    (report,) = reports(shape, callback("Status=sent&ParentMessageUUID=p1&PartInfo=1+of+2"))

    assert (report.part_number, report.parts_total) == (1, 2)


@pytest.mark.parametrize("total", ["many", "-1", "99999999999", "300", ""])
def test_a_total_that_cannot_be_true_is_unknown_where_nothing_is_counted_by_it(total: str) -> None:
    shape = JSON.replace('error_text = "text"', 'parts_total = "text"')

    (report,) = reports(shape, callback(json.dumps({"id": "1", "status": "sent", "text": total})))

    assert report.parts_total is None


def test_keys_in_any_case() -> None:
    shape = JSON.replace('"json"', '["json", "form", "xml"]\nfold_keys = true').replace('"id"', '"id || a.id"')

    for body in ('{"ID": "1", "Status": "sent"}', "Id=1&STATUS=sent"):
        assert reports(shape, callback(body))[0].message_id == "1"
    assert "same key twice" in refusal(shape, callback('{"ID": "1", "id": "2"}'))


def test_a_receipt_inside_a_query() -> None:
    shape = """
[[callbacks]]
format = "query"
unwrap = [{ at = "answer", as = ["smpp"] }]
fields = { message_id = "myId", status = "answer.stat", error_code = "answer.err" }
"""
    (report,) = reports(shape, callback(query="myId=5f1c&type=1&answer=id%3A02+stat%3ADELIVRD+err%3A000"))

    assert (report.message_id, report.status, report.error_code) == ("5f1c", "DELIVRD", "000")


def test_envelopes_in_envelopes_and_in_lists() -> None:
    shape = """
[[callbacks]]
format = "json"
unwrap = [
  { at = "Records[].Message", as = ["json"] },
  { at = "Records[].Message.entry", as = ["base64", "json"] },
]
each = ["Records", "Message.entry"]
fields = { message_id = "id", status = "status" }
"""
    inner = (
        base64.urlsafe_b64encode(json.dumps({"id": "1", "status": "sent", "x": "?>~~"}).encode()).decode().rstrip("=")
    )
    body = {"Records": [{"Message": json.dumps({"entry": inner})}, {"Message": json.dumps({"entry": None})}]}

    assert [report.message_id for report in reports(shape, callback(json.dumps(body)))] == ["1"]


@pytest.mark.parametrize("steps", ['"records"', '"records", "data"'])
def test_an_envelope_in_a_list_that_does_not_open_is_an_error_in_its_place(steps: str) -> None:
    shape = f"""
[[callbacks]]
format = "json"
unwrap = [{{ at = "records[].data", as = ["base64", "json"] }}]
each = [{steps}]
fields = {{ message_id = "data.id || id", status = "data.status || status" }}
"""
    sealed = [base64.b64encode(text.encode()).decode() for text in ('{"id": "1", "status": "sent"}', "[1", "7")]
    body = json.dumps({"records": [{"data": data} for data in ("%%%", *sealed)]})

    bad, good, broken, number = pack(shape).extract(callback(body))

    assert isinstance(good, RawStatusEvent)
    assert [str(error) for error in (bad, broken, number)] == [
        "a wrapped value is not base64",
        "the body is not JSON at character 2",
        "the status is missing",
    ]


@pytest.mark.parametrize(
    "data", ["%%%", "AAA", base64.b64encode(b"\xff\xfe").decode(), base64.b64encode(b"[1").decode()]
)
def test_an_envelope_that_does_not_open_refuses_the_callback(data: str) -> None:
    shape = JSON.replace('"json"', '"json"\nunwrap = [{ at = "data", as = ["base64", "json"] }]')

    refusal(shape, callback(json.dumps({"data": data})))


def test_facts_from_the_callbacks_attributes_and_from_its_query() -> None:
    shape = """
[[callbacks]]
format = "form"
[callbacks.fields]
message_id = "id"
status = "status"
event_id = { path = '"x-event-id"', in = "attributes" }
client_reference = { path = "order", in = "query" }
account = "account"
attributes = { network = "net", absent = "nothing" }
"""
    given_callback = callback(
        "id=1&status=sent&net=62130&account=a1", attributes={"x-event-id": "e1"}, query="order=77"
    )

    (report,) = reports(shape, given_callback)

    assert (report.event_id, report.client_reference, report.account) == ("e1", "77", "a1")
    assert report.attributes == {"network": "62130"}
    (known,) = reports(shape, given_callback._replace(account="edge"))
    assert known.account == "edge"


def test_common_fields_are_laid_under_those_of_each_callback_and_may_be_taken_away() -> None:
    shapes = """
[fields]
message_id = "id"
status = "status"
sender = "from"

[[callbacks]]
format = "json"
fields = { message_id = "other", sender = false }
"""

    (report,) = reports(shapes, callback('{"other": "1", "id": "2", "status": "sent", "from": "x"}'))

    assert (report.message_id, report.sender) == ("1", None)


def test_the_first_candidate_that_the_pack_knows_counts_else_the_first_that_is_there() -> None:
    shape = """
[[callbacks]]
format = "json"
[callbacks.fields]
message_id = "id"
status = ["a", "b"]
error_code = ["c", "d"]
"""
    for body, expected in (
        ({"a": "new", "b": "sent", "c": "x1", "d": "x9"}, ("sent", "x9")),
        ({"a": "failed", "b": "sent", "c": "x9", "d": "5002"}, ("failed", "x9")),
        ({"a": "new", "b": "newer", "c": "x1"}, ("new", "x1")),
    ):
        (report,) = reports(shape, callback(json.dumps({"id": "1", **body})))
        assert (report.status, report.error_code) == expected


def test_a_time_that_cannot_be_true_is_left_out_and_the_next_one_taken() -> None:
    shape = JSON.replace(
        'error_text = "text"', 'occurred_at = [{ path = "a", format = "epoch_s" }, { path = "b", format = "smpp" }]'
    )
    body = '{"id": "1", "status": "sent", "a": 0, "b": "2611230942"}'

    assert reports(shape, callback(body))[0].occurred_at == 1_795_426_920_000


@pytest.mark.parametrize(
    ("facts", "body", "expected"),
    [
        ({"channel": "RCS"}, {"channel": "sms"}, "RCS"),
        ({}, {"channel": "whatsapp"}, "WHATSAPP"),
        ({}, {"channel": "mms"}, "mms"),
        ({"carrier": "vonage-rcs"}, {"channel": "sms"}, "SMS"),
        ({"carrier": "vonage-rcs"}, {}, "RCS"),
        ({"carrier": "vonage"}, {}, "SMS"),
    ],
)
def test_the_edge_names_the_channel_else_the_callback_else_the_carriers_name_else_the_default(
    facts: dict[str, object], body: dict[str, str], expected: str
) -> None:
    text = json.dumps({"message_uuid": "1", "status": "delivered", **body})

    (report,) = BUILTIN.extract(callback(text, **{"carrier": "vonage", **facts}))  # type: ignore[arg-type]  # by name

    assert isinstance(report, RawStatusEvent)
    assert report.channel == expected


def test_a_form_that_an_edge_made_an_object_of_is_the_same() -> None:
    form = b"MessageSid=SM1&MessageStatus=undelivered&ErrorCode=30003&To=%2B1"
    as_object = b'{"MessageSid": "SM1", "MessageStatus": "undelivered", "ErrorCode": 30003, "To": "+1"}'

    packs = Packs.load(builtin_texts())
    found = [packs.extract(callback(body, "twilio")) for body in (form, as_object)]

    assert found[0] == found[1]
    assert len(found[0]) == 1
