"""`reset`: lets the group begin again at a time, offsets and state together."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from processor.cli.common import print_json, settings_of, settings_options, table
from processor.cli.when import iso, ms_of
from processor.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from processor.group_members import Member
    from processor.reset_plan import Move, ResetPlan

_WORDS = ("earliest", "latest")


def _target(_context: click.Context, _parameter: click.Parameter, value: str) -> int | str:
    if value in _WORDS:
        return value
    now = time.time_ns() // 1_000_000
    try:
        found = ms_of(value, now)
    except ValueError as error:
        raise click.BadParameter(f"{error}; or earliest, or latest") from None
    if found > now:
        raise click.BadParameter("lies in the future; `latest` skips all that is there")
    return found


@click.command(
    epilog="""\b
Examples:
  status-processor reset --to 2026-11-23T08:00:00Z --dry-run
  status-processor reset --to 24h
  status-processor reset --to earliest --yes --json
\b
Offsets and state are reset in one transaction: all or nothing. Stop all workers first; it is refused while the group
has members. What is known of messages is forgotten, so what is read again is published again: sequences begin at 1,
and the change ids of the first time come again only where a message is read again from its first event on
(docs/tools.md says what subscribers see). Exit code 1 where it is refused.
"""
)
@click.option("--to", "to", required=True, callback=_target, help="A time, so long ago, `earliest` or `latest`.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@settings_options
def reset(
    *,
    to: int | str,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    file: Path | None,
    assignments: tuple[str, ...],
) -> int:
    """Let the group begin again at a time, with nothing known: offsets and state together."""
    from processor.group_reset import GroupReset, refusal  # noqa: PLC0415  # other commands start faster

    if not dry_run and not yes and not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here: give --yes, or --dry-run")
    settings = settings_of(file, assignments)
    with GroupReset(settings, to) as resetting:
        members = resetting.members()
        plan = resetting.plan()
        if dry_run or not as_json:
            _show(plan, members, as_json=as_json)
        if members or dry_run:
            if members:
                click.echo(f"error: {refusal(plan.group, members)}", err=True)
            return ExitCode.FAILED if members else ExitCode.OK
        if not yes and not click.confirm("Do it?", err=True):
            return ExitCode.FAILED
        resetting.join()
        done = resetting.commit()
    _log(done)
    if as_json:
        print_json(plan_as_json(done, members, done=True), indent=2)
    else:
        click.echo(f"done: group {done.group} begins again at {_words(done.to)}")
    return ExitCode.OK


def _show(plan: ResetPlan, members: Sequence[Member], *, as_json: bool) -> None:
    if as_json:
        print_json(plan_as_json(plan, members, done=False), indent=2)
        return
    for line in plan_as_lines(plan):
        click.echo(line)


def _log(done: ResetPlan) -> None:
    """Leave a line for whoever looks into it later, as a worker would, on standard error."""
    import structlog  # noqa: PLC0415  # only here

    from processor.logs import configure_logging  # noqa: PLC0415  # the same

    configure_logging("info", "auto")
    structlog.get_logger(__name__).info(
        "group was reset",
        group=done.group,
        to=_words(done.to),
        inputs=len(done.raw),
        read_again=done.read_again,
        skipped=done.skipped,
        state=done.state,
    )


def plan_as_json(plan: ResetPlan, members: Sequence[Member], *, done: bool) -> dict[str, object]:
    """Return a plan for machines; offsets that are not known are null."""
    return {
        "done": done,
        "group": plan.group,
        "members": [member.name for member in members],
        "to": plan.to if isinstance(plan.to, str) else iso(plan.to),
        "raw": [_as_json(move) for move in plan.raw],
        "rekeyed": [_as_json(move) for move in plan.rekeyed],
        "left": [_as_json(move) for move in plan.left],
        "read_again": plan.read_again,
        "skipped": plan.skipped,
        "dropped": plan.dropped,
        "state": {"topic": plan.state, "partitions": plan.partitions},
    }


def _as_json(move: Move) -> dict[str, object]:
    return {"topic": move.topic, "partition": move.partition, "committed": move.committed, "target": move.target}


def plan_as_lines(plan: ResetPlan) -> list[str]:
    """Return a plan for people."""
    rows: list[tuple[str, ...]] = [("partition", "committed", "begins at", "read again", "never read")]
    rows += [_row(move) for move in plan.raw]
    lines = table(rows)
    lines.append(
        f"to {_words(plan.to)}: {plan.read_again:,} offsets of raw topics are read again, {plan.skipped:,} never"
    )
    lines.append(f"what {plan.state} knows of messages is void, in all {plan.partitions} partitions")
    if plan.dropped:
        lines.append(
            f"so are forwarded events that nobody has taken yet, if any: {plan.dropped:,} offsets, markers among them"
        )
    if plan.left:
        names = ", ".join(sorted({move.topic for move in plan.left}))
        lines.append(f"the settings no longer name {names}: offsets stay, books begin anew")
    lines.append("what is read again is published again: subscribers see sequences begin at 1")
    return lines


def _row(move: Move) -> tuple[str, ...]:
    committed = "-" if move.committed is None else str(move.committed)
    return (
        f"{move.topic}[{move.partition}]",
        committed,
        str(move.target),
        str(max(0, move.again)),
        str(max(0, -move.again)),
    )


def _words(to: int | str) -> str:
    return to if isinstance(to, str) else iso(to)
