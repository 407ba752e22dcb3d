"""`doctor`: looks at everything that a worker needs, and says what to do."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import click

from processor.cli.common import print_json, settings_of, settings_options
from processor.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from processor.doctor import Finding
    from processor.settings import Settings

_COLOURS = {"ok": "green", "warning": "yellow", "FAIL": "red", "unknown": "cyan"}


@click.command(
    epilog="""\b
Examples:
  status-processor doctor
  status-processor doctor --settings worker.toml --set ordinal=0
  status-processor doctor --json | jq '.findings[] | select(.verdict == "FAIL")'
\b
Run it where a worker runs, or is to run, as its user and with its settings. It changes nothing and may run beside live
workers. What cannot be seen from here is `unknown`. Exit code 0 where nothing failed, else 1.
"""
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@settings_options
def doctor(as_json: bool, file: Path | None, assignments: tuple[str, ...]) -> int:
    """Look at everything that a worker needs: brokers, accesses, topics, registry, packs, clock, disk, ports."""
    settings = settings_of(file, assignments)
    found = []
    for finding in _examine(settings):
        found.append(finding)
        if not as_json:
            word = click.style(f"{finding.verdict:<8}", fg=_COLOURS[finding.verdict])
            click.echo(f"{word} {finding.check}: {_one_line(finding.text)}")
    counts = Counter(finding.verdict.value for finding in found)
    if as_json:
        print_json(findings_as_json(found), indent=2)
    else:
        click.echo(", ".join(f"{counts[word]} {word}" for word in _COLOURS))
    return ExitCode.FAILED if counts["FAIL"] else ExitCode.OK


def _examine(settings: Settings) -> Iterator[Finding]:
    from processor import doctor_machine as machine  # noqa: PLC0415  # other commands start faster
    from processor.doctor import clock_finding  # noqa: PLC0415  # the same
    from processor.doctor_kafka import KafkaChecks  # noqa: PLC0415  # the same

    with KafkaChecks(settings) as kafka:
        yield from kafka.run()
        facts = kafka.facts
    yield machine.registry(settings)
    registry_ms = machine.registry_time_ms(settings)
    yield clock_finding(facts.newest_state_ms, registry_ms, time.time_ns() // 1_000_000)
    yield machine.disk(settings, facts.state_messages)
    yield machine.files(settings, facts.brokers)
    yield machine.port(settings)
    yield machine.ordinal(settings)
    yield from machine.packs(settings)


def findings_as_json(found: Iterable[Finding]) -> dict[str, object]:
    """Return findings for machines."""
    rows = [{"check": one.check, "verdict": one.verdict.value, "text": _one_line(one.text)} for one in found]
    return {"failed": any(row["verdict"] == "FAIL" for row in rows), "findings": rows}


def _one_line(text: str) -> str:
    return " ".join(text.split())
