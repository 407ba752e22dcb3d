"""Bodies are what they are and not what they claim; any bytes give reports or a refusal, in bounded memory."""

from __future__ import annotations

import base64
import json
import time
import tracemalloc
from contextlib import suppress
from urllib.parse import quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.errors import DeadLetterReason, InputError
from processor.model import RawCallback, RawStatusEvent
from tests.test_extract import BUILTIN, FORM, JSON, callback, pack, refusal, reports

# What a body is


def test_facts_are_texts_by_their_literal_spelling() -> None:
    body = '{"id": 4912661846655238145, "status": "sent", "text": 1.50e3}'

    (report,) = reports(JSON, callback(body))

    assert (report.message_id, report.error_text) == ("4912661846655238145", "1.50e3")


@pytest.mark.parametrize(
    ("value", "text"),
    [("true", "true"), ("false", None), ("null", None), ('""', None), ("[]", None), ('{"a": 1}', None)],
)
def test_true_is_a_text_and_what_has_no_text_is_absent(value: str, text: str | None) -> None:
    (report,) = reports(JSON, callback(f'{{"id": "1", "status": "sent", "text": {value}}}'))

    assert report.error_text == text


@pytest.mark.parametrize(
    "body",
    [
        '{"id": "1", "id": "2", "status": "sent"}',
        '{"id": "1", "status": "sent", "price": NaN}',
        '{"id": "1", "status": "sent", "price": -Infinity}',
        '{"id": "1", "status": "sent"',
        '{"id": 01, "status": "sent"}',
        '{"id": "1", "status": "sent"} {}',
        "[" * 65 + "]" * 65,
        '{"id": "1", "status": "sent", "deep": ' + '{"a":' * 64 + "1" + "}" * 65,
        "[" + "1," * 20_000 + "1]",
        "[" * 100_000,
        "{" * 100_000,
        "]" * 100_000,
        b'{"id": "\xff", "status": "sent"}',
        "",
        "hello",
        "null",
        "<a/>",
    ],
)
def test_a_body_that_is_not_what_it_looks_like_is_refused_without_being_quoted(body: bytes | str) -> None:
    assert "sent" not in refusal(JSON, callback(body))


def test_brackets_in_texts_are_no_depth() -> None:
    (report,) = reports(JSON, callback(json.dumps({"id": "1", "status": "sent", "text": '["{\\"' * 100})))

    assert report.error_text == '["{\\"' * 100


@pytest.mark.parametrize("key", ["id", "status", "text"])
def test_half_a_surrogate_pair_is_no_text(key: str) -> None:
    body = json.dumps({"id": "1", "status": "sent", "text": "x", key: "\ud83d"})

    (error,) = pack(JSON).extract(callback(body))

    assert isinstance(error, InputError)
    assert error.reason is DeadLetterReason.MALFORMED


@pytest.mark.parametrize(
    "content_type", ["", "application/json", "text/xml", "application/x-www-form-urlencoded", "\0"]
)
def test_the_content_type_is_only_a_hint(content_type: str) -> None:
    body = b'\xef\xbb\xbf \n{"id": "1", "status": "sent"}'

    assert len(reports(JSON, callback(body, content_type=content_type))) == 1


def test_a_charset_is_used_where_the_body_is_not_utf8() -> None:
    body = '{"id": "1", "status": "sent", "text": "café"}'.encode("latin-1")
    content_type = 'application/json; charset="ISO-8859-1"'

    (report,) = reports(JSON, callback(body, content_type=content_type))

    assert report.error_text == "café"


def test_a_form_is_read_from_the_body_else_from_the_query() -> None:
    fields = "id=a%2Bb+c&status=sent&text="

    assert reports(FORM, callback(fields)) == reports(FORM, callback(query=f"?{fields}"))
    assert reports(FORM, callback(fields, query="order=7"))[0].message_id == "a+b c"


def test_a_field_that_comes_twice_is_no_text_unless_it_says_the_same() -> None:
    assert reports(FORM, callback("id=1&id=1&status=sent"))[0].message_id == "1"
    (error,) = pack(FORM).extract(callback("id=1&id=2&id=3&status=sent"))
    assert isinstance(error, InputError)


def test_escapes_that_are_not_utf8_are_latin_1() -> None:
    assert reports(FORM, callback("id=1&status=sent&text=caf%E9"))[0].error_text == "café"
    assert reports(FORM, callback(b"id=1&status=sent&text=caf\xe9"))[0].error_text == "café"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40), st.integers(1, 400))
def test_a_long_value_is_unescaped_as_a_short_one(text: str, times: int) -> None:
    (report,) = reports(FORM, callback(f"id=1&status=sent&text={quote_plus(text * times)}"))

    assert report.error_text == text * times


def test_a_form_of_too_many_fields_is_refused() -> None:
    assert refusal(FORM, callback("&".join(f"a{at}=1" for at in range(1_001)))) == "the form has more than 1000 fields"


def multipart(*fields: tuple[str, str], end: str = "\r\n") -> str:
    parts = [end.join(["--b 1", f'Content-Disposition: form-data; name="{name}"', "", text]) for name, text in fields]
    return end.join([*parts, "--b 1--", ""])


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_a_multipart_form_is_the_same_as_any_form(end: str) -> None:
    body = multipart(("id", "a+b %2B c"), ("status", "sent"), ("empty", ""), ("text", f"one{end}--b 2{end}é"), end=end)

    (report,) = reports(FORM, callback(body, content_type="multipart/form-data; boundary=lies"))

    assert (report.message_id, report.status, report.error_text) == ("a+b %2B c", "sent", f"one{end}--b 2{end}é")


def test_a_multipart_field_may_have_other_headers_and_no_quotes() -> None:
    id_part = "--b\r\nContent-Type: text/plain\r\ncontent-disposition: form-data; name=id\r\n\r\n7\r\n"
    nameless = '--b\r\nContent-Disposition: form-data; filename="id"\r\n\r\n8\r\n--b\r\nbroken\r\n'
    latin_1 = b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\ncaf\xe9\r\n--b--'
    status = '--b \r\nContent-Disposition: form-data; name="status"\r\n\r\nsent\r\n'

    (report,) = reports(FORM, callback((id_part + nameless + status).encode() + latin_1))

    assert (report.message_id, report.status, report.error_text) == ("7", "sent", "café")


def test_a_multipart_field_that_comes_twice_is_a_list() -> None:
    (error,) = pack(FORM).extract(callback(multipart(("id", "1"), ("id", "2"), ("id", "3"), ("status", "sent"))))

    assert isinstance(error, InputError)


def test_a_multipart_form_that_is_none_or_too_long_is_refused() -> None:
    many = multipart(*((f"a{at}", "1") for at in range(1_001)))

    assert refusal(FORM, callback(many)) == "the form has more than 1000 fields"
    assert refusal(FORM, callback(f"--{'b' * 80}\nx=1")) == "the body is not multipart/form-data"
    assert "looks like this" in refusal(FORM, callback("--b\nx"))


XML = """
[[callbacks]]
format = "xml"
each = ["MESSAGES.MSG"]
fields = { message_id = '"@ID"', status = "STATUS.CODE", error_text = 'STATUS.TEXT."#text"' }
"""


def test_xml_gives_elements_attributes_and_lists() -> None:
    one = '<MSG ID="1"><STATUS><CODE>sent</CODE><TEXT lang="en"> ok </TEXT></STATUS></MSG>'
    two = f'<?xml version="1.0"?><MESSAGES xmlns="urn:x">{one}{one.replace("1", "2")}</MESSAGES>'

    assert [report.message_id for report in reports(XML, callback(f"<MESSAGES>{one}</MESSAGES>"))] == ["1"]
    assert [(report.message_id, report.error_text) for report in reports(XML, callback(two))] == [
        ("1", "ok"),
        ("2", "ok"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        "<a>",
        "<a></b>",
        '<?xml version="1.0" encoding="utf-7"?><a/>',
        "<a>" * 100 + "</a>" * 100,
        "<a>" + "<b/>" * 10_001 + "</a>",
        "<a b='1' b='2'/>",
    ],
)
def test_xml_with_a_dtd_too_deep_too_wide_or_broken_is_refused(body: str) -> None:
    assert "XML" in refusal(XML, callback(body))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id:1 sub:001 dlvrd:001 stat:DELIVRD err:000 text:hi", ("1", "DELIVRD", "000")),
        ("ID: 1  STAT:DELIVRD", ("1", "DELIVRD", None)),
        ("stat:DELIVRD id:1 vendor:x err:12", ("1", "DELIVRD", "12")),
        ("id:1 stat:DELIVRD err: text:", ("1", "DELIVRD", None)),
        ("text:stat id:1 stat:DELIVRD", ("1", "DELIVRD", None)),
        ("id:1 stat:DELIVRD text:id:2 stat:UNDELIV err:9", ("1", "DELIVRD", None)),
        ("msgid:9 id:1 stat:DELIVRD", ("1", "DELIVRD", None)),
        ("id:1,sub:001,stat:DELIVRD;err:000,text:hi", ("1", "DELIVRD", "000")),
        ("stat:DELIVRD err:000\0id:1\0", ("1", "DELIVRD", "000")),
    ],
)
def test_a_receipt_is_read_by_label(text: str, expected: tuple[str, str, str | None]) -> None:
    (report,) = BUILTIN.extract(callback(text, "smpp"))

    assert isinstance(report, RawStatusEvent)
    assert (report.message_id, report.status, report.error_code) == expected


def test_a_receipt_with_bytes_of_any_alphabet_is_read() -> None:
    (report,) = BUILTIN.extract(callback(b"id:1 stat:DELIVRD text:\xe9\x00\xff", "smpp"))

    assert isinstance(report, RawStatusEvent)


def test_a_receipt_longer_than_a_pdu_is_refused() -> None:
    with pytest.raises(InputError):
        BUILTIN.extract(callback("id:" * 30_000, "smpp"))


def test_a_receipt_without_labels_can_be_taken_apart() -> None:
    shape = """
[[callbacks]]
format = "smpp"
fields.message_id = { path = "receipt", pattern = ',([0-9A-F]+)$' }
fields.status = { path = "receipt", pattern = '^([a-z]+),' }
"""

    (report,) = reports(shape, callback("sent,2611230942,2611230941,000,2348030000000,Acme,4D2"))

    assert (report.message_id, report.status) == ("4D2", "sent")


def test_a_body_longer_than_any_carriers_is_refused() -> None:
    assert refusal(JSON, callback(b"[" + b" " * 4_194_304)) == "the body is longer than 4194304 bytes"


# Any bytes


BASE_BYTES = 131_072
"""What a small body may cost, however small it is."""
SECONDS_MAX = 0.05


def outcome(carrier: str, body: bytes, query: str | None, attributes: dict[str, str]) -> None:
    try:
        found = BUILTIN.extract(callback(body, carrier, query=query, attributes=attributes))
    except InputError:
        return
    for report in found:
        assert isinstance(report, RawStatusEvent | InputError)
        if isinstance(report, RawStatusEvent):
            report.message_id.encode()
            report.status.encode()
            with suppress(InputError):
                BUILTIN.interpret(report)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
words = st.sampled_from(
    ["results", "entry", "changes", "value", "statuses", "message", "data", "id", "status", "messageId", "message_uuid"]
)
shaped = st.recursive(
    json_values, lambda inner: st.dictionaries(words, inner | st.lists(inner, max_size=3), max_size=4), max_leaves=12
)


@pytest.mark.parametrize("carrier", sorted(BUILTIN.carriers))
@settings(max_examples=25)  # For each of some sixty carriers.
@given(
    body=st.binary(max_size=200)
    | st.text(max_size=100).map(lambda text: text.encode(errors="surrogatepass"))
    | shaped.map(lambda value: json.dumps(value).encode())
    | shaped.map(lambda value: json.dumps({"object": "whatsapp_business_account", "entry": value}).encode()),
    query=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    attributes=st.dictionaries(st.sampled_from(["message_state", "esm_class"]), st.text(max_size=2), max_size=2),
)
def test_any_bytes_give_reports_or_a_refusal(
    carrier: str, body: bytes, query: str | None, attributes: dict[str, str]
) -> None:
    outcome(carrier, body, query, attributes)


def example_bodies() -> list[tuple[str, bytes]]:
    found = [(example.carrier, example.input) for example in BUILTIN.examples()]
    return sorted({(carrier, one.body) for carrier, one in found if isinstance(one, RawCallback) and one.body})


@given(st.sampled_from(example_bodies()), st.data())
def test_a_damaged_body_gives_reports_or_a_refusal(body: tuple[str, bytes], data: st.DataObject) -> None:
    carrier, text = body
    at = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.integers(0, 8))
    outcome(carrier, text[:at] + data.draw(st.binary(max_size=8)) + text[at + length :], None, {})


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b'{"a":' * 200_000,
        b'{"results":[' + b"{}," * 300_000 + b"{}]}",
        b'{"results":[' + b'"",' * 300_000 + b'""]}',
        b'{"results":[' + b'{"a":1},' * 40_000 + b'"' + b"x" * 500_000 + b'"]}',
        b'"' * 1_000_000,
        b"&=" * 500_000,
        b"a=%25" * 200_000,
        b"id:" * 300_000,
        b"<a>" * 300_000,
        b"<a>" + b"x" * 1_000_000 + b"</a>",
        b"<a " + b" ".join(b"a%d=''" % at for at in range(100_000)) + b"/>",
    ],
    ids=lambda body: body[:16].decode(),
)
@pytest.mark.parametrize("carrier", ["infobip", "twilio", "smpp", "vonage", "cm-com"])
def test_memory_stays_within_ten_times_the_body(carrier: str, body: bytes) -> None:
    tracemalloc.start()
    try:
        outcome(carrier, body, None, {})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 10 * len(body) + BASE_BYTES


@pytest.mark.parametrize(("head", "tail"), [("[", "]"), ('{"a":[', "]}")])
@pytest.mark.parametrize("carrier", ["azure", "gupshup", "hollatags", "mtn", "vonage"])
def test_a_body_that_may_be_read_in_several_ways_is_held_once(carrier: str, head: str, tail: str) -> None:
    # As many objects as a body of this size may hold, under keys that some packs fold.
    body = (head + ",".join(['{"A":"bbbbbbbbbbbbbbbbbbbbbbbb"}'] * 10_000) + tail).encode()
    tracemalloc.start()
    try:
        outcome(carrier, body, None, {})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 10 * len(body)


def test_many_envelopes_together_hold_no_more_than_a_body_may() -> None:
    sealed = base64.b64encode(b"[" + b"[]," * 540 + b"[]]").decode()
    body = json.dumps({"requestId": "1", "records": [{"data": sealed}] * 400}).encode()
    tracemalloc.start()
    try:
        outcome("aws", body, None, {})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 10 * len(body) + BASE_BYTES


FILLED = {
    "infobip": ('{"results":[', '{"messageId":"a","status":{"name":"DELIVERED_TO_HANDSET"}}', "]}"),
    "meta-whatsapp": (
        '{"object":"whatsapp_business_account","entry":[{"changes":[{"value":{"statuses":[',
        '{"id":"a","status":"sent"}',
        "]}}]}]}",
    ),
    "telnyx": ('{"data":{"payload":{"id":"x","to":[', '{"status":"sent"}', "]}}}"),
    "mobizon": ('{"data":[', '{"id":1,"status":"NEW"}', "]}"),
    "aws": (
        '{"requestId":"a","records":[',
        json.dumps({"data": base64.b64encode(b'{"eventType":"TEXT_SENT","messageId":"a"}').decode()}),
        "]}",
    ),
}
"""The shortest reports that are reports, of carriers that send lists of them."""


@pytest.mark.parametrize("size", [1_000, 8_000, 20_000, 65_000, 1_000_000])
@pytest.mark.parametrize("carrier", FILLED)
def test_a_body_full_of_the_shortest_reports_costs_little_time_and_memory(carrier: str, size: int) -> None:
    head, item, tail = FILLED[carrier]
    body = (head + ",".join([item] * ((size - len(head) - len(tail)) // (len(item) + 1))) + tail).encode()
    took = []
    for _ in range(3):  # The least of three, since others use the processor too.
        began = time.process_time()
        outcome(carrier, body, None, {})
        took.append(time.process_time() - began)
    tracemalloc.start()
    try:
        outcome(carrier, body, None, {})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert min(took) < SECONDS_MAX
    assert peak < 10 * len(body) + BASE_BYTES
