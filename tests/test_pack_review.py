"""A pack that loads is held to more: nothing in it is unreachable, and everything in it has been tried."""

from __future__ import annotations

import pytest

from processor.pack_files import builtin_texts
from processor.pack_review import review
from processor.packs import Packs

PACK = """carrier = "acme"
name = "Acme"
sources = ["https://acme.example/docs"]
default_channel = "SMS"
{top}

[channels.SMS.statuses]
sent = "SENT"
failed = "FAILED"
{statuses}
[channels.SMS.codes]
7 = "DND"
{codes}
{more}
[[callbacks]]
format = "json"
when = "results"
each = ["results"]

[callbacks.fields]
message_id = ["id", "ref"]
status = "status"
error_code = "code"
{fields}

[[examples]]
channel = "SMS"
format = "json"
body = '{{"results":[{{"id":"m1","status":"odd","code":"1"}},{{"ref":"m2","status":"sent"}}]}}'
expect = [{{ outcome = "unknown_status" }}, "SENT"]

[[examples]]
channel = "SMS"
rows = [["sent", "SENT"], ["failed", "FAILED"], ["failed", "7", "DND"]]

[[examples]]
channel = "SMS"
format = "json"
body = '{{"results":[{{"id":"m1","status":"failed","code":"7"}}]}}'
expect = ["DND"]

[[examples]]
channel = "SMS"
format = "json"
body = '{{"results":[{{"status":"sent"}}]}}'
expect = ["malformed"]
{examples}"""
PARTS = ("top", "statuses", "codes", "more", "fields", "examples")


def findings(**parts: str) -> list[str]:
    """Review a pack that is right but for what is put into it."""
    text = PACK.format(**dict.fromkeys(PARTS, "") | parts)
    texts = {"acme.toml": text}
    return review(Packs.load(texts), texts)


def test_a_pack_that_shows_everything_has_no_findings() -> None:
    assert findings() == []


@pytest.mark.parametrize(
    ("parts", "line", "finding"),
    [
        ({"statuses": 'landed = "DELIVERED"\n'}, 10, "channels.SMS.statuses.landed: no example comes to this row"),
        ({"codes": '8 = "EXPIRED"'}, 13, "channels.SMS.codes.8: no example comes to this row"),
        (
            {"more": '[channels.SMS.pairs.sent]\n9 = "PENDING"\n'},
            15,
            "channels.SMS.pairs.sent.9: no example comes to this row",
        ),
        (
            {"more": '[channels.SMS.pairs.failed]\n"9*" = "EXPIRED"\n'},
            14,
            "channels.SMS.pairs.failed: '9*' stands for itself: pairs have no prefixes",
        ),
        ({"fields": 'recipient = "to"'}, 24, "callbacks.1.fields.recipient: no example has a value there"),
        ({"fields": 'sender = ["a", "b"]'}, 24, "callbacks.1.fields.sender: no example has a value there (number 1)"),
        (
            {"fields": '[callbacks.fields.attributes]\nroute = "via"'},
            25,
            "callbacks.1.fields.attributes.route: no example has a value there",
        ),
        (
            {
                "fields": '\n[[callbacks]]\nformat = "json"\nwhen = "id"\n'
                '[callbacks.fields]\nmessage_id = "id"\nstatus = "s"'
            },
            25,
            "callbacks.2: no example is a callback of this form",
        ),
        (
            {
                "more": '[[callbacks]]\nformat = "json"\n[callbacks.fields]\nmessage_id = "a"\nstatus = "b"\n',
                "examples": '[[examples]]\nchannel = "SMS"\nformat = "json"\nbody = \'{"a":"1","b":"sent"}\'\n'
                'expect = ["SENT"]',
            },
            20,
            "callbacks.2: never met: callback 1 has no `when` and takes all of these",
        ),
        (
            {"top": '[address_prefixes]\n"a:" = "SMS"\n"a:b:" = "SMS"\n'},
            7,
            "address_prefixes.a:b:: never met: an earlier prefix begins this one",
        ),
    ],
    ids=lambda value: "" if isinstance(value, dict) else None,
)
def test_each_finding_names_its_line_and_what_is_wrong(parts: dict[str, str], line: int, finding: str) -> None:
    found = findings(**parts)

    assert any(text.startswith(f"acme.toml:{line}: {finding}") for text in found), found


def test_a_list_of_which_only_one_is_shown_asks_for_a_batch() -> None:
    text = PACK.format(**dict.fromkeys(PARTS, "")).replace(',{"ref":"m2","status":"sent"}]', "]")
    text = text.replace('expect = [{ outcome = "unknown_status" }, "SENT"]', 'expect = ["unknown_status"]')
    texts = {"acme.toml": text}

    found = review(Packs.load(texts), texts)

    assert any("callbacks.1.each: no example has several elements; add a batch" in line for line in found)


def test_a_pack_without_a_refusal_is_asked_for_one() -> None:
    text = PACK.format(**dict.fromkeys(PARTS, "")).replace('expect = ["malformed"]', 'expect = ["SENT"]')
    text = text.replace('[{"status":"sent"}]', '[{"id":"m1","status":"sent"}]')
    texts = {"acme.toml": text}

    assert [line.split(": ", 1)[1] for line in review(Packs.load(texts), texts)] == [
        "examples: no callback is refused; add one that is malformed"
    ]


def test_codes_beside_no_failure_are_never_looked_up() -> None:
    text = """carrier = "acme"
name = "Acme"
sources = ["https://acme.example/docs"]
[channels.SMS.statuses]
sent = "SENT"
[channels.SMS.codes]
7 = "DND"
[[examples]]
channel = "SMS"
rows = [["sent", "SENT"]]
"""
    texts = {"acme.toml": text}

    found = review(Packs.load(texts), texts)

    assert "acme.toml:6: channels.SMS.codes: never looked up: error codes count on failures only" in found


def test_what_a_pack_takes_from_another_is_that_ones_to_show() -> None:
    texts = builtin_texts() | {
        "own.toml": """carrier = "acme-smsc"
name = "Acme's message centre"
extends = "smpp"
sources = ["contract"]
[[examples]]
channel = "SMS"
rows = [["DELIVRD", "DELIVERED"]]
"""
    }

    assert review(Packs.load(texts), texts) == []


def test_the_built_in_packs_have_no_findings() -> None:
    texts = builtin_texts()

    assert review(Packs.load(texts), texts) == []
