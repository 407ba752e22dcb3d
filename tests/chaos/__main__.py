"""`python -m tests.chaos`: seeds in, a table out."""

from __future__ import annotations

import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from tests.chaos.judge import Judgement
from tests.chaos.report import markdown
from tests.chaos.run import Result, run
from tests.chaos.scenario import Scenario, scenario
from tests.kafka import maven

_DIRECTORY = Path(__file__).parents[2] / ".cache" / "chaos"


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="""\b
Examples:
  python -m tests.chaos --seeds 20 --seconds 60 --report chaos.md
  python -m tests.chaos --seed 7 --keep
\b
Needs a JRE and Maven: each run has a broker of its own. A seed fixes the traffic and when which fault strikes;
what a fault meets is up to the machine. Exit code 0 where nothing was lost, doubled or wrong, 1 otherwise.
""",
)
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="So many runs.")
@click.option("--first", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of the first run.")
@click.option("--seed", "only", type=click.IntRange(min=0), help="Only this seed.")
@click.option("--seconds", type=click.FloatRange(min=5), default=60.0, show_default=True, help="Faults strike so long.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write the table to this file.")
@click.option("--directory", type=click.Path(file_okay=False, path_type=Path), default=_DIRECTORY,
              help="Where logs go; those of a run that fails stay there.")  # fmt: skip
@click.option("--keep", is_flag=True, help="Keep the logs of every run.")
def main(
    *, seeds: int, first: int, only: int | None, seconds: float, report: Path | None, directory: Path, keep: bool
) -> None:
    """Kill, freeze, stop and cut off workers and their broker, and see that nothing is lost, doubled or wrong."""
    # Whoever ends this ends its workers and its broker with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    maven.fetch_jars()
    results: list[Result] = []
    for seed in [only] if only is not None else range(first, first + seeds):
        own = directory / f"seed-{seed}"
        click.echo(f"{time.strftime('%H:%M:%S')} seed {seed} …", nl=False)
        result = _run(scenario(seed, seconds), own)
        results.append(result)
        click.echo(_progress(result))
        if not result.passed:
            _complain(result, own)
        elif not keep:
            shutil.rmtree(own)
    table = markdown(results)
    click.echo(f"\n{table}", nl=False)
    if report is not None:
        report.write_text(_page(results, seconds, table), "utf-8")
    sys.exit(0 if all(result.passed for result in results) else 1)


def _run(plan: Scenario, directory: Path) -> Result:
    """Run a scenario; where the test itself breaks, that is a failure of this seed, and the others still run."""
    try:
        return run(plan, directory)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is told
        (directory / "crash.txt").write_text(traceback.format_exc(), "utf-8")
        return Result(plan, Counter(), Judgement(), [f"the test itself broke ({error!r}), see crash.txt"])


def _progress(result: Result) -> str:
    plan, found = result.scenario, result.judgement
    parts = [
        f" {plan.protocols}, {plan.traffic}: {found.events:,} events",
        ", ".join(f"{number} {name}" for name, number in sorted(result.counts.items())),
        f"{found.lost} lost, {found.doubled} doubled, {found.wrong} wrong",
        f"drained in {result.drained_s:.0f} s, {result.seconds:.0f} s in all",
    ]
    return "; ".join(parts)


def _complain(result: Result, directory: Path) -> None:
    click.echo(f"seed {result.scenario.seed} FAILED; the workers' logs are in {directory}", err=True)
    for line in result.words():
        click.echo(f"  {line}", err=True)


def _page(results: Sequence[Result], seconds: float, table: str) -> str:
    return f"""# Chaos test

{len(results)} runs of {seconds:.0f} s with a fault every 1.5 to 4 s, and traffic all the while: three workers and one
broker, Apache Kafka {maven.VERSION}. Restarts are workers that ended by themselves as documented (a transaction's
outcome unknown, or no broker) and were started again; rebalances count how often a worker was given partitions.
Lost, doubled and wrong are changes, dead letters, states and entries of the books that are not the oracle's.

{table}"""


if __name__ == "__main__":
    main()
