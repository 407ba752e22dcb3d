"""Says at the end with what the deployment was checked, and what could not be."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.deploy.tools import WITH

if TYPE_CHECKING:
    import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tools that were at hand; of what was not checked, say why."""
    stats = terminalreporter.stats
    used = {
        str(value)
        for report in [*stats.get("passed", []), *stats.get("failed", [])]
        for name, value in getattr(report, "user_properties", ())
        if name == WITH
    }
    left_out: dict[str, set[str]] = defaultdict(set)
    for report in stats.get("skipped", []):
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        left_out[reason.removeprefix("Skipped: ")].add(report.nodeid.split("[", 1)[0])
    if not used and not left_out:
        return
    terminalreporter.section("what the deployment was checked with")
    for line in sorted(used):
        terminalreporter.write_line(line)
    for reason, tests in sorted(left_out.items()):
        terminalreporter.write_line(f"could not run {len(tests)}, {reason}:")
        for test in sorted(tests):
            terminalreporter.write_line(f"  {test}")
