"""A pack that breaks the rules is refused, with every problem, its place and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from processor.errors import PackError
from processor.model import RawStatusEvent, StatusEvent
from processor.pack_check import check_examples
from processor.pack_files import builtin_texts, texts_of
from processor.pack_toml import parse_toml
from processor.packs import BUILTIN, Packs
from processor.status import Channel, Status
from tests.test_packs import PACK, event

GOOD = """
carrier = "acme"
name = "Acme"
sources = ["https://acme.example/docs"]

[channels.SMS.statuses]
sent = "SENT"
failed = "FAILED"

[[callbacks]]
format = "json"
fields = { message_id = "id", status = "status" }

[[examples]]
channel = "SMS"
rows = [["sent", "SENT"]]
"""


def problems(text: str, **others: str) -> list[str]:
    with pytest.raises(PackError) as caught:
        Packs.load({"acme.toml": text, **{f"{name}.toml": other for name, other in others.items()}})
    return caught.value.problems


def changed(old: str, new: str, text: str = GOOD) -> str:
    assert old in text
    return text.replace(old, new)


def test_a_good_pack_is_loaded() -> None:
    assert list(Packs.load({"acme.toml": GOOD}).carriers) == ["acme"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('carrier = "acme"', "", "acme.toml: carrier: missing"),
        ('carrier = "acme"', 'carrier = "Acme Corp"', "acme.toml:2: carrier: 'Acme Corp' is no name"),
        ('name = "Acme"', "name = 7", "acme.toml:3: name: has to be a text that is not empty"),
        ('sources = ["https://acme.example/docs"]', "", "acme.toml: sources: has to be a list of texts"),
        ('sources = ["https://acme.example/docs"]', "sources = []", "acme.toml:4: sources: is empty"),
        (
            'sent = "SENT"',
            'sent = "SENDED"',
            "acme.toml:7: channels.SMS.statuses.sent: 'SENDED' is no canonical status",
        ),
        ('sent = "SENT"', 'sent = "READ"', "acme.toml:7: channels.SMS.statuses.sent: SMS has no status READ"),
        ('sent = "SENT"', "sent = 1", "acme.toml:7: channels.SMS.statuses.sent: 1 is no canonical status"),
        (
            'sent = "SENT"',
            'sent = { status = "SENT", word = "x" }',
            "acme.toml:7: channels.SMS.statuses.sent.word: unknown",
        ),
        ("[channels.SMS.statuses]", "[channels.FAX.statuses]", "acme.toml:6: channels.FAX: no such channel"),
        (
            "[channels.SMS.statuses]",
            "[channels.SMS.states]",
            "acme.toml:6: channels.SMS.states: unknown key; allowed: ",
        ),
        (
            'failed = "FAILED"',
            "[channels.SMS]\nignore = ['sent']",
            "acme.toml:9: channels.SMS.ignore: 'sent' is ignored and",
        ),
        (
            'name = "Acme"',
            'name = "Acme"\nignore = ["sent"]',
            "channels.SMS.ignore: 'sent' is ignored and has a row too",
        ),
        (
            'name = "Acme"',
            'name = "Acme"\nignored = []',
            "acme.toml:4: ignored: unknown key; allowed: address_prefixes",
        ),
        ('name = "Acme"', 'name = "Acme"\nzone = "Mars"', "acme.toml:4: zone: 'Mars' is no known zone; allowed: "),
        (
            'name = "Acme"',
            'name = "Acme"\ndefault_channel = "RCS"',
            "default_channel: the pack has no channel RCS; allowed: SMS",
        ),
        ('name = "Acme"', 'name = "Acme"\naliases = ["A B"]', "acme.toml:4: aliases.1: 'A B' is no name"),
        ('name = "Acme"', 'name = "Acme"\naliases = ["b", "b"]', "acme.toml:4: aliases.2: 'b' stands twice"),
        ('name = "Acme"', 'name = "Acme"\naliases = ["acme"]', "acme.toml: aliases: 'acme' is already a name of acme"),
        (
            'name = "Acme"',
            'name = "Acme"\naliases = [{ name = "b", channel = "X" }]',
            "aliases.1.channel: 'X' is unknown; allowed: RCS",
        ),
        (
            'name = "Acme"',
            'name = "Acme"\nmatch = { status = { case = "lower" } }',
            "match.status.case: 'lower' is unknown; allowed: exact",
        ),
        ('name = "Acme"', 'name = "Acme"\nids = { part_suffix = "(" }', "ids.part_suffix: not a regular expression"),
        ('name = "Acme"', 'name = "Acme"\nids = { part_suffix = "x" }', "ids.part_suffix: needs the groups"),
        (
            'name = "Acme"',
            'name = "Acme"\nids = { chain = [{ fact = "name" }] }',
            "ids.chain.1.fact: 'name' is unknown; allowed: ",
        ),
        (
            'name = "Acme"',
            'name = "Acme"\nids = { chain = [{ fact = "recipient", plain = true }] }',
            "plain: is personal",
        ),
        (
            'name = "Acme"',
            'name = "Acme"\naddress_prefixes = { "x:" = "FAX" }',
            "address_prefixes.x:: 'FAX' is unknown",
        ),
        ('name = "Acme"', 'name = "Acme"\nextends = "nobody"', "extends: 'nobody' is no pack to extend"),
        (
            'format = "json"',
            'format = "yaml"',
            "acme.toml:11: callbacks.1.format: 'yaml' is unknown; allowed: form, json",
        ),
        ('format = "json"', "", "callbacks.1.format: missing; allowed: form"),
        (
            'format = "json"',
            'format = "json"\nwhen = "a..b"',
            "acme.toml:12: callbacks.1.when: not a JMESPath expression: ",
        ),
        (
            'format = "json"',
            'format = "json"\nwhen = "no(a)"',
            "callbacks.1.when: not a JMESPath expression: unknown function no()",
        ),
        (
            'format = "json"',
            'format = "json"\neach = ["a", "b", "c", "d", "e"]',
            "callbacks.1.each: has more than 4 steps",
        ),
        (
            'format = "json"',
            'format = "json"\nunwrap = [{ at = "a", as = ["zip"] }]',
            "unwrap.1.as: 'zip' is unknown; allowed: base64",
        ),
        (
            'format = "json"',
            'format = "json"\nholds = "all"',
            "callbacks.1.holds: 'all' is unknown; allowed: nothing, reports",
        ),
        ('message_id = "id", ', "", "callbacks.1.fields.message_id: missing"),
        (
            'status = "status"',
            'status = "status", state = "x"',
            "callbacks.1.fields.state: unknown key; allowed: account",
        ),
        ('status = "status"', "status = 7", "callbacks.1.fields.status: has to be an expression, a table, or a list"),
        ('status = "status"', 'status = { path = "x", up = 1 }', "fields.status.up: has to be a number from 0 to 0"),
        ('status = "status"', 'status = { path = "x", pattern = "a" }', "fields.status.pattern: needs a group"),
        (
            'status = "status"',
            'status = { path = "x", pattern = "(" }',
            "fields.status.pattern: not a regular expression",
        ),
        (
            'status = "status"',
            'status = { path = "x", in = "head" }',
            "fields.status.in: 'head' is unknown; allowed: attributes",
        ),
        ('status = "status"', 'status = { path = "x", format = "epoch" }', "fields.status.format: unknown key"),
        (
            'status = "status"',
            'status = "s", occurred_at = { path = "x", format = "y" }',
            "fields.occurred_at.format: 'y' is unknown",
        ),
        (
            'status = "status"',
            'status = "s", occurred_at = { path = "x", zone = "y" }',
            "occurred_at.zone: 'y' is no known zone",
        ),
        (
            'channel = "SMS"\nrows = [["sent", "SENT"]]',
            "channel = 'RCS'\nrows = []\nexpect=[]",
            "examples: channel SMS has none",
        ),
        ('rows = [["sent", "SENT"]]', 'rows = [["sent", "GONE"]]', "examples.1.rows: 'GONE' is no outcome; allowed: "),
        ('rows = [["sent", "SENT"]]', 'rows = [["sent"]]', "examples.1.rows: each has to be [status, outcome]"),
        ('rows = [["sent", "SENT"]]', "", "examples.1.expect: missing"),
        (
            'rows = [["sent", "SENT"]]',
            'expect = [{ outcome = "SENT", colour = "red" }]',
            "expect.1.colour: unknown key",
        ),
        ('rows = [["sent", "SENT"]]', 'body = "{}"\nexpect = []', "examples.1.format: missing; allowed: form"),
    ],
)
def test_a_broken_rule_is_named_with_its_place_and_what_is_allowed(old: str, new: str, problem: str) -> None:
    assert any(problem in line for line in problems(changed(old, new)))


def test_a_pack_without_examples_is_refused() -> None:
    found = problems(GOOD[: GOOD.index("[[examples]]")])

    assert found == ["acme.toml: examples: missing: every channel needs at least one"]


def test_a_pack_without_channels_is_refused() -> None:
    assert any("channels: missing" in line for line in problems(changed("[channels.SMS.statuses]", "[odd]")))


def test_text_that_is_no_toml_is_refused() -> None:
    assert problems("carrier = ")[0].startswith("acme.toml: file: not TOML: ")


def test_an_empty_file_is_a_pack_without_anything() -> None:
    assert "acme.toml: carrier: missing" in problems("")


def test_two_spellings_of_one_word_must_mean_the_same() -> None:
    folded = changed('name = "Acme"', 'name = "Acme"\nmatch = { status = { case = "fold" } }')

    assert Packs.load({"a": changed('sent = "SENT"', 'sent = "SENT"\nSENT = "SENT"', folded)}).carriers
    assert (
        "channels.SMS.statuses.SENT: is the same word as another row"
        in problems(changed('sent = "SENT"', 'sent = "SENT"\nSENT = "QUEUED"', folded))[0]
    )


def test_a_pair_needs_a_status_that_has_a_row() -> None:
    found = problems(changed("[[callbacks]]", "[channels.SMS.pairs.lost]\n1 = 'SENT'\n\n[[callbacks]]"))

    assert found == ["acme.toml:10: channels.SMS.pairs.lost: no row of `statuses` has this word"]


def test_all_problems_of_all_packs_are_told_at_once() -> None:
    broken = GOOD
    for old, new in (
        ('sent = "SENT"', 'sent = "SENDED"'),
        ('failed = "FAILED"', 'failed = "READ"\n\n[channels.SMS]\nignore = ["sent", "other"]\ncolour = "red"'),
        ('sources = ["https://acme.example/docs"]', "sources = []"),
        ('format = "json"', 'format = "json"\nwhen = "a..b"'),
        ('name = "Acme"', 'name = "Acme"\naliases = ["other"]\nids = { part_suffix = "(" }'),
    ):
        broken = changed(old, new, broken)
    other = changed('carrier = "acme"', 'carrier = "other"')[: GOOD.index("[[examples]]") + 1]

    found = problems(broken, other=other)

    for problem in (
        "'SENDED' is no canonical status",
        "SMS has no status READ",
        "channels.SMS.colour: unknown key",
        "sources: is empty",
        "callbacks.1.when: not a JMESPath expression",
        "ids.part_suffix: not a regular expression",
        "other.toml: examples: missing",
        "'other' is already a name of acme",
    ):
        assert any(problem in line for line in found), problem


def test_the_same_carrier_twice_is_refused() -> None:
    assert problems(GOOD, acme2=GOOD) == ["acme2.toml:2: carrier: 'acme' has a pack already, acme.toml"]


def test_a_users_pack_replaces_the_built_in_one_of_its_carrier_in_any_order() -> None:
    own = changed('sent = "SENT"', 'sent = "QUEUED"').replace('["sent", "SENT"]', '["sent", "QUEUED"]')
    for texts in ({f"{BUILTIN}acme.toml": GOOD, "mine.toml": own}, {"mine.toml": own, f"{BUILTIN}acme.toml": GOOD}):
        packs = Packs.load(texts)
        assert packs.carriers["acme"].file == "mine.toml"
        assert check_examples(packs) == []


CONNECTION = """
carrier = "acme-smsc"
name = "Acme's message centre"
extends = "smpp"
sources = ["contract"]
zone = "Africa/Lagos"

[ids]
leading_zeros = "strip"

[channels.SMS.statuses]
HELD = "SENT"

[channels.SMS.codes]
005 = "INVALIDNUMBER"

[[examples]]
channel = "SMS"
format = "smpp"
body = "id:0077 stat:$status err:$code done date:2611231042"
rows = [["UNDELIV", "005", "INVALIDNUMBER"], ["HELD", "SENT"]]

[[examples]]
channel = "SMS"
format = "smpp"
body = "id:0077 stat:DELIVRD done date:2611231042"
expect = [{ outcome = "DELIVERED", message_id = "77", occurred_at = "2026-11-23T09:42:00Z" }]
"""


def test_a_pack_extends_another_and_changes_only_what_it_says() -> None:
    packs = Packs.load({**builtin_texts(), "acme-smsc.toml": CONNECTION})

    assert check_examples(packs) == []
    assert packs.carriers["acme-smsc"].aliases == {}
    unrefined = packs.interpret(event(carrier="smpp", channel="SMS", status="UNDELIV", error_code="005"))
    assert isinstance(unrefined, StatusEvent)
    assert unrefined.meaning.status is Status.UNDELIVERED


def test_a_pack_that_extends_its_own_carrier_extends_the_built_in_one() -> None:
    text = changed('carrier = "acme-smsc"', 'carrier = "smpp"', CONNECTION)
    packs = Packs.load({**builtin_texts(), "smpp.toml": text})

    assert packs.carriers["smpp"].file == "smpp.toml"
    assert check_examples(packs) == []


def test_packs_that_extend_each_other_are_refused() -> None:
    one = changed('extends = "smpp"', 'extends = "two"', CONNECTION)
    two = changed('extends = "smpp"', 'extends = "acme-smsc"', changed("acme-smsc", "two", CONNECTION))

    assert any("is no pack to extend" in line for line in problems(one, two=two))


def test_lines_are_found_in_lists_of_tables_quoted_keys_and_past_long_texts() -> None:
    text = "[[a]]\nx = 1\n[[a]]\n\"b c\".'d' = '''\nx = 2\n'''\n[a.e]\ny = 3\n"
    _, problems_of_text = parse_toml("f", text)

    for path, line in (
        (("a", 0, "x"), 2),
        (("a", 1), 3),
        (("a", 1, "b c", "d"), 4),
        (("a", 1, "e", "y"), 8),
        (("a", 1, "e", "z"), 7),
    ):
        problems_of_text.add(path, "here")
        assert problems_of_text.found.pop().startswith(f"f:{line}: ")


def test_a_directory_gives_its_packs_by_path(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text("b", encoding="utf-8")
    (tmp_path / "a.toml").write_text("a", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("c", encoding="utf-8")

    assert texts_of(tmp_path) == {str(tmp_path / "a.toml"): "a", str(tmp_path / "b.toml"): "b"}


def test_a_directory_that_is_not_there_or_a_pack_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        texts_of(tmp_path / "nowhere")
    (tmp_path / "a.toml").write_bytes(b"\xff")
    with pytest.raises(PackError, match="not UTF-8"):
        texts_of(tmp_path)


def test_every_channel_of_a_pack_may_have_its_own_words() -> None:
    packs = Packs.load({"acme.toml": PACK})
    raw: RawStatusEvent = event(channel="WHATSAPP", status="failed", error_code="6")
    outcome = packs.interpret(raw)

    assert isinstance(outcome, StatusEvent)
    assert (outcome.meaning.channel, outcome.meaning.status) == (Channel.WHATSAPP, Status.FAILED)
