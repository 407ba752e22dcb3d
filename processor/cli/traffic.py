"""`simulate`: sends made-up traffic, and judges what a worker published of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from processor.cli.common import settings_of, settings_options, shown_progress
from processor.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    from processor.settings import Settings
    from processor.simulator import Simulator

_EVENTS = 100_000
_BEGAN_MS = 5 * 24 * 3600 * 1000
"""How long ago simulated time begins: brokers refuse times to come, and delete what is older than a week."""


@click.command(
    epilog="""\b
Examples:
  status-processor simulate --seed 7 --events 100000
  status-processor simulate --seed 7 --events 100000 --verify
  status-processor simulate --shape many-repeats --rate 500 --set kafka.bootstrap.servers=kafka:9092
  status-processor simulate --live
\b
The same seed and options give the same traffic; with the same --start-ms too, the same byte for byte. --verify sends
nothing: it reads the changes topic from its beginning (read_committed) and says whether it holds what this traffic
should give, no more and no less; so the topics should have seen nothing else. Exit code 0 where all is equal, 1 where
not.
"""
)
@click.option("--seed", type=int, default=1, show_default=True, help="Draws the traffic.")
@click.option("--events", type=click.IntRange(min=1), help=f"So many events, about; {_EVENTS} by default.")
@click.option("--messages", type=click.IntRange(min=1), help="Everything that is told of so many messages.")
@click.option(
    "--shape", default="realistic", show_default=True, help="realistic, few-repeats, many-repeats, all-new, …"
)
@click.option("--poison", type=click.FloatRange(0, 1, max_open=True), default=0.01, show_default=True,
              help="Share of records that cannot be processed.")  # fmt: skip
@click.option("--callbacks", type=click.FloatRange(0, 1), default=0.1, show_default=True,
              help="Share of records that are verbatim callbacks.")  # fmt: skip
@click.option(
    "--rate", type=click.FloatRange(min=0), default=0.0, help="Events a second; as fast as it goes by default."
)
@click.option("--start-ms", type=click.IntRange(min=0), help="When its time begins, ms since 1970; five days ago.")
@click.option("--live", is_flag=True, help="Send as it happens: its time begins now and passes as the clock's does.")
@click.option("--topic", help="Raw topic to send to; the first of topics.raw by default.")
@click.option("--verify", is_flag=True, help="Judge what a worker published of it, instead of sending it.")
@click.option("--wait", "wait_s", type=click.FloatRange(min=0), default=10.0, show_default=True,
              help="With --verify: seconds without a new change after which a worker counts as done.")  # fmt: skip
@settings_options
def simulate(
    *,
    seed: int,
    events: int | None,
    messages: int | None,
    shape: str,
    poison: float,
    callbacks: float,
    rate: float,
    start_ms: int | None,
    live: bool,
    topic: str | None,
    verify: bool,
    wait_s: float,
    file: Path | None,
    assignments: tuple[str, ...],
) -> int:
    """Send made-up carrier traffic to a raw topic, or judge what came of it."""
    from processor.simulator import SHAPES, Simulator  # noqa: PLC0415  # other commands start faster

    if shape not in SHAPES:
        raise click.BadParameter(f"{shape!r} is not one of {', '.join(SHAPES)}.", param_hint="--shape")
    if live and (verify or rate or start_ms is not None):
        raise click.UsageError("--live goes with none of --verify, --rate and --start-ms: its pace is the clock's")
    settings = settings_of(file, assignments)
    if events is None and messages is None and not live:
        events = _EVENTS
    if start_ms is None:
        start_ms = time.time_ns() // 1_000_000 - (0 if live else _BEGAN_MS)
    simulator = Simulator(seed, messages, events, shape, poison, callbacks, start_ms=start_ms)
    if verify:
        return _verify(settings, simulator, wait_s)
    return _send(settings, simulator, topic, rate, events, live=live)


def _send(
    settings: Settings, simulator: Simulator, topic: str | None, rate: float, events: int | None, *, live: bool
) -> int:
    from processor.simulate import as_it_happens, send  # noqa: PLC0415  # other commands start faster

    topic = topic or next((name for name in settings.topics.raw if not name.startswith("^")), None)
    if topic is None:
        raise click.UsageError("topics.raw holds only regular expressions: name the topic with --topic")
    started = time.monotonic()
    with shown_progress("sending", events) as progress:
        records = as_it_happens(simulator) if live else simulator
        sent = send(settings, records, topic, rate=rate, progress=progress)
    seconds = time.monotonic() - started
    click.echo(
        f"sent {sent.records} records with {sent.events} events to {topic} in {seconds:.1f} s "
        f"({sent.events / max(seconds, 0.001):,.0f} events/s)"
    )
    return ExitCode.OK


def _verify(settings: Settings, simulator: Simulator, wait_s: float) -> int:
    from processor.simulate import verify  # noqa: PLC0415  # other commands start faster

    with shown_progress("reading changes", None) as progress:
        verdict = verify(settings, simulator, wait_s=wait_s, progress=progress)
    click.echo(verdict.summary())
    return ExitCode.OK if verdict.equal else ExitCode.FAILED
