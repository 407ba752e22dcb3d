"""What a seed means: the traffic, the group protocols, and which fault strikes when. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

WORKERS: Final = 3
SESSION_TIMEOUT_S: Final = 6.0
"""Of both group protocols: whoever is frozen for longer is thrown out."""
TRANSACTION_TIMEOUT_S: Final = 5.0
PAUSE_S: Final = (1.5, 4.0)
"""Time between two faults."""
BROKER_REST_S: Final = 12.0
"""Least time between the beginnings of two faults of the broker, so that work is done between them."""


class Kind(StrEnum):
    """What can go wrong."""

    KILL = "kill"
    """A worker is killed and starts again with the same ordinal."""
    FREEZE = "freeze"
    """A worker is stopped as by a debugger; mostly for so long that others take over, so that it wakes as a zombie."""
    LEAVE = "leave"
    """A worker leaves in order and joins again."""
    JOIN = "join"
    """One more worker joins, and leaves again."""
    BROKER_KILL = "broker kill"
    """The broker is killed and starts again."""
    BROKER_FREEZE = "broker freeze"
    """The broker answers nobody for some seconds; its connections stay open."""

    @property
    def is_of_broker(self) -> bool:
        """Whether it strikes the broker, and so everybody."""
        return self in {Kind.BROKER_KILL, Kind.BROKER_FREEZE}


_DECK: Final = (
    *(Kind.KILL,) * 4,
    *(Kind.FREEZE,) * 3,
    *(Kind.LEAVE,) * 2,
    Kind.JOIN,
    Kind.BROKER_KILL,
    Kind.BROKER_FREEZE,
)
"""Dealt in random order and then shuffled again, so that a short run has every kind, too."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. A worker that is down already cannot suffer it: the next one does."""

    at_s: float
    kind: Kind
    ordinal: int
    lasts_s: float
    wipe: bool = False
    """Whether the local state is lost as well."""

    def __str__(self) -> str:
        """Say it in one line."""
        whom = "" if self.kind.is_of_broker else f" worker {self.ordinal}"
        return f"{self.at_s:6.1f} s  {self.kind}{whom} for {self.lasts_s:.1f} s{' and wipe' if self.wipe else ''}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens under one seed."""

    seed: int
    seconds: float
    protocol: str
    switch_to: str | None
    """The group protocol that workers are switched to in the middle, one by one."""
    forwarded: bool
    """Whether events have to be forwarded to their owners; otherwise the raw topic is keyed and all are in place."""
    faults: tuple[Fault, ...]

    @property
    def protocols(self) -> str:
        """The group protocols in one word."""
        return f"{self.protocol}→{self.switch_to}" if self.switch_to else self.protocol

    @property
    def traffic(self) -> str:
        """The traffic in one word."""
        return "forwarded" if self.forwarded else "keyed"


def scenario(seed: int, seconds: float) -> Scenario:
    """Draw a scenario; eight seeds in a row have every combination of protocol, switch and traffic."""
    protocols = ("classic", "consumer")
    protocol = protocols[seed & 1]
    return Scenario(
        seed=seed,
        seconds=seconds,
        protocol=protocol,
        switch_to=protocols[1 - (seed & 1)] if seed & 4 else None,
        forwarded=bool(seed & 2),
        faults=tuple(_faults(Random(seed), seconds)),
    )


def _faults(rng: Random, seconds: float) -> list[Fault]:
    faults: list[Fault] = []
    deck: list[Kind] = []
    broker_at = -BROKER_REST_S
    at = rng.uniform(*PAUSE_S)
    while at < seconds:
        deck = deck or rng.sample(_DECK, len(_DECK))
        kind = deck.pop()
        if kind.is_of_broker and at - broker_at < BROKER_REST_S:
            kind = Kind.KILL
        if kind.is_of_broker:
            broker_at = at
        wipe = kind is Kind.KILL and rng.random() < 0.3
        faults.append(Fault(at, kind, rng.randrange(WORKERS), _lasts(rng, kind), wipe))
        at += rng.uniform(*PAUSE_S)
    return faults


def _lasts(rng: Random, kind: Kind) -> float:
    match kind:
        case Kind.KILL:
            return 0.0 if rng.random() < 0.5 else rng.uniform(0.5, SESSION_TIMEOUT_S + 2)
        case Kind.FREEZE:
            is_long = rng.random() < 0.75
            return rng.uniform(SESSION_TIMEOUT_S + 1, SESSION_TIMEOUT_S + 4) if is_long else rng.uniform(0.5, 4)
        case Kind.LEAVE | Kind.BROKER_KILL:
            return rng.uniform(0, 4)
        case Kind.JOIN:
            return rng.uniform(4, 10)
        case Kind.BROKER_FREEZE:
            return rng.uniform(1, TRANSACTION_TIMEOUT_S + 4)
