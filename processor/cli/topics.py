"""`topics`: makes and checks the worker's own topics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from processor.cli.common import print_json, settings_of, settings_options
from processor.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    from confluent_kafka.admin import AdminClient

    from processor.settings import Settings
    from processor.topics import OwnTopics


@click.group(epilog="\b\nExample:\n  status-processor topics check\n")
def topics() -> None:
    """Make and check the worker's own topics."""


def _client(settings: Settings) -> tuple[AdminClient, OwnTopics]:
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415  # other commands start faster

    from processor.settings import admin_config  # noqa: PLC0415  # the same
    from processor.topic_reader import silent_logger  # noqa: PLC0415  # the same
    from processor.topics import OwnTopics  # noqa: PLC0415  # the same

    return AdminClient(admin_config(settings), logger=silent_logger()), OwnTopics(**settings.topics.own)


@topics.command(epilog="\b\nExample:\n  status-processor topics create --set partitions=24 --set replication_factor=3")
@settings_options
def create(file: Path | None, assignments: tuple[str, ...]) -> int:
    """Create those topics that are missing: the worker's own, and the raw ones that are named."""
    from processor import topics as own  # noqa: PLC0415  # other commands start faster

    settings = settings_of(file, assignments)
    admin, names = _client(settings)
    specs = own.plan(names, settings.partitions, settings.state.retention_ms, settings.topics.raw)
    made = own.create(admin, specs, settings.replication_factor)
    for name in made:
        click.echo(f"created {name}")
    if not made:
        click.echo("all of them are there")
    return ExitCode.OK


@topics.command(
    epilog="\b\nExample:\n  status-processor topics check --json\n\nExit code 1 where a worker could not run."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@settings_options
def check(as_json: bool, file: Path | None, assignments: tuple[str, ...]) -> int:
    """Hold the topics that are there against what the worker needs."""
    from processor import topics as own  # noqa: PLC0415  # other commands start faster

    settings = settings_of(file, assignments)
    admin, names = _client(settings)
    raw = [topic for topic in settings.topics.raw if not topic.startswith("^")]
    facts = own.describe(admin, [*settings.topics.own.values(), *raw])
    retention, replicas = settings.state.retention_ms, settings.replication_factor
    problems = own.check(facts, names, settings.partitions, retention, settings.topics.raw, replicas)
    if as_json:
        print_json(
            {
                "topics": {name: {"partitions": found.partitions} for name, found in facts.items()},
                "problems": [
                    {"severity": problem.severity.value, "topic": problem.topic, "text": problem.text}
                    for problem in problems
                ],
            },
            indent=2,
        )
    else:
        for name, found in facts.items():
            click.echo(f"found {name}: {found.partitions} partitions")
        for problem in problems:
            click.echo(str(problem))
        if not problems:
            click.echo("all is as it should be")
    broken = any(problem.severity is own.Severity.ERROR for problem in problems)
    return ExitCode.FAILED if broken else ExitCode.OK
