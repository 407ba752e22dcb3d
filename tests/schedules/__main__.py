"""``python -m tests.schedules``: many schedules, one again by its seed, or the mutants."""

from __future__ import annotations

import argparse
import sys
import time

import click

from tests.schedules.mutants import MUTANTS
from tests.schedules.runner import first_caught, run_all, run_range
from tests.schedules.world import Broken


def main() -> int:
    """Run what is asked for; 1 where a law was broken or a mutant got away."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.schedules",
        description=__doc__,
        epilog="examples: --schedules 100000   |   --seed 1234   |   --mutants",
    )
    parser.add_argument("--schedules", type=int, default=10_000, help="how many to run (default 10,000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--mutants", action="store_true", help="tell how many schedules each mutant survives")
    options = parser.parse_args()
    if options.mutants:
        return _mutants()
    began = time.monotonic()
    try:
        if options.seed is not None:
            counts = run_range(options.seed, options.seed + 1)
        else:
            counts = run_all(options.schedules, options.first, _tell)
    except Broken as broken:
        click.echo(broken)
        return 1
    click.echo(f"{counts.pop('schedules'):,} schedules, all laws hold, {time.monotonic() - began:.0f} s")
    for name, times in counts.most_common():
        click.echo(f"{times:>10,}  {name}")
    return 0


def _tell(done: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{done:,} schedules\r", err=True, nl=False)


def _mutants() -> int:
    away = 0
    for mutant, profile in MUTANTS.items():
        caught = first_caught(profile, 2_000, mutant)
        away += caught is None
        told = f"caught by schedule {caught[0]:>4} of {profile!r}" if caught else "GOT AWAY"
        click.echo(f"{mutant.__name__:<45} {told}")
    return 1 if away else 0


if __name__ == "__main__":
    sys.exit(main())
