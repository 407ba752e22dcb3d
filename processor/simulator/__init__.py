"""Made-up carrier traffic that knows what it means, and an oracle that says what the worker must make of it."""

from __future__ import annotations

from processor.simulator.addresses import SIMULATED_NUMBER, is_simulated_number
from processor.simulator.expected import ChangeKey, ExpectedEvent
from processor.simulator.oracle import ExpectedChange, Oracle
from processor.simulator.shapes import SHAPES
from processor.simulator.traffic import SimulatedRecord, Simulator
from processor.simulator.verdict import Verdict, judge

__all__ = [
    "SHAPES",
    "SIMULATED_NUMBER",
    "ChangeKey",
    "ExpectedChange",
    "ExpectedEvent",
    "Oracle",
    "SimulatedRecord",
    "Simulator",
    "Verdict",
    "is_simulated_number",
    "judge",
]
