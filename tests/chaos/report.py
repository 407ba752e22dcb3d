"""The table of a series of runs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.chaos.scenario import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.run import Result

_COLUMNS: Final = (
    "seed",
    "protocol",
    "traffic",
    "events",
    "kills",
    "freezes",
    "leaves/joins",
    "broker bounces",
    "rebalances",
    "restarts",
    "lost",
    "doubled",
    "wrong",
    "drained in s",
    "seconds",
    "result",
)


def row(result: Result) -> tuple[str, ...]:
    """Return one run's cells."""
    plan = result.scenario
    verdict = "ok" if result.passed else "FAILED"
    return (
        str(plan.seed),
        plan.protocols,
        plan.traffic,
        *_cells([result]),
        f"{result.drained_s:.0f}",
        *_end([result]),
        verdict,
    )


def markdown(results: Sequence[Result]) -> str:
    """Return the table of all runs, with the total."""
    failed = sum(not result.passed for result in results)
    longest = f"≤ {max(result.drained_s for result in results):.0f}"
    verdict = f"{failed} FAILED" if failed else "ok"
    total = ("total", "", "", *_cells(results), longest, *_end(results), verdict)
    return _table([_COLUMNS, *map(row, results), total])


def _cells(results: Sequence[Result]) -> tuple[str, ...]:
    counts: Counter[str] = Counter()
    for result in results:
        counts.update(result.counts)
    judged = [result.judgement for result in results]
    numbers = (
        sum(one.events for one in judged),
        counts[Kind.KILL],
        counts[Kind.FREEZE],
        counts[Kind.LEAVE] + counts[Kind.JOIN] + counts["switch"],
        counts[Kind.BROKER_KILL] + counts[Kind.BROKER_FREEZE],
        counts["rebalances"],
        sum(number for name, number in counts.items() if name.startswith("exit ")),
        sum(one.lost for one in judged),
        sum(one.doubled for one in judged),
        sum(one.wrong for one in judged),
    )
    return tuple(f"{number:,}" for number in numbers)


def _end(results: Sequence[Result]) -> tuple[str]:
    return (f"{sum(result.seconds for result in results):,.0f}",)


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)) + " |" for cells in rows
    ]
    rule = "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"
