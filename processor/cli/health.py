"""`health`: asks the worker on this machine how it is; what a container's health check runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from processor.cli.common import print_json, settings_of, settings_options
from processor.errors import ExitCode, TransientError

if TYPE_CHECKING:
    from pathlib import Path

    from processor.health_client import Answer
    from processor.settings import Settings

_PAUSE_S: Final = 0.5


@click.command(
    epilog="""\b
Examples:
  status-processor health
  status-processor health --ready --wait 60
\b
Alive is a worker whose loop turns and moves every partition that it processes; ready is one that is a member of the
group and processes all that it was given. It asks the HTTP port that metrics.host and metrics.port name. Exit code 0
where the answer is yes, 1 where it is no or nobody answers.
"""
)
@click.option("--ready", is_flag=True, help="Ask whether it is ready (/readyz), not only alive (/livez).")
@click.option("--wait", "wait_s", type=click.FloatRange(min=0), default=0.0, help="Seconds to wait for a yes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@settings_options
def health(*, ready: bool, wait_s: float, as_json: bool, file: Path | None, assignments: tuple[str, ...]) -> int:
    """Ask the worker on this machine how it is."""
    settings = settings_of(file, assignments)
    answer = _answer(settings, "/readyz" if ready else "/livez", time.monotonic() + wait_s)
    word = "ready" if ready else "alive"
    if as_json:
        print_json({"ok": answer.ok, "reasons": answer.reasons}, indent=2)
    elif answer.ok:
        click.echo(word)
    else:
        click.echo(f"not {word}: {'; '.join(answer.reasons)}")
    return ExitCode.OK if answer.ok else ExitCode.FAILED


def _answer(settings: Settings, path: str, deadline: float) -> Answer:
    """Ask until the answer is yes or the time is up, and return the last one."""
    from processor.health_client import Answer, ask  # noqa: PLC0415  # other commands start faster

    while True:
        try:
            answer = ask(settings.metrics, path)
        except TransientError as error:
            answer = Answer(ok=False, reasons=(str(error),))
        if answer.ok or time.monotonic() >= deadline:
            return answer
        time.sleep(_PAUSE_S)
