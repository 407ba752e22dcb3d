"""The worker's real shell under seeded schedules of faults, and proof that these find what is broken on purpose."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.schedules.mutants import MUTANTS
from tests.schedules.runner import first_caught, run_all

SCHEDULES = int(os.environ.get("SCHEDULES", "2000"))
"""`make simulate` runs more."""


@pytest.mark.timeout(600)
def test_no_schedule_of_faults_breaks_a_law() -> None:
    counts = run_all(SCHEDULES)

    assert counts["schedules"] == SCHEDULES
    for fault in ("kills", "freeze", "commit goes over a new connection", "send_offsets times out", "fatal"):
        assert counts[fault] > SCHEDULES / 500, f"the schedules hardly know {fault!r}"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_worker_with_a_rule_broken_on_purpose_is_caught(mutant: Callable[[], AbstractContextManager[None]]) -> None:
    assert first_caught(MUTANTS[mutant], 1_500, mutant) is not None
