"""The simulator's laws: repeatable, shaped as asked, wrong in every way, and right about what it all means."""

from __future__ import annotations

import ast
import random
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

import processor.simulator as simulator_package
from processor.codec import Decoder
from processor.errors import DeadLetterReason, DecodeError
from processor.model import IgnoreReason, RawCallback, RawStatusEvent
from processor.outbox import Outcome
from processor.pack_files import builtin_texts
from processor.packs import Packs
from processor.simulate import as_it_happens
from processor.simulator import Oracle, SimulatedRecord, Simulator, is_simulated_number, judge
from processor.simulator.poison import Poison
from processor.simulator.traffic import START_MS
from processor.simulator.voices import CARRIERS
from processor.status import Status
from processor.testing import PipelineDriver

DAY_MS = 24 * 3600 * 1000


@cache
def traffic(shape: str = "realistic") -> list[SimulatedRecord]:
    return list(Simulator(7, messages=3_000, shape=shape, poison=0.05))


def fed(records: list[SimulatedRecord]) -> Oracle:
    oracle = Oracle()
    for record in records:
        for event in record.events:
            oracle.feed(record.timestamp_ms, event)
    return oracle


def decoded(records: list[SimulatedRecord]) -> list[RawStatusEvent | RawCallback | DecodeError]:
    return Decoder().decode_batch([record.value for record in records])


def per_message(records: list[SimulatedRecord]) -> Counter[object]:
    return Counter(event.key for record in records for event in record.events if event.key is not None)


def test_the_same_arguments_give_the_same_records() -> None:
    simulator = Simulator(3, messages=400, callbacks=0.3)

    assert list(simulator) == list(simulator) == list(Simulator(3, messages=400, callbacks=0.3))


def test_another_process_gives_the_same_records() -> None:
    script = (
        "from hashlib import sha256; from processor.simulator import Simulator;"
        "print(sha256(b''.join(r.key + r.value for r in Simulator(3, messages=400, poison=0.1))).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True, text=True
        ).stdout
        for seed in ("1", "2")
    }

    assert len(digests) == 1


def test_neither_simulator_nor_oracle_leans_on_what_they_judge() -> None:
    judged = {"processor.reduce", "processor.packs", "processor.extract", "processor.pipeline", "processor.change"}
    for path in Path(simulator_package.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.module not in judged, path.name
            elif isinstance(node, ast.Import):
                assert not judged & {alias.name for alias in node.names}, path.name


def test_fewer_events_are_the_beginning_of_more() -> None:
    few, more = list(Simulator(3, events=700)), list(Simulator(3, events=900))

    assert few == more[: len(few)]
    assert sum(len(record.events) for record in few) >= 700 > sum(len(record.events) for record in few[:-1])


def test_message_ids_differ_between_seeds() -> None:
    first, second = (set(per_message(list(Simulator(seed, messages=500)))) for seed in (1, 2))

    assert len(first) == len(second) == 500
    assert not first & second


def test_another_start_moves_every_record_and_keeps_the_messages() -> None:
    here = list(Simulator(3, messages=100, callbacks=0.0, poison=0.0))
    there = list(Simulator(3, messages=100, callbacks=0.0, poison=0.0, start_ms=START_MS + 5_000))

    assert [record.timestamp_ms + 5_000 for record in here] == [record.timestamp_ms for record in there]
    assert [record.key for record in here] == [record.key for record in there]


def test_time_never_falls() -> None:
    times = [record.timestamp_ms for record in traffic()]

    assert times == sorted(times)


def test_realistic_traffic_has_about_four_events_a_message_and_half_of_them_change_nothing() -> None:
    events = per_message(traffic())
    outcomes = fed(traffic()).by_outcome

    assert 3.5 < events.total() / len(events) < 4.5
    assert 0.4 < outcomes[Outcome.PUBLISHED] / events.total() < 0.6


def test_shapes_repeat_as_much_as_their_names_say() -> None:
    shares = []
    for shape in ("few-repeats", "realistic", "many-repeats"):
        outcomes = fed(traffic(shape)).by_outcome
        shares.append(outcomes[Outcome.PUBLISHED] / outcomes.total())

    few, realistic, many = shares
    assert few > 0.75
    assert 0.4 < realistic < 0.6
    assert many < 0.25


def test_in_the_all_new_shape_every_event_is_a_message_of_its_own() -> None:
    events = per_message(traffic("all-new"))

    assert set(events.values()) == {1}
    assert fed(traffic("all-new")).by_outcome[Outcome.PUBLISHED] == len(events) == 3_000


def test_a_flood_is_nothing_but_dead_letters() -> None:
    records = traffic("flood")

    assert len(records) == 3_000
    assert set(fed(records).by_outcome) == {Outcome.DEAD_LETTERED}
    assert {record.poison for record in records} == set(Poison)


@pytest.mark.parametrize("shape", ["realistic", "all-new"])
def test_the_share_of_poison_is_as_asked_and_every_kind_occurs(shape: str) -> None:
    kinds = Counter(record.poison for record in traffic(shape) if record.poison is not None)

    assert set(kinds) == set(Poison)
    assert kinds.total() / len(traffic(shape)) == pytest.approx(0.05, abs=0.015)
    assert not [record for record in Simulator(1, messages=300, poison=0.0) if record.poison]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_share_of_callbacks_is_about_as_asked(share: float) -> None:
    records = list(Simulator(5, messages=1_500, callbacks=share, poison=0.0))
    callbacks = sum(isinstance(item, RawCallback) for item in decoded(records))

    # Reports about parts never go by callback, so even a share of 1 leaves some events.
    assert callbacks / len(records) == pytest.approx(share, abs=0.05 if share < 1 else 0.15)


def test_some_callbacks_hold_reports_of_several_messages() -> None:
    several = [record for record in traffic() if len({event.key for event in record.events}) > 1]

    assert len(several) > 20
    assert {event.carrier for record in several for event in record.events} == {"infobip", "meta-whatsapp"}


def test_conversations_overlap_within_a_bounded_window() -> None:
    last = {event.key: at for at, record in enumerate(traffic()) for event in record.events if event.key}
    live: set[object] = set()
    most = 0
    for at, record in enumerate(traffic()):
        live |= {event.key for event in record.events if event.key}
        most = max(most, len(live))
        live -= {event.key for event in record.events if event.key and last[event.key] == at}

    assert 100 < most < 1_500


def test_every_life_story_occurs() -> None:
    oracle = fed(traffic())
    seen = {(step.previous, step.status) for steps in oracle.histories().values() for step in steps}
    outcomes = set(oracle.by_outcome)
    ignored = {reason for _, outcome, reason in oracle.totals if outcome == Outcome.IGNORED}

    assert {
        (Status.EXPIRED, Status.DELIVERED),
        (Status.UNDELIVERED, Status.DELIVERED),
        (Status.SENT, Status.READ),
        (Status.REPLY, Status.REPLY),
        (Status.PARTIALLYSENT, Status.SENT),
        (Status.PARTIALDELIVERED, Status.DELIVERED),
        (None, Status.INVALIDNUMBER),
    } <= seen
    assert set(Outcome) - {Outcome.FORWARDED} == outcomes
    assert {IgnoreReason.LISTED, IgnoreReason.UNATTRIBUTED} == ignored


def test_no_message_is_silent_for_so_long_that_it_is_forgotten() -> None:
    first: dict[object, int] = {}
    silent = 0
    for record in traffic():
        for event in record.events:
            silent = max(silent, record.timestamp_ms - first.setdefault(event.key, record.timestamp_ms))

    assert DAY_MS < silent < 7 * DAY_MS
    assert fed(traffic()).forgotten == 0


def test_a_repeated_event_may_come_with_other_words_and_another_time() -> None:
    reports: dict[object, list[RawStatusEvent]] = {}
    for item in decoded(traffic("many-repeats")):
        if isinstance(item, RawStatusEvent):
            facts = (item.message_id, item.status, item.error_code, item.occurred_at, item.part_number)
            reports.setdefault(facts, []).append(item)
    repeated = [same for same in reports.values() if len(same) > 1]

    assert repeated
    assert any(len({report.received_at for report in same}) > 1 for same in repeated)
    assert any(len({report.error_text for report in same}) > 1 for same in repeated)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_traffic_can_be_narrowed_to_any_one_carrier(carrier: str) -> None:
    records = list(Simulator(1, messages=60, carriers=[carrier], poison=0.2))

    assert {event.carrier for record in records for event in record.events} <= {carrier, "unknown"}
    assert len(per_message(records)) == 60


def test_every_recipient_is_from_the_one_range() -> None:
    recipients = [item.recipient for item in decoded(traffic()) if isinstance(item, RawStatusEvent)]

    assert recipients
    assert all(recipient and is_simulated_number(recipient) for recipient in recipients)


def test_every_number_in_a_good_record_is_from_the_one_range() -> None:
    numbers = {
        number
        for record in traffic()
        if record.poison is None
        for number in re.findall(rb"(?:\+|%2B)\d{8,15}", record.value)
    }

    assert numbers
    assert all(is_simulated_number(number.decode()) for number in numbers)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("+2348030012345", True),
        ("to=2348030000000&x", True),
        ("To=whatsapp%3A%2B2348030099999", True),
        ("+2348031112223", False),
        ("+23480300123", False),
        ("12348030012345", False),
        ("23480300123456", False),
        ("", False),
    ],
)
def test_a_simulated_number_is_found_in_any_text(text: str, found: bool) -> None:
    assert is_simulated_number(text) is found


def test_what_cannot_be_decoded_is_what_should_not_be() -> None:
    for record, item in zip(traffic(), decoded(traffic()), strict=True):
        expected = record.events[0].dead_letter is DeadLetterReason.UNDECODABLE
        assert isinstance(item, DecodeError) is expected, record.poison


def test_the_key_is_the_id_of_a_message_in_the_record() -> None:
    for record in traffic():
        named = {event.key.message_id.encode() for event in record.events if event.key}
        if named and record.poison is None:
            assert record.key in named


@pytest.mark.parametrize(
    "wrong",
    [{"shape": "square"}, {"carriers": ["nobody"]}, {"carriers": []}, {"poison": 1.0}, {"callbacks": 1.1}],
)
def test_a_wrong_argument_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Simulator(1, **wrong)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("shape", ["realistic", "few-repeats", "many-repeats", "all-new", "flood"])
def test_the_core_and_the_oracle_agree_on_every_record(shape: str) -> None:
    driver = PipelineDriver(Packs.load(builtin_texts()))
    oracle = Oracle()
    for record in Simulator(11, messages=400, shape=shape, poison=0.05, callbacks=0.3):
        driver.pipe(record.value, key=record.key, partition=0, timestamp_ms=record.timestamp_ms)
        for event in record.events:
            oracle.feed(record.timestamp_ms, event)

    verdict = judge(oracle, driver.changes, exact=True)
    assert verdict.equal, verdict.summary()
    assert oracle.totals == Counter({key: n for key, n in driver.outcomes.items() if key[1] != Outcome.FORWARDED})


def test_the_core_and_the_oracle_agree_in_any_order() -> None:
    records = list(Simulator(12, messages=400, callbacks=0.3))
    oracle = fed(records)
    shuffler = random.Random(1)
    shuffler.shuffle(records)
    driver = PipelineDriver(Packs.load(builtin_texts()))
    for record in records:
        driver.pipe(record.value, partition=shuffler.randrange(6), timestamp_ms=record.timestamp_ms)

    verdict = judge(oracle, driver.changes)
    assert verdict.equal, verdict.summary()
    assert not judge(oracle, driver.changes, exact=True).equal


def test_records_come_when_their_time_has_come_and_what_is_late_comes_at_once() -> None:
    records = list(Simulator(3, events=200, start_ms=START_MS))
    passed_s = 0.0
    waits: list[float] = []

    def clock() -> float:
        return START_MS / 1000 + passed_s

    def sleep(seconds: float) -> None:
        nonlocal passed_s
        waits.append(seconds)
        passed_s += seconds

    given = []
    for record in as_it_happens(records, clock, sleep):
        assert clock() >= record.timestamp_ms / 1000 - 1e-3
        given.append(record)
        passed_s += 0.001 * len(given)  # Sending takes longer and longer.

    assert given == records
    assert 0 < len(waits) < len(records)
    assert all(seconds > 0 for seconds in waits)
