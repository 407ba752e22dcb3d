"""What the demo shows: a live view while it runs, a summary at its end."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from processor.outbox import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from processor.model import StatusEvent
    from processor.simulator import Verdict

Timeline = list[tuple["StatusEvent", str]]

_BARS: Final = " ▁▂▃▄▅▆▇█"
_COLUMNS: Final = (
    (Outcome.PUBLISHED, "green"),
    (Outcome.REPEAT, "dim"),
    (Outcome.LATE, "yellow"),
    (Outcome.CONFLICT, "magenta"),
    (Outcome.PART, "cyan"),
    (Outcome.IGNORED, "dim"),
    (Outcome.FORWARDED, "blue"),
    (Outcome.DEAD_LETTERED, "red"),
)
_STYLES: Final = {str(outcome): style for outcome, style in _COLUMNS}
_CAVEAT: Final = (
    "Runs on librdkafka's in-process mock cluster: a picture of the worker, no proof of exactly-once. "
    "`make test` proves it on a real Apache Kafka."
)


@dataclass(slots=True)
class Shown:
    """The figures on the screen."""

    seed: int
    events: int
    produced: int = 0
    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    timelines: list[Timeline] = field(default_factory=list)
    rates: deque[float] = field(default_factory=lambda: deque([0.0] * 40, maxlen=40))
    began: float = field(default_factory=time.monotonic)
    _last: tuple[float, int] = (0.0, 0)

    def update(self, produced: int, outcomes: Counter[tuple[str, str, str]], timelines: list[Timeline]) -> None:
        """Take over what is to be seen now."""
        now, total = time.monotonic(), outcomes.total()
        at, before = self._last
        if at:
            self.rates.append((total - before) / max(0.001, now - at))
        self._last = (now, total)
        self.produced, self.outcomes, self.timelines = produced, outcomes, timelines


def live_view(shown: Shown) -> RenderableType:
    """Return the picture of this moment."""
    return Panel(
        Group(_throughput(shown), Text(), _outcomes(shown), Text(), _timelines(shown.timelines)),
        title="message status processor: demo",
        subtitle=_CAVEAT,
        subtitle_align="left",
    )


def summary(shown: Shown, verdict: Verdict, books: Iterable[str], *, in_time: bool) -> RenderableType:
    """Return what is left on the screen at the end."""
    elapsed = time.monotonic() - shown.began
    lines = list(books)
    if not in_time:
        lines.insert(0, "the time was over before everything was processed")
    ok = verdict.equal and not lines
    text = Text(f"oracle: {verdict.summary()}" if ok else "\n".join([f"oracle: {verdict.summary()}", *lines]))
    text.stylize("bold green" if ok else "bold red")
    facts = Text(
        f"{shown.produced:,} records, {shown.outcomes.total():,} events processed in {elapsed:.1f} s "
        f"(seed {shown.seed}); what was dead-lettered is the simulator's poison.\n{_CAVEAT}",
        style="dim",
    )
    return Group(_outcomes(shown), Text(), _timelines(shown.timelines), Text(), facts, text)


def _throughput(shown: Shown) -> Text:
    top = max(*shown.rates, 1.0)
    bars = "".join(_BARS[min(8, int(rate / top * 8))] for rate in shown.rates)
    text = Text(f"produced {shown.produced:>7,}   processed {shown.outcomes.total():>7,}   ")
    text.append(bars, style="green")
    text.append(f" {shown.rates[-1]:>8,.0f} events/s")
    return text


def _outcomes(shown: Shown) -> Table:
    table = Table(title="Outcomes by carrier", title_justify="left", pad_edge=False, padding=(0, 1, 0, 0), box=None)
    table.add_column("carrier", no_wrap=True)
    for outcome, style in _COLUMNS:
        heading = "dead" if outcome is Outcome.DEAD_LETTERED else str(outcome)
        table.add_column(heading, justify="right", style=style, no_wrap=True)
    by_carrier: dict[str, Counter[str]] = {}
    for (carrier, became, _), count in shown.outcomes.items():
        by_carrier.setdefault(carrier, Counter())[str(became)] += count
    total: Counter[str] = Counter()
    for carrier in sorted(by_carrier):
        total += by_carrier[carrier]
        table.add_row(carrier, *_cells(by_carrier[carrier]))
    table.add_section()
    table.add_row("all", *_cells(total), style="bold")
    return table


def _cells(counts: Counter[str]) -> list[str]:
    return [f"{counts[outcome]:,}" if counts[outcome] else "·" for outcome, _ in _COLUMNS]


def _timelines(timelines: list[Timeline]) -> Group:
    """Show some messages: what was said of each in order, and what became of it."""
    rows: list[RenderableType] = [Text("Some messages: what carriers said, in order, and what became of it")]
    for line in timelines:
        first = line[0][0]
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{first.meaning.carrier:<14}{first.meaning.channel:<9}", style="bold")
        text.append(f"…{first.message_id[-6:]}  ", style="dim")
        for event, outcome in line[:8]:
            style = _STYLES[str(outcome)]
            if outcome == Outcome.PUBLISHED:
                text.append(f"{event.meaning.status}  ", style=style)
            else:
                text.append(
                    f"{event.meaning.status}({outcome})  ", style=f"{style} strike" if style != "cyan" else style
                )
        rows.append(text)
    return Group(*rows)
