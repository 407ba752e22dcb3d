"""What a schedule is made of, and what it is rich in."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

FAULTS: Final = {
    "crash": 0.012,
    "freeze": 0.015,
    "send_offsets times out": 0.05,
    "send_offsets aborts": 0.05,
    "the position goes back": 0.01,
    "the topic is unknown": 0.02,
    "the broker has not heard that the topic has grown": 0.01,
    "the store is corrupt": 0.004,
    "the broker refuses the batch": 0.1,
    "init times out": 0.05,
    "commit times out before it is done": 0.03,
    "commit times out after it is done": 0.03,
    "commit goes over a new connection": 0.08,
    "abort times out before it is done": 0.05,
    "abort times out after it is done": 0.05,
    "abort goes over a new connection": 0.05,
}
"""Chance of each fault at each of its points."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a schedule is rich in. Rare combinations come up only where one looks for them."""

    faults: Mapping[str, float] = field(default_factory=dict)
    """Chances in place of those of `FAULTS`."""
    faults_max: int | None = None
    sessions_end: float | None = None
    late_requests_arrive: float | None = None
    disks_are_lost: float = 0.25
    shape: Mapping[str, int] = field(default_factory=dict)


PROFILES: Final = {
    "everything": Profile(),
    "late ends": Profile(
        {"commit goes over a new connection": 0.4, "crash": 0.03, "send_offsets aborts": 0.3, "freeze": 0.0},
        faults_max=25,
        late_requests_arrive=0.1,
    ),
    "refused batches": Profile(
        {"the broker refuses the batch": 0.5, "crash": 0.06, "freeze": 0.0},
        faults_max=20,
        shape={"records_max": 5, "records": 40, "ids": 6},
    ),
    "moving partitions": Profile(
        {"crash": 0.0, "freeze": 0.01},
        faults_max=40,
        sessions_end=0.1,
        shape={
            "standbys": 1,
            "workers": 2,
            "partitions": 2,
            "ids": 6,
            "records": 60,
            "records_max": 5,
            "loose": 0,
            "forgets": 0,
        },
    ),
    "forgotten messages": Profile(shape={"forgets": 8, "ids": 2, "records": 30}),
    "crashes": Profile({"crash": 0.06, "freeze": 0.0}, faults_max=20, disks_are_lost=0.0, shape={"loose": 0}),
    "growing topics": Profile(
        {"crash": 0.01, "the topic is unknown": 0.1, "the broker has not heard that the topic has grown": 0.4},
        faults_max=25,
        sessions_end=0.1,
        shape={"partitions": 2, "loose": 1, "grows": 2, "workers": 2, "incremental": True, "records_max": 2},
    ),
    "corrupt stores": Profile({"the store is corrupt": 0.05}, faults_max=12, shape={"standbys": 1, "workers": 2}),
    "frozen workers": Profile({"freeze": 0.08, "crash": 0.005}, faults_max=12, shape={"workers": 3, "records_max": 5}),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What a schedule is made of."""

    partitions: int
    workers: int
    loose: int
    """Partitions of the raw topic that forwards, at first; 0 for none."""
    grows: int
    """Partitions that it gets later. While it has as many as the own topics it does not forward."""
    incremental: bool
    standbys: int
    records: int
    ids: int
    """Messages that the records are about."""
    records_max: int
    deleted: int
    """Records that retention has deleted from each raw partition before the first worker comes."""
    forgets: int
    """Control records that ask for a message to be forgotten; some come twice."""

    @classmethod
    def drawn(cls, draw: random.Random, given: Mapping[str, int]) -> Shape:
        """Draw one, but for what is given."""
        partitions = draw.choice((1, 2, 3))
        drawn = cls(
            partitions=partitions,
            workers=draw.choice((1, 2, 2, 3)),
            loose=draw.choice((0, 0, partitions + 1)),
            grows=draw.choice((0, 1)),
            incremental=draw.random() < 0.5,
            standbys=draw.choice((0, 0, 1)),
            records=draw.randint(6, 24),
            ids=draw.choice((2, 6)),
            records_max=draw.choice((1, 2, 5)),
            deleted=draw.choice((0, 3)),
            forgets=draw.choice((0, 0, 3)),
        )
        return replace(drawn, **given)  # type: ignore[arg-type]  # numbers all of them
