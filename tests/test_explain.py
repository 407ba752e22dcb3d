"""`explain` says what the worker would make of an input: real callbacks, one answer for each line."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING

import pytest

from processor.cli import explanation, main
from processor.cli.explanation import changes_of, explain_input, explanation_as_json, input_of_line
from processor.errors import ExitCode, InputError
from processor.model import RawCallback
from processor.pack_check import outcomes_of
from processor.pack_files import builtin_texts
from processor.packs import Packs

if TYPE_CHECKING:
    from pathlib import Path

TWILIO = b"SmsSid=SM1f&SmsStatus=delivered&MessageStatus=delivered&To=%2B15558675310&MessageSid=SM1f&AccountSid=AC1"
INFOBIP = {
    "results": [
        {"messageId": "a", "status": {"groupId": 3, "groupName": "DELIVERED", "id": 5, "name": "DELIVERED_TO_HANDSET"}},
        {"messageId": "", "status": {"groupId": 3, "groupName": "DELIVERED", "id": 5, "name": "DELIVERED_TO_HANDSET"}},
        {"messageId": "b", "status": {"groupId": 4, "groupName": "EXPIRED", "id": 15, "name": "EXPIRED_EXPIRED"}},
    ]
}


@pytest.fixture(scope="module")
def packs() -> Packs:
    return Packs.load(builtin_texts())


class Pipe(io.TextIOWrapper):
    """Standard input that holds bytes."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="utf-8")


def answers(
    lines: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[dict[str, object]]:
    monkeypatch.setattr(sys, "stdin", Pipe(lines))
    assert main(["explain", "--jsonl", "-"]) == ExitCode.OK
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def explained(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(["explain", *arguments])
    return code, capsys.readouterr().out


def test_a_callback_is_said_in_words_with_its_rule_and_its_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "body"
    file.write_bytes(TWILIO + b"\n")

    assert explained(["--carrier", "twilio", str(file)], capsys) == (
        0,
        (
            "event 1: SMS SM1f is DELIVERED\n"
            "  said      'delivered'\n"
            "  rule      twilio SMS statuses.delivered\n"
            "change 1 of SM1f: nothing -> DELIVERED, final\n"
        ),
    )


def test_a_bad_element_is_named_and_the_others_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "body"
    file.write_text(json.dumps(INFOBIP), encoding="utf-8")

    code, out = explained(["--carrier", "infobip", "--json", str(file)], capsys)
    answer = json.loads(out)

    assert code == ExitCode.FAILED
    assert [(event["message_id"], event["status"]) for event in answer["events"]] == [
        ("a", "DELIVERED"),
        ("b", "EXPIRED"),
    ]
    assert [(error["reason"], error["index"]) for error in answer["errors"]] == [("malformed", 1)]
    assert [(change["message_id"], change["sequence"]) for change in answer["changes"]] == [("a", 1), ("b", 1)]


def test_a_report_is_explained_from_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "report.json"
    file.write_text('{"carrier": "twilio", "message_id": "SM1", "status": "failed", "error_code": "30005"}', "utf-8")

    code, out = explained(["--json", str(file)], capsys)

    assert code == ExitCode.OK
    assert json.loads(out)["changes"][0]["status"] == "INVALIDNUMBER"


def test_what_would_be_a_dead_letter_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "body"
    file.write_bytes(b"MessageSid=SM1&MessageStatus=levitating")

    code, out = explained(["--carrier", "twilio", str(file)], capsys)

    assert (code, out) == (
        ExitCode.FAILED,
        "event 1: dead letter: unknown_status: the pack of twilio has no row for this status on SMS\n",
    )


def test_own_packs_are_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = next(text for name, text in builtin_texts().items() if name.endswith("/twilio.toml"))
    (tmp_path / "mine.toml").write_text(pack.replace('delivered = "DELIVERED"', 'delivered = "SENT"'), "utf-8")
    body = tmp_path / "body"
    body.write_bytes(TWILIO)

    code, out = explained(["--carrier", "twilio", "--packs", str(tmp_path), "--json", str(body)], capsys)

    assert code == ExitCode.OK
    assert json.loads(out)["events"][0]["status"] == "SENT"


def test_every_line_gets_exactly_one_answer_in_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        json.dumps({"carrier": "twilio", "body": TWILIO.decode()}).encode(),
        b"not json",
        b"",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps({"carrier": "infobip", "body": INFOBIP}).encode(),
        b'{"event": {"carrier": "twilio", "message_id": "SM2", "status": "sent"}}',
        b'{"carrier": "nobody", "body": "x=1"}',
        b'{"carrier": "twilio", "body_base64": "TWVzc2FnZVNpZD1TTTMmTWVzc2FnZVN0YXR1cz1zZW50"}',
    ]

    found = answers(b"\n".join(lines), monkeypatch, capsys)

    assert [
        ([event["status"] for event in answer["events"]], [error["reason"] for error in answer["errors"]])  # type: ignore[attr-defined]  # JSON
        for answer in found
    ] == [
        (["DELIVERED"], []),
        ([], ["malformed"]),
        ([], ["malformed"]),
        ([], ["malformed"]),
        ([], ["malformed"]),
        ([], ["malformed"]),
        (["DELIVERED", "EXPIRED"], ["malformed"]),
        (["SENT"], []),
        ([], ["unknown_carrier"]),
        (["SENT"], []),
    ]


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (b'{"body": "x"}', "carrier is missing"),
        (b'{"carrier": "twilio"}', "one of body and body_base64 is needed"),
        (b'{"carrier": "twilio", "body": "", "body_base64": ""}', "one of body and body_base64 is needed"),
        (b'{"carrier": "twilio", "body": 5}', "body must be a text, an object or an array"),
        (b'{"carrier": "twilio", "body": "\\ud800"}', "body holds half a surrogate pair"),
        (b'{"carrier": "twilio", "body_base64": "?"}', "body_base64 is not base64"),
        (b'{"carrier": 5, "body": ""}', "carrier must be a text"),
        (b'{"carrier": "x", "body": "", "attributes": {"a": 1}}', "attributes must be an object of texts"),
        (b'{"carrier": "x", "body": "", "attributes": {"a": "\\ud800"}}', "attributes holds half a surrogate pair"),
        (b'{"event": 5}', "event must be an object, alone in its line"),
        (b'{"event": {"carrier": "twilio", "status": "sent"}}', "message_id is missing"),
        (
            b'{"event": {"carrier": "x", "message_id": "1", "status": "s", "occurred_at": "now"}}',
            "occurred_at must be a whole number of ms since the epoch",
        ),
    ],
)
def test_a_line_in_another_form_says_what_is_wrong(line: bytes, detail: str) -> None:
    with pytest.raises(InputError) as caught:
        input_of_line(line, 0)

    assert caught.value.detail == detail


def test_a_line_longer_than_any_input_gets_one_answer_and_the_next_line_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(explanation, "INPUT_BYTES_MAX", 100)
    lines = b"[" * 1_000 + b'\n{"event": {"carrier": "twilio", "message_id": "SM2", "status": "sent"}}\n' + b"x" * 101

    found = answers(lines, monkeypatch, capsys)

    too_long = [{"reason": "malformed", "detail": "longer than 100 bytes"}]
    assert [(len(answer["events"]), answer["errors"]) for answer in found] == [  # type: ignore[arg-type]  # JSON
        (0, too_long),
        (1, []),
        (0, too_long),
    ]


def test_a_callback_that_a_worker_would_not_take_by_default_is_explained_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "body"
    file.write_bytes(TWILIO + b"&Body=" + b"x" * 65_536)

    assert main(["explain", "--carrier", "twilio", str(file)]) == ExitCode.OK
    assert capsys.readouterr().err == (
        "warning: a worker takes records of 65536 bytes, unless limits.record_bytes_max says more\n"
    )


def test_ignored_events_and_empty_callbacks_are_counted(packs: Packs) -> None:
    inbound = RawCallback(None, "twilio", None, 1, "", b"MessageSid=SM1&MessageStatus=received", None, {})
    empty = RawCallback(None, "infobip", None, 1, "", b'{"results": []}', None, {})

    assert explanation_as_json(explain_input(packs, inbound)) == {"events": [], "ignored": 1, "errors": []}
    assert explanation_as_json(explain_input(packs, empty)) == {"events": [], "ignored": 1, "errors": []}


def test_every_example_of_every_pack_is_explained_as_the_worker_sees_it(packs: Packs) -> None:
    for example in packs.examples():
        explanation = explain_input(packs, example.input)
        changes = changes_of(explanation)
        if isinstance(example.expected, str):
            assert [refusal.error.reason.value for refusal in explanation.refusals] == [example.expected]
            continue

        assert len(explanation.outcomes) == len(outcomes_of(packs, example.input)) == len(example.expected)
        assert len(changes) <= len(explanation.events)
        json.dumps(explanation_as_json(explanation))


def test_repeated_events_give_one_change(packs: Packs) -> None:
    result = {"messageId": "a", "status": {"groupId": 3, "groupName": "DELIVERED", "id": 5, "name": "X"}}
    body = json.dumps({"results": [result, result]}).encode()

    explanation = explain_input(packs, RawCallback(None, "infobip", "SMS", 1, "", body, None, {}))

    assert len(explanation.outcomes) == 2
    assert len(changes_of(explanation)) <= 1


def test_options_that_do_not_go_together_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--jsonl", "--carrier", "twilio", "-"]) == ExitCode.USAGE
    assert main(["explain", "--channel", "SMS", "-"]) == ExitCode.USAGE
    assert len(capsys.readouterr().err.splitlines()) == 2
