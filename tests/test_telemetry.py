"""What Prometheus is told is bounded, and holds nobody's number."""

from __future__ import annotations

from collections import Counter

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from processor.codec import Decoder, encode_raw_events
from processor.errors import AbortCause
from processor.outbox import Outbox, Tally, Unmapped
from processor.pack_files import builtin_texts
from processor.packs import Packs
from processor.pipeline import Pipeline
from processor.telemetry import UNMAPPED_MAX, InputView, PartitionView, StoreCounts, Telemetry
from processor.testing import FakeRecord, PipelineDriver, raw_event

NOW = 1_767_225_600.0
RAW = ("raw", 0)


def samples(telemetry: Telemetry, name: str) -> dict[tuple[str, ...], float]:
    """Scrape one metric: its values by its labels, in the order of their names."""
    registry = CollectorRegistry()
    registry.register(telemetry)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def unmapped(*words: Unmapped) -> Telemetry:
    """Return the counts of one batch in which nobody knew these words."""
    telemetry = Telemetry("test")
    tally = Tally(records=len(words), unmapped=Counter(words))
    telemetry.committed(Outbox(tallies={("raw", 0): tally}), consumed_at=1.0, began_at=1.0, now=2.0)
    return telemetry


def test_unmapped_words_are_counted_under_their_own_labels() -> None:
    word = Unmapped("twilio", "SMS", "teleported", "9")

    counted = samples(unmapped(word, word), "status_processor_unmapped_events_total")

    assert counted == {("twilio", "SMS", "9", "teleported"): 2.0}


def test_a_flood_of_unmapped_words_makes_no_flood_of_series_and_loses_no_count() -> None:
    words = [Unmapped("twilio", "SMS", f"word {number}", "") for number in range(10_000)]

    counted = samples(unmapped(*words), "status_processor_unmapped_events_total")

    assert len(counted) == UNMAPPED_MAX + 1
    assert sum(counted.values()) == 10_000
    assert counted["twilio", "other", "other", "other"] == 10_000 - UNMAPPED_MAX


def test_no_edges_clock_spoils_the_sum_of_ages() -> None:
    telemetry = Telemetry("test")
    ahead, unset, right = 1_700_000_600_000, -(2**63), 1_699_999_998_000

    telemetry.committed(
        Outbox(received=[ahead, 0, unset, right]), consumed_at=1.7e9, began_at=1.7e9, now=1_700_000_000.0
    )

    assert samples(telemetry, "status_processor_event_age_seconds_sum") == {(): 2.0}
    assert samples(telemetry, "status_processor_event_age_seconds_count") == {(): 2.0}


def test_a_number_among_unmapped_words_is_masked() -> None:
    counted = samples(
        unmapped(Unmapped("twilio", "SMS", "to +447700900123", "")), "status_processor_unmapped_events_total"
    )

    assert counted == {("twilio", "SMS", "", "to ***23"): 1.0}


def test_reloads_are_counted_by_how_they_ended() -> None:
    telemetry = Telemetry("test")
    telemetry.packs_reloaded("refused")
    telemetry.packs_reloaded("loaded")
    telemetry.packs_reloaded("loaded")

    assert samples(telemetry, "status_processor_pack_reloads_total") == {("loaded",): 2.0, ("refused",): 1.0}


def scraped_at(now: float, view: PartitionView) -> Telemetry:
    """Return the telemetry of a worker whose loop has seen this, scraped at a time."""
    telemetry = Telemetry("test", stall_after_s=120.0, clock=lambda: now)
    telemetry.progressed(view, StoreCounts(), 1)
    return telemetry


def test_words_of_closed_lists_are_there_before_they_first_count() -> None:
    results = samples(Telemetry("test"), "status_processor_transactions_total")

    assert results == {(word,): 0.0 for word in ("committed", *(f"aborted_{cause}" for cause in AbortCause))}
    assert samples(Telemetry("test"), "status_processor_rebalances_total") == {
        ("assigned",): 0.0,
        ("lost",): 0.0,
        ("revoked",): 0.0,
    }


def test_aborts_are_counted_by_cause() -> None:
    telemetry = Telemetry("test")
    telemetry.aborted(AbortCause.STALE_MEMBER)
    telemetry.aborted(AbortCause.STALE_MEMBER)
    telemetry.aborted(AbortCause.TIMEOUT)

    results = samples(telemetry, "status_processor_transactions_total")

    assert {word: count for (word,), count in results.items() if count} == {
        "aborted_stale_member": 2.0,
        "aborted_timeout": 1.0,
    }


def test_the_delay_is_that_of_published_changes_with_a_time_and_never_negative() -> None:
    driver = PipelineDriver()
    committed_at = driver.now_ms / 1000
    for message_id, status, before_ms in (("a", "DELIVRD", 90_000), ("b", "DELIVRD", -60_000), ("c", "DELIVRD", None)):
        occurred_at = None if before_ms is None else driver.now_ms - before_ms
        driver.pipe(raw_event("smpp", message_id, status, channel="SMS", occurred_at=occurred_at))
    driver.pipe(raw_event("smpp", "a", "DELIVRD", channel="SMS", occurred_at=driver.now_ms - 1_000_000))
    assert len(driver.changes) == 3
    telemetry = Telemetry("test")

    telemetry.committed(
        Outbox(changes={0: driver.changes}), consumed_at=committed_at, began_at=committed_at, now=committed_at
    )

    assert samples(telemetry, "status_processor_end_to_end_delay_seconds_count") == {(): 2.0}
    assert samples(telemetry, "status_processor_end_to_end_delay_seconds_sum") == {(): 90.0}
    buckets = samples(telemetry, "status_processor_end_to_end_delay_seconds_bucket")
    assert (buckets["0.05",], buckets["60.0",], buckets["300.0",]) == (1.0, 1.0, 2.0)
    assert samples(telemetry, "status_processor_changes_total") == {("SMS", "DELIVERED"): 3.0}


def test_the_oldest_unprocessed_record_gets_older_between_two_looks() -> None:
    view = PartitionView(
        seen_at=NOW,
        inputs={
            RAW: InputView(lag=3, running=True, moved_at=NOW, oldest_at=NOW - 5),
            ("raw", 1): InputView(lag=0, running=True, moved_at=NOW),
            ("raw", 2): InputView(lag=None, running=False, moved_at=NOW),
        },
    )

    ages = [samples(scraped_at(at, view), "status_processor_oldest_unprocessed_seconds") for at in (NOW, NOW + 60)]

    assert ages == [{("0", "raw"): 5.0, ("1", "raw"): 0.0}, {("0", "raw"): 65.0, ("1", "raw"): 0.0}]


def test_a_partition_that_stands_still_counts_as_stalled_even_while_the_loop_hangs() -> None:
    view = PartitionView(seen_at=NOW, inputs={RAW: InputView(lag=3, running=True, moved_at=NOW, oldest_at=NOW)})

    assert samples(scraped_at(NOW + 119, view), "status_processor_stalled_partitions") == {(): 0.0}
    assert samples(scraped_at(NOW + 121, view), "status_processor_stalled_partitions") == {(): 1.0}


@pytest.mark.parametrize(
    "name",
    [
        "consumer_lag_records",
        "oldest_unprocessed_seconds",
        "state_entries",
        "state_bytes",
        "restore_ratio",
        "restore_remaining_records",
    ],
)
def test_rows_of_a_partition_that_left_are_gone(name: str) -> None:
    one = InputView(lag=1, running=True, moved_at=NOW, oldest_at=NOW)
    by_partition = {0: 1}
    telemetry = scraped_at(
        NOW,
        PartitionView(
            seen_at=NOW,
            inputs={RAW: one},
            state_entries=by_partition,
            state_bytes=by_partition,
            restore_share={0: 0.5},
            restore_left=by_partition,
        ),
    )
    assert len(samples(telemetry, f"status_processor_{name}")) == 1

    telemetry.progressed(PartitionView(seen_at=NOW), StoreCounts(), 1)

    assert samples(telemetry, f"status_processor_{name}") == {}


def test_a_hundred_thousand_carriers_and_words_make_few_series() -> None:
    packs = Packs.load(builtin_texts())
    assert {packs.known(f"carrier {number}") for number in range(100_000)} == {"unknown"}
    telemetry, outbox = Telemetry("test"), Outbox()
    numbers = range(4_000)
    events = [
        raw_event(f"carrier {n}", f"m{n}", "sent")
        if n % 2
        else raw_event("twilio", f"m{n}", f"word {n}", channel="SMS", error_code=str(n))
        for n in numbers
    ]
    records = [FakeRecord(n, 0, value) for n, value in zip(numbers, encode_raw_events(events), strict=True)]
    Pipeline(Decoder(), packs, 1).process_raw("raw", 0, records, None, outbox)
    outbox.tallies["raw", 1] = Tally(unmapped=Counter(Unmapped("twilio", "SMS", f"w{n}", "") for n in range(100_000)))

    telemetry.committed(outbox, consumed_at=NOW, began_at=NOW, now=NOW)

    registry = CollectorRegistry()
    registry.register(telemetry)
    series = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    assert set(samples(telemetry, "status_processor_events_total")) == {
        ("twilio", "dead_lettered", "unknown_status"),
        ("unknown", "dead_lettered", "unknown_carrier"),
    }
    assert sum(samples(telemetry, "status_processor_unmapped_events_total").values()) == 104_000
    assert len(series) < UNMAPPED_MAX + 150
