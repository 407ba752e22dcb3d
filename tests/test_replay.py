"""A replay sends each letter back once, whatever happens to it, and says which it cannot send and why."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.cli.letters_shown import planned_as_text, report_as_json, report_as_lines
from processor.codec import Decoder
from processor.errors import TransientError
from processor.headers import (
    ERRORS_VALUE_BYTES,
    ERRORS_VALUE_SHA256,
    ORIGIN,
    REPLAY_ATTEMPT,
    REPLAY_FIRST_FAILED,
    REPLAY_INDEX,
    REPLAY_OF,
    REPLAY_TIMESTAMP,
    Headers,
    headers_of,
    origin_of,
)
from processor.identity import owner_of
from processor.letter_reader import Span
from processor.letters import LetterFilter, Position
from processor.model import Source
from processor.pack_files import builtin_texts
from processor.packs import Packs
from processor.rekeyed import decode_rekeyed
from processor.replay import Planned, Replay, ReplayOptions, ReplayReport
from processor.replay_plan import Judge, Outgoing, Skip
from processor.replay_sender import LettersRefusedError
from processor.schema_supply import SchemaSupply
from processor.testing import RAW_TOPIC, REKEYED_TOPIC, START_MS, PipelineDriver, callback, raw_event
from tests.letter_records import PARTITION, PlacedFake, letters_of, reading_of
from tests.test_letters import reply

DEAD = "dead"
PACKS = Packs.load(builtin_texts())


class Killed(BaseException):
    """The process ended here."""


@dataclass
class FakeLog:
    """Topics in memory: the dead letters with their marks, and what was sent elsewhere."""

    letters: dict[int, list[PlacedFake]] = field(default_factory=dict)
    sent: list[Outgoing] = field(default_factory=list)
    others: dict[tuple[str, int, int], PlacedFake] = field(default_factory=dict)
    transactions: list[int] = field(default_factory=list)
    sessions: int = 0

    def commit(self, records: Sequence[Outgoing]) -> None:
        self.transactions.append(len(records))
        for record in records:
            if record.topic == DEAD:
                log = self.letters.setdefault(record.partition, [])
                log.append(PlacedFake(len(log), 0, record.value, record.key, record.headers, record.partition))
            else:
                self.sent.append(record)

    # What a LetterReader does.

    def spans(self, since_ms: int | None = None) -> dict[int, Span]:
        assert since_ms is None
        return {partition: Span(0, len(log)) for partition, log in self.letters.items()}

    def read(self, spans: Mapping[int, Span]) -> Iterator[list[PlacedFake]]:
        for partition, span in spans.items():
            yield self.letters[partition][span.low : span.high]

    def record(self, topic: str, position: Position) -> PlacedFake | None:
        return self.others.get((topic, *position))


@dataclass
class FakeSender:
    """Sends into the log; `faults` are taken one for each transaction."""

    log: FakeLog
    faults: list[str] = field(default_factory=list)
    refuses: frozenset[bytes] = frozenset()
    doubted: bool = False

    def start(self) -> None:
        self.doubted = False
        self.log.sessions += 1

    def send(self, records: Sequence[Outgoing]) -> None:
        assert not self.doubted
        fault = self.faults.pop(0) if self.faults else "none"
        if any(record.value in self.refuses for record in records):
            raise LettersRefusedError("too large")
        if fault == "killed before the commit":
            raise Killed
        if fault == "aborted":
            raise TransientError("injected")
        self.log.commit(records)
        self.doubted = fault == "doubted"
        if fault == "killed after the commit":
            raise Killed


FAULTS = ("none", "aborted", "doubted", "killed before the commit", "killed after the commit")


def replay(log: FakeLog, sender: FakeSender | None, **more: Any) -> Replay:
    options = {name: more.pop(name) for name in ("limit", "rate") if name in more}
    judged: dict[str, Any] = {
        name: more.pop(name) for name in ("attempts_max", "oldest_ms", "partitions", "raw") if name in more
    }
    judge: dict[str, Any] = {
        "partitions": {RAW_TOPIC: 6, REKEYED_TOPIC: 6},
        "raw": [RAW_TOPIC],
        "rekeyed": REKEYED_TOPIC,
        **judged,
    }
    return Replay(
        reader=log,  # type: ignore[arg-type]  # it has what a replay asks of one
        reading=reading_of(PACKS),
        schemas=SchemaSupply(Decoder(), None),
        judge=Judge(**judge),
        wanted=more.pop("wanted", LetterFilter()),
        options=ReplayOptions(topic=DEAD, by="alice@ops", **options),
        sender=sender,  # type: ignore[arg-type]  # the same
        sleep=lambda _: None,
        **more,
    )


def run(log: FakeLog, **more: Any) -> ReplayReport:
    return replay(log, FakeSender(log), **more).run()


def unknown(count: int, **facts: Any) -> FakeLog:
    """Return a log with letters that no pack understands, one for each of some messages."""
    driver = PipelineDriver(PACKS)
    for number in range(count):
        driver.pipe(raw_event("acme", f"m{number}", "landed", **facts), partition=number % 6, key=f"k{number}".encode())
    return FakeLog({PARTITION: letters_of(driver)})


def keys(log: FakeLog) -> Counter[bytes | None]:
    return Counter(record.key for record in log.sent)


def test_key_and_value_go_back_to_where_they_came_from_with_what_a_worker_must_know() -> None:
    driver = PipelineDriver(PACKS)
    driver.pipe(raw_event("acme", "m1", "landed"), partition=4, key=b"k", headers=[("trace", b"1"), (ORIGIN, b"x")])
    log = FakeLog({PARTITION: letters_of(driver)})

    report = run(log)

    assert log.sent == [
        Outgoing(
            RAW_TOPIC,
            4,
            b"k",
            driver.dead_letters[0].record.value(),
            [
                ("trace", b"1"),
                (REPLAY_ATTEMPT, b"1"),
                (REPLAY_OF, b"3:0"),
                (REPLAY_FIRST_FAILED, str(START_MS + 1000).encode()),
                (REPLAY_TIMESTAMP, str(START_MS).encode()),
                (REPLAY_INDEX, b"0"),
            ],
        )
    ]
    assert report.sent == {"unknown_carrier": 1}


def test_only_the_failed_element_of_a_batch_is_processed_again() -> None:
    driver = PipelineDriver(PACKS)
    bodies = (
        b'{"results": [{"messageId": "a", "status": {"name": "PENDING_ENROUTE"}}, {"messageId": "b", "status": {}}]}'
    )
    driver.pipe(callback("infobip", bodies, "application/json", channel="SMS"))
    log = FakeLog({PARTITION: letters_of(driver)})
    run(log)
    outcomes = driver.outcomes.copy()

    (again,) = log.sent
    driver.pipe(again.value, headers=again.headers)

    assert sum((driver.outcomes - outcomes).values()) == 1
    (_, failed) = driver.dead_letters
    assert failed.source.index == 1


def test_a_second_replay_finds_nothing() -> None:
    log = unknown(3)

    assert run(log).letters == 3
    assert run(log).letters == 0
    assert set(keys(log).values()) == {1}


def test_a_letter_that_failed_again_goes_on_counting_until_the_maximum() -> None:
    driver = PipelineDriver(PACKS)
    driver.pipe(raw_event("acme", "m1", "landed"))
    log = FakeLog({0: []})
    attempts = []
    report = ReplayReport()
    for _ in range(5):
        log.letters[0] += letters_of(driver, first=len(log.letters[0]))
        log.letters[0] = [
            PlacedFake(r.at, r.time_ms, r.payload, r.record_key, r.record_headers, 0) for r in log.letters[0]
        ]
        driver.dead_letters.clear()
        report = run(log, attempts_max=3)
        if not report.letters:
            break
        attempts.append(dict(log.sent[-1].headers)[REPLAY_ATTEMPT])
        driver.advance_time(60_000)
        driver.pipe(log.sent[-1].value, headers=log.sent[-1].headers)

    assert attempts == [b"1", b"2", b"3"]
    assert report.skipped == {Skip.ATTEMPTS: 1}
    assert {dict(record.headers)[REPLAY_TIMESTAMP] for record in log.sent} == {str(START_MS).encode()}
    assert {dict(record.headers)[REPLAY_FIRST_FAILED] for record in log.sent} == {str(START_MS + 1000).encode()}


@given(
    faults=st.lists(st.sampled_from(FAULTS), max_size=12),
    rate=st.integers(1, 7),
    filters=st.lists(st.sets(st.integers(0, 19), min_size=1), max_size=3),
)
def test_whatever_happens_each_letter_is_sent_once(faults: list[str], rate: int, filters: list[set[int]]) -> None:
    log = FakeLog({PARTITION: [*LETTERS]})
    left = [*faults]
    chosen = [LetterFilter(positions=frozenset((PARTITION, offset) for offset in one)) for one in filters]

    for wanted in [*chosen, LetterFilter()]:
        for _ in range(len(faults) + 1):
            sender = FakeSender(log, left)
            try:
                report = replay(log, sender, wanted=wanted, rate=rate).run()
            except (Killed, TransientError):
                continue
            assert report.left == 0
            break

    assert keys(log) == Counter(record.record_key for record in LETTERS)


LETTERS = unknown(20).letters[PARTITION]


def test_after_a_doubtful_connection_the_marks_are_read_again_before_anything_is_sent() -> None:
    log = unknown(4)

    replay(log, FakeSender(log, ["doubted"]), rate=2).run()

    assert (log.sessions, len(log.sent)) == (2, 4)


def test_trouble_without_end_is_told() -> None:
    log = unknown(1)

    with pytest.raises(TransientError, match="injected"):
        replay(log, FakeSender(log, ["aborted"] * 100)).run()

    assert (log.sessions, log.sent) == (5, [])


def test_a_letter_that_its_topic_refuses_is_found_and_the_others_are_sent() -> None:
    log = unknown(20)
    bad = log.letters[PARTITION][7].value()
    assert bad is not None

    report = replay(log, FakeSender(log, refuses=frozenset({bad}))).run()

    assert report.letters == 19
    assert report.skipped == {Skip.REFUSED: 1}
    assert keys(log)[b"k7"] == 0


def test_a_limit_takes_the_oldest_and_says_what_is_left() -> None:
    log = unknown(5)
    later = [PlacedFake(r.at, r.time_ms - 10 * r.at, r.payload, r.record_key, r.record_headers) for r in LETTERS[:5]]
    log.letters[PARTITION] = later

    report = run(log, limit=2)

    assert (report.letters, report.left) == (2, 3)
    assert set(keys(log)) == {b"k3", b"k4"}


def test_a_rate_is_kept_on_the_average() -> None:
    log = unknown(20)
    now = 100.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    planned = replay(log, FakeSender(log), rate=5, clock=lambda: now)
    planned.sleep = sleep
    planned.run()

    assert now - 100 == pytest.approx(3)
    assert log.transactions == [6, 6, 6, 6], "five letters and a mark each"


def test_a_dry_run_says_the_same_and_changes_nothing() -> None:
    log = unknown(6)
    before = [*log.letters[PARTITION]]

    dry = replay(log, None, limit=4).run()

    assert (log.letters[PARTITION], log.sent, log.sessions) == (before, [], 0)
    wet = run(log, limit=4)
    assert (dry.sent, dry.skipped, dry.left) == (wet.sent, wet.skipped, wet.left)


def test_nothing_is_sent_where_the_question_is_answered_with_no() -> None:
    log = unknown(3)
    asked: list[Planned] = []

    def refuse(planned: Planned) -> None:
        asked.append(planned)
        raise Killed

    with pytest.raises(Killed):
        run(log, confirm=refuse)

    assert log.sent == []
    assert [planned_as_text(planned) for planned in asked] == [
        "3 dead letters (unknown_carrier 3), 3 of which the present packs do not understand"
    ]


def test_a_forwarded_event_goes_back_to_its_owner_with_its_origin() -> None:
    scene = PipelineDriver(PACKS, replies_max=1)
    owner = owner_of("m1", 6)
    for number in range(2):
        scene.pipe(reply(number), partition=(owner + 1) % 6)
    log = FakeLog({PARTITION: letters_of(scene)})

    assert run(log, partitions={RAW_TOPIC: 6, REKEYED_TOPIC: owner}).skipped == {Skip.TOPIC_GONE: 1}
    assert run(log).letters == 1

    (again,) = log.sent
    assert (again.topic, again.partition) == (REKEYED_TOPIC, owner)
    assert decode_rekeyed(again.value).report.event_id == "e1"
    record = PlacedFake(0, 0, again.value, again.key, again.headers)
    assert origin_of(headers_of(record)) == (Source(RAW_TOPIC, (owner + 1) % 6, 1, 0), START_MS)


# What cannot be replayed


@pytest.mark.parametrize(
    ("judged", "skip"),
    [
        ({"raw": ["another"]}, Skip.NOT_OURS),
        ({"raw": [r"^another\..*"]}, Skip.NOT_OURS),
        ({"partitions": {REKEYED_TOPIC: 6}}, Skip.TOPIC_GONE),
        ({"oldest_ms": START_MS + 1}, Skip.TOO_OLD),
        ({"oldest_ms": START_MS}, None),
        ({"raw": [r"^carrier\..*\.raw$"]}, None),
        ({"partitions": {RAW_TOPIC: 1}}, None),
    ],
)
def test_a_letter_that_cannot_go_back_is_skipped_with_its_reason(judged: dict[str, Any], skip: Skip | None) -> None:
    log = unknown(6)

    report = run(log, **judged)

    assert report.skipped == ({skip: 6} if skip else {})
    assert report.letters == (0 if skip else 6)
    assert all(record.partition < judged.get("partitions", {}).get(RAW_TOPIC, 6) for record in log.sent)


def test_a_record_of_somebody_elses_is_sent_nowhere() -> None:
    log = FakeLog({PARTITION: [PlacedFake(0, 0, b"theirs")]})

    assert run(log).skipped == {Skip.NOT_OURS: 1}


def cut_letter(whole: bytes) -> FakeLog:
    log = unknown(1)
    (record,) = log.letters[PARTITION]
    sha256 = hashlib.sha256(whole).hexdigest().encode()
    headers: Headers = [*record.record_headers, (ERRORS_VALUE_BYTES, b"5"), (ERRORS_VALUE_SHA256, sha256)]
    log.letters[PARTITION] = [PlacedFake(0, record.time_ms, whole[:2], b"k0", headers)]
    return log


def test_a_value_that_was_cut_is_read_back_from_the_record_that_held_it() -> None:
    log = cut_letter(b"whole")
    log.others[RAW_TOPIC, 0, 0] = PlacedFake(0, 0, b"whole")

    assert replay(log, None).run().letters == 1
    assert run(log).letters == 1
    assert [record.value for record in log.sent] == [b"whole"]


@pytest.mark.parametrize("there", [None, b"other", b"who"])
def test_a_value_that_was_cut_and_is_gone_is_never_sent_in_part(there: bytes | None) -> None:
    log = cut_letter(b"whole")
    if there is not None:
        log.others[RAW_TOPIC, 0, 0] = PlacedFake(0, 0, there)

    assert replay(log, None).run().skipped == {Skip.VALUE_GONE: 1}
    report = run(log)

    assert (report.letters, report.skipped, log.sent) == (0, {Skip.VALUE_GONE: 1}, [])


# What is said


def test_a_report_has_reasons_and_what_to_do_about_what_was_skipped() -> None:
    report = ReplayReport(Counter(unknown_status=1200, malformed=3), Counter({Skip.TOO_OLD: 2}), 7)

    assert [*report_as_lines(report, dry_run=False)] == [
        "replayed 1,203 dead letters: unknown_status 1,200, malformed 3",
        f"skipped 2 (too_old): {Skip.TOO_OLD.words}",
        "7 more are left by --limit",
    ]
    assert next(report_as_lines(ReplayReport(), dry_run=True)) == "would replay 0 dead letters"
    assert report_as_json(report, dry_run=True) == {
        "dry_run": True,
        "replayed": 1203,
        "reasons": {"unknown_status": 1200, "malformed": 3},
        "skipped": {"too_old": 2},
        "left": 7,
    }


@pytest.mark.parametrize("skip", list(Skip))
def test_every_reason_to_skip_has_words(skip: Skip) -> None:
    assert skip.words
