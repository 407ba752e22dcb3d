"""`run` and `demo`: the worker itself, on Kafka or on nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from processor.cli.common import EXIT_CODES, settings_of, settings_options

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    epilog=f"""\b
Examples:
  status-processor run --ordinal 0
  status-processor run --settings worker.toml --set batch.commit_interval_ms=20
  STATUS_PROCESSOR_KAFKA__BOOTSTRAP_SERVERS=kafka:9092 STATUS_PROCESSOR_ORDINAL=0 status-processor run

{EXIT_CODES}"""
)
@click.option("--ordinal", type=click.IntRange(min=0), help="This worker's number: unique, the same after a restart.")
@click.option("--reset-state", is_flag=True, help="Give up the state and build it anew from here; see docs.")
@click.option("--log-level", help="debug, info, warning or error.")
@click.option("--log-format", help="auto, json or console.")
@settings_options
def run(
    *,
    ordinal: int | None,
    reset_state: bool,
    log_level: str | None,
    log_format: str | None,
    file: Path | None,
    assignments: tuple[str, ...],
) -> int:
    """Run a worker until it is told to stop (SIGTERM, SIGINT)."""
    from processor.logs import configure_logging  # noqa: PLC0415  # other commands start faster
    from processor.run import run as run_worker  # noqa: PLC0415  # the same
    from processor.settings import transactional_id  # noqa: PLC0415  # the same

    flags = {"ordinal": ordinal, "log.level": log_level, "log.format": log_format}
    settings = settings_of(file, assignments, **flags)
    transactional_id(settings)  # Says at once where the ordinal is missing.
    configure_logging(settings.log.level, settings.log.format)
    return run_worker(settings, reset_state=reset_state)


@click.command(
    epilog="""\b
Example:
  status-processor demo --seed 7

Needs nothing but this program: Kafka is librdkafka's mock cluster, in this process. It shows what the worker does and
proves no guarantee. Exit code 0 where the oracle agrees with every change.
"""
)
@click.option("--seed", type=int, default=1, show_default=True, help="Draws the traffic.")
@click.option("--events", type=click.IntRange(min=1), default=60_000, show_default=True, help="About so many events.")
@click.option("--seconds", type=click.FloatRange(min=1), default=50.0, show_default=True, help="Longest time.")
def demo(seed: int, events: int, seconds: float) -> int:
    """Show the worker at work on made-up traffic, with nothing installed."""
    from rich.console import Console  # noqa: PLC0415  # other commands start faster

    from processor.demo import run as run_demo  # noqa: PLC0415  # the same
    from processor.logs import configure_logging  # noqa: PLC0415  # the same

    configure_logging("error", "console")  # The picture tells what the log would.
    return run_demo(seed=seed, events=events, seconds=seconds, console=Console())
