"""What Prometheus is told is bounded, and holds nobody's number."""

from __future__ import annotations

from collections import Counter

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from processor.outbox import Outbox, Tally, Unmapped
from processor.telemetry import UNMAPPED_MAX, Telemetry


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
