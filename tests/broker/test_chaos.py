"""The chaos test in short: one seed for each group protocol; `make chaos` runs many, for longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.run import run
from tests.chaos.scenario import scenario
from tests.kafka import maven

SECONDS = 14.0


@pytest.mark.broker
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [6, 9])
def test_nothing_is_lost_doubled_or_wrong_whatever_is_killed_or_frozen(seed: int, tmp_path: Path) -> None:
    if maven.missing():
        pytest.skip(f"{maven.missing()}: the chaos test needs a broker of its own")
    plan = scenario(seed, SECONDS)

    result = run(plan, tmp_path / "chaos")

    assert result.passed, "\n".join([f"seed {seed}; the workers' logs are in {tmp_path / 'chaos'}", *result.words()])
    assert result.judgement.events > 5_000
