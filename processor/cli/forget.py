"""`forget`: has the worker that owns a message drop what is known of it."""

from __future__ import annotations

import shlex
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from processor.cli.common import print_json, settings_of, settings_options, shown_offsets
from processor.errors import ExitCode
from processor.logs import printable
from processor.status import STATUSES_BY_RANK

if TYPE_CHECKING:
    from pathlib import Path

    from processor.control import Forget, Forgotten
    from processor.forgetting import Forgetting
    from processor.known import Knowledge, Known
    from processor.settings import Settings

_NOTE_CHARS_MAX = 200


@click.command(
    epilog="""\b
Examples:
  status-processor forget SM1 --dry-run
  status-processor forget SM1 --note "the pack took buffered for delivered"
  status-processor forget SM1 --carrier twilio --account acme --json
\b
The next report of the message begins it anew, with sequence 1. What was published stays published. Asking again for
the same state is the same request, and is carried out once. docs/repair.md tells more.
Exit code 0 where it is done, 1 where nothing is known or several messages share the id, 69 where no worker answers.
"""
)
@click.argument("message_id")
@click.option("--account", help="The message's account; an empty one is none.")
@click.option("--carrier", help="The message's carrier: its pack's own name.")
@click.option("--chain", help="The message's chain, where an id alone is not enough; an empty one is none.")
@click.option("--note", default="", help="Why: kept with the audit entry, at most 200 characters. No phone number.")
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until a worker has done it.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), default=60.0, show_default=True,
              help="Seconds to wait.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@settings_options
def forget(
    *,
    message_id: str,
    account: str | None,
    carrier: str | None,
    chain: str | None,
    note: str,
    dry_run: bool,
    wait: bool,
    timeout_s: float,
    as_json: bool,
    file: Path | None,
    assignments: tuple[str, ...],
) -> int:
    """Have what is known of a message dropped: what a wrong pack row once said can be lowered no other way.

    MESSAGE_ID is the id as in the changes: as its pack normalises it.
    """
    from processor.forgetting import Forgetting  # noqa: PLC0415  # other commands start faster
    from processor.known import Choice  # noqa: PLC0415  # the same
    from processor.partition_reader import PartitionReader  # noqa: PLC0415  # the same
    from processor.settings import admin_config  # noqa: PLC0415  # the same

    if len(note) > _NOTE_CHARS_MAX:
        raise click.BadParameter(f"at most {_NOTE_CHARS_MAX} characters.", param_hint="--note")
    if not message_id or "\0" in message_id:
        raise click.BadParameter("must not be empty.", param_hint="MESSAGE_ID")
    settings = settings_of(file, assignments)
    with PartitionReader(admin_config(settings), settings.group) as reader:
        asking = Forgetting(reader, settings.topics.state, settings.topics.rekeyed, message_id)
        with shown_offsets("reading the state") as progress:
            found = asking.find(Choice(account, carrier, chain), progress)
        if len(found) != 1:
            _refuse(asking.knowledge, found, as_json=as_json)
            return ExitCode.FAILED
        (known,) = found
        if dry_run:
            _show({"done": False, "dry_run": True, **_known_as_json(known)}, f"would forget {_words(known)}", as_json)
            return ExitCode.OK
        return _carry_out(settings, asking, known, note, timeout_s if wait else None, as_json=as_json)


def _carry_out(
    settings: Settings, asking: Forgetting, known: Known, note: str, timeout_s: float | None, *, as_json: bool
) -> int:
    from processor.settings import admin_config  # noqa: PLC0415  # other commands start faster

    request = asking.ask(admin_config(settings), known, note, time.time_ns() // 1_000_000)
    if timeout_s is None:
        text = f"asked to forget {_words(known)}\nrequest {request.request}"
        _show({"done": False, "request": request.request, **_known_as_json(known)}, text, as_json)
        return ExitCode.OK
    done = _waited(asking, request, timeout_s)
    dropped = {"status": done.status, "sequence": done.sequence}
    what = f"{done.status}, sequence {done.sequence}" if done.status else "nothing that was published"
    text = f"forgot {_name(known)}: {what}\nrequest {request.request}"
    _show({"done": True, "request": request.request, **_known_as_json(known), **dropped}, text, as_json)
    return ExitCode.OK


def _waited(asking: Forgetting, request: Forget, timeout_s: float) -> Forgotten:
    from rich.console import Console  # noqa: PLC0415  # other commands start faster

    with Console(stderr=True).status(f"waiting for the worker that owns partition {asking.owner}"):
        return asking.wait(request, timeout_s)


def _refuse(knowledge: Knowledge, found: list[Known], *, as_json: bool) -> None:
    """Say that nothing is known, or which messages share the id."""
    if as_json:
        print_json({"done": False, "messages": [_known_as_json(known) for known in found]}, indent=2)
        return
    if found:
        click.echo(f"{len(found)} messages have this id; choose one:", err=True)
        for known in found:
            click.echo(f"  {_words(known)}\n    {_options(known)}", err=True)
        return
    click.echo("nothing is known of such a message; its id is the one of the changes, as its pack spells it", err=True)
    for audit in knowledge.audits.values():
        when = datetime.fromtimestamp(audit.appended_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        click.echo(f"it was forgotten at {when}, request {audit.forgotten.forget.request}", err=True)


def _show(fields: dict[str, object], text: str, as_json: bool) -> None:  # the last word of each command
    if as_json:
        print_json(fields, indent=2)
    else:
        click.echo(text)


def _known_as_json(known: Known) -> dict[str, object]:
    state = known.state
    return {
        "message_id": known.message_id,
        "carrier": known.carrier,
        "account": known.account,
        "chain": known.chain,
        "status": STATUSES_BY_RANK[state.status].value if state.status >= 0 else None,
        "sequence": state.sequence,
        "changed_at": state.changed_at,
    }


def _words(known: Known) -> str:
    state = known.state
    status = STATUSES_BY_RANK[state.status].value if state.status >= 0 else "no status yet"
    return f"{_name(known)}: {status}, sequence {state.sequence}"


def _name(known: Known) -> str:
    account = f" of account {printable(known.account)}" if known.account else ""
    chain = f" in chain {printable(known.chain)}" if known.chain else ""
    return f"{known.carrier} {printable(known.message_id)}{account}{chain}"


def _options(known: Known) -> str:
    return shlex.join(["--carrier", known.carrier, "--account", known.account or "", "--chain", known.chain])
