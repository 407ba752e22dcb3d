"""The demo shows the worker at work, long enough for everything that the loop does by the clock."""

from __future__ import annotations

import io

from rich.console import Console

from processor.demo import run
from processor.errors import ExitCode


def test_the_demo_ends_with_what_the_oracle_says() -> None:
    shown = io.StringIO()

    code = run(seed=3, events=20_000, seconds=60.0, console=Console(file=shown, width=120))

    assert code == ExitCode.OK, shown.getvalue()
    assert "oracle: equal: " in shown.getvalue()
