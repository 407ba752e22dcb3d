"""`explain`: what a callback or a report means, and why. No Kafka."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, BinaryIO

import click

from processor.cli.common import load_packs, packs_option, print_json
from processor.cli.explanation import (
    INPUT_BYTES_MAX,
    Explanation,
    Refusal,
    change_as_json,
    changes_of,
    event_of,
    explain_input,
    explanation_as_json,
    input_of_line,
    lines_of,
    parse_object,
)
from processor.codec import RECORD_BYTES_MAX
from processor.errors import ExitCode, InputError
from processor.logs import printable
from processor.model import Ignored, RawCallback, StatusEvent

if TYPE_CHECKING:
    from pathlib import Path

    from processor.model import RawStatusEvent, StatusChange
    from processor.packs import Packs


@click.command(
    epilog="""\b
Examples:
  echo 'MessageSid=SM1&MessageStatus=delivered' | status-processor explain --carrier twilio -
  status-processor explain --carrier infobip --json callback.json
  status-processor explain report.json            a RawStatusEvent as JSON
  status-processor explain --jsonl - <many.jsonl  one input and one answer a line
\b
A line of --jsonl is a callback or a report:
  {"carrier": "twilio", "body": "MessageSid=SM1&MessageStatus=sent"}
      and channel, content_type, query, account, attributes where needed;
      a body that is an object is JSON; body_base64 takes any bytes
  {"event": {"carrier": "twilio", "message_id": "SM1", "status": "sent"}}
\b
Exit code 0 where all is understood, 1 where something would be a dead letter
(with --jsonl always 0: the answer is in each line).
"""
)
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--carrier", help="The file is a callback of this carrier; without it, a RawStatusEvent as JSON.")
@click.option("--channel", help="The channel, where the callback does not say it: SMS, RCS, WHATSAPP.")
@click.option("--content-type", default="", help="The callback's content type.")
@click.option("--query", help="The callback's query string, without the question mark.")
@packs_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--jsonl", is_flag=True, help="Read a JSON object a line, print one for each.")
def explain(
    *,
    file: BinaryIO,
    carrier: str | None,
    channel: str | None,
    content_type: str,
    query: str | None,
    directory: Path | None,
    as_json: bool,
    jsonl: bool,
) -> int:
    """Say what a carrier's callback or report means, by which rule, and which changes it would give.

    FILE is a callback's body (with --carrier), or a RawStatusEvent as JSON; - is standard input,
    and so is none.
    """
    if jsonl and (carrier or channel or query or content_type):
        raise click.UsageError("with --jsonl each line names its own carrier, channel, content type and query")
    if not jsonl and not carrier and (channel or query or content_type):
        raise click.UsageError("--channel, --content-type and --query are about a callback: they need --carrier")
    packs = load_packs(directory)
    if jsonl:
        _answer_lines(packs, file)
        return ExitCode.OK
    body = file.read(INPUT_BYTES_MAX + 1)
    if carrier and len(body) > RECORD_BYTES_MAX:
        click.echo(
            f"warning: a worker takes records of {RECORD_BYTES_MAX} bytes, unless limits.record_bytes_max says more",
            err=True,
        )
    if carrier:
        callback = RawCallback(None, carrier, channel, _now_ms(), content_type, _without_newline(body), query, {})
        explanation = explain_input(packs, callback)
    else:
        explanation = _explain_report(packs, body)
    changes = changes_of(explanation)
    if as_json:
        print_json(
            {**explanation_as_json(explanation), "changes": [change_as_json(change) for change in changes]}, indent=2
        )
    else:
        _print(explanation, changes)
    return ExitCode.FAILED if explanation.refusals else ExitCode.OK


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _without_newline(body: bytes) -> bytes:
    """Drop the newline that an editor or `echo` put at the end of a one-line body."""
    return body.removesuffix(b"\n").removesuffix(b"\r")


def _explain_report(packs: Packs, body: bytes) -> Explanation:
    try:
        given = parse_object(body)
        event: RawStatusEvent = event_of(given, _now_ms())
    except InputError as error:
        return Explanation([Refusal(error, None)])
    return explain_input(packs, event)


def _answer_lines(packs: Packs, lines: BinaryIO) -> None:
    """Answer each line with one; a line that is not understood is an answer too, and the stream goes on."""
    for line in lines_of(lines):
        try:
            given = input_of_line(line, _now_ms())
        except InputError as error:
            explanation = Explanation([Refusal(error, None)])
        else:
            explanation = explain_input(packs, given)
        print_json(explanation_as_json(explanation))


def _print(explanation: Explanation, changes: list[StatusChange]) -> None:
    out = sys.stdout.write
    for number, outcome in enumerate(explanation.outcomes, start=1):
        match outcome:
            case StatusEvent():
                out(f"event {number}: {_words_of(outcome)}\n")
            case Ignored():
                out(f"event {number}: ignored ({outcome.reason}), by {outcome.carrier} {outcome.rule}\n")
            case Refusal(index=None):
                out(f"dead letter, all of it: {outcome.error.reason}: {printable(outcome.error.detail)}\n")
            case Refusal():
                out(f"event {number}: dead letter: {outcome.error.reason}: {printable(outcome.error.detail)}\n")
    if not explanation.outcomes:
        out("no event in it: ignored (empty)\n")
    for change in changes:
        before = change.previous or "nothing"
        final = ", final" if change.final else ""
        out(f"change {change.sequence} of {printable(change.message_id)}: {before} -> {change.status}{final}\n")
    if explanation.events and not changes:
        out("no change\n")


def _words_of(event: StatusEvent) -> str:
    meaning, report = event.meaning, event.report
    error = f", error {printable(meaning.error_code)}" if meaning.error_code else ""
    text = report.error_text or meaning.words
    part = f", part {report.part_number} of {report.parts_total or '?'}" if report.part_number else ""
    return (
        f"{meaning.channel} {printable(event.message_id)} is {meaning.status}\n"
        f"  said      {printable(meaning.raw_status)!r}{error}{part}\n"
        f"  rule      {meaning.carrier} {meaning.rule}" + (f"\n  words     {printable(text)}" if text else "")
    )
