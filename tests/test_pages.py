"""What the HTTP port answers, over real sockets: paths, verdicts, and nothing that is anybody's."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from processor.errors import AbortCause, ExitCode, FatalError
from processor.health import Cause
from processor.http_server import HttpServer, serving
from processor.outbox import Outbox, Outcome, Tally, Unmapped
from processor.pages import MOMENT_S, Limits, Pages, serving_pages
from processor.settings_model import Settings
from processor.simulator import Simulator, is_simulated_number
from processor.status_json import INPUTS_MAX, WorkerFacts
from processor.telemetry import InputView, PartitionView, StoreCounts, Telemetry
from processor.testing import PipelineDriver

NOW = 1_800_000_000.0
PATHS = ("/", "/status.json", "/metrics", "/livez", "/readyz")
FACTS = WorkerFacts(
    application="app", group="app", ordinal=3, started_at=NOW - 60, partitions=6, group_protocol=None, packs=None
)


class Clock:
    """Stands still until it is told otherwise."""

    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry("1.2.3")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pages(telemetry: Telemetry, clock: Clock) -> Pages:
    return Pages(telemetry, FACTS, Limits(loop_within_s=90, stall_after_s=120), clock)


@pytest.fixture
def server(pages: Pages) -> Iterator[HttpServer]:
    with serving(pages, "127.0.0.1", 0) as running:
        yield running


def ask(server: HttpServer, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def ask_json(server: HttpServer, path: str) -> tuple[int, dict[str, object]]:
    response, body = ask(server, path)
    return response.status, json.loads(body)


def see(telemetry: Telemetry, view: PartitionView) -> None:
    telemetry.progressed(view, StoreCounts(), producers=1)


def test_every_answer_says_that_it_may_not_be_kept_framed_or_taken_for_another_type(server: HttpServer) -> None:
    for path in (*PATHS, "/nowhere"):
        response, _ = ask(server, path)
        assert response.getheader("X-Content-Type-Options") == "nosniff", path
        assert response.getheader("Cache-Control") == "no-store"
        assert response.getheader("X-Frame-Options") == "DENY"
        assert response.getheader("Server") is None
        assert "default-src 'none'" in (response.getheader("Content-Security-Policy") or "")


def test_an_unknown_path_is_told_which_there_are(server: HttpServer) -> None:
    response, body = ask(server, "/favicon.ico")

    assert response.status == 404
    assert body == b"not found: there are /, /status.json, /metrics, /livez, /readyz\n"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_only_get_and_head_are_taken(server: HttpServer, method: str) -> None:
    response, _ = ask(server, "/metrics", method, Content_Length="0")

    assert response.status == 405
    assert response.getheader("Allow") == "GET, HEAD"


def test_head_gives_the_headers_of_get_and_no_body(server: HttpServer) -> None:
    response, body = ask(server, "/", "HEAD")
    whole, page = ask(server, "/")

    assert (response.status, body) == (200, b"")
    assert response.getheader("Content-Length") == whole.getheader("Content-Length") == str(len(page))


def test_a_query_changes_nothing(server: HttpServer) -> None:
    _, body = ask(server, "/metrics?name[]=status_processor_events_total")

    assert b"status_processor_build_info" in body


def test_prometheus_gets_the_format_that_it_asks_for(server: HttpServer) -> None:
    plain, _ = ask(server, "/metrics")
    response, body = ask(server, "/metrics", Accept="application/openmetrics-text;version=1.0.0")

    assert (plain.getheader("Content-Type") or "").startswith("text/plain; version=")
    assert (response.getheader("Content-Type") or "").startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name for family in text_string_to_metric_families(body.decode())}  # type: ignore[no-untyped-call]
    assert "status_processor_records" in families


@pytest.mark.parametrize(
    "accept",
    ["application/openmetrics-text;version=x", "text/plain;version=1.x;escaping=nothing", ";;=,", "*/*", "\xff"],
)
def test_a_format_that_is_none_gets_the_plain_one(server: HttpServer, accept: str) -> None:
    response, body = ask(server, "/metrics", Accept=accept)

    assert response.status == 200
    assert b"status_processor_build_info" in body


class CountingTelemetry(Telemetry):
    """Counts how often it is collected."""

    collected = 0

    def collect(self) -> Iterator[Metric]:
        self.collected += 1
        yield from super().collect()


def test_whoever_asks_without_a_pause_gets_the_answer_of_a_moment_ago() -> None:
    telemetry, tick = CountingTelemetry("1.2.3"), Clock()
    with serving(Pages(telemetry, FACTS, Limits(loop_within_s=90), tick=tick), "127.0.0.1", 0) as server:
        same = {ask(server, "/metrics")[1] for _ in range(50)}
        assert (len(same), telemetry.collected) == (1, 1)

        _, compressed = ask(server, "/metrics", Accept_Encoding="gzip")
        assert gzip.decompress(compressed).startswith(b"# HELP")
        before = telemetry.collected
        tick.now += MOMENT_S
        ask(server, "/metrics", Accept_Encoding="gzip")
        assert telemetry.collected == before + 1


def test_large_answers_are_compressed_for_whoever_takes_that(server: HttpServer) -> None:
    response, body = ask(server, "/", Accept_Encoding="deflate, gzip;q=1")
    _, plain = ask(server, "/")

    assert response.getheader("Content-Encoding") == "gzip"
    assert gzip.decompress(body) == plain
    assert len(body) < len(plain) / 2


def test_the_page_allows_its_own_script_and_style_and_no_others(server: HttpServer) -> None:
    response, body = ask(server, "/")
    policy = response.getheader("Content-Security-Policy") or ""
    page = body.decode()

    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        hashed = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{hashed}'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    outside = [address for address in re.findall(r"https?://[^\s'\"]+", page) if "www.w3.org" not in address]
    assert outside == []


def test_a_worker_is_live_and_not_ready_until_its_partitions_run(
    server: HttpServer, pages: Pages, telemetry: Telemetry
) -> None:
    assert ask_json(server, "/livez") == (200, {"ok": True, "reasons": []})
    status, told = ask_json(server, "/readyz")
    assert (status, told["ok"]) == (503, False)

    pages.running("classic", lambda: 62)
    assert ask_json(server, "/readyz")[0] == 503
    see(telemetry, PartitionView(seen_at=NOW, inputs={("raw", 0): InputView(0, True, NOW)}, running=1, member=True))
    assert ask_json(server, "/readyz") == (200, {"ok": True, "reasons": []})

    pages.stopping()
    assert ask_json(server, "/livez")[0] == 200
    assert ask_json(server, "/readyz")[0] == 503


def test_a_partition_that_stands_still_makes_livez_fail_and_says_which_and_for_how_long(
    server: HttpServer, pages: Pages, telemetry: Telemetry, clock: Clock
) -> None:
    pages.running("classic", lambda: 62)
    inputs = {("raw", 0): InputView(0, True, NOW), ("raw", 4): InputView(17, True, NOW)}
    see(telemetry, PartitionView(seen_at=NOW + 121, inputs=inputs, running=2, member=True))
    clock.now = NOW + 121

    assert ask_json(server, "/livez") == (
        503,
        {
            "ok": False,
            "reasons": [
                {
                    "cause": Cause.PARTITION_STALLED,
                    "text": "raw[4] has 17 records left and has not moved for 2 min 1 s",
                    "topic": "raw",
                    "partition": 4,
                    "seconds": 121.0,
                }
            ],
        },
    )


def test_status_tells_the_partitions_with_the_most_left_and_counts_the_others(
    server: HttpServer, pages: Pages, telemetry: Telemetry
) -> None:
    pages.running("classic", lambda: 62)
    inputs = {("raw", number): InputView(number, True, NOW) for number in range(INPUTS_MAX + 100)}
    see(telemetry, PartitionView(seen_at=NOW, inputs=inputs, running=len(inputs), member=True))

    _, told = ask_json(server, "/status.json")

    partitions = told["partitions"]
    assert isinstance(partitions, dict)
    assert partitions["assigned"] == INPUTS_MAX + 100
    assert partitions["left_out"] == 100
    assert [one["lag"] for one in partitions["inputs"][:2]] == [INPUTS_MAX + 99, INPUTS_MAX + 98]


def test_status_adds_up_to_what_was_committed(server: HttpServer, telemetry: Telemetry) -> None:
    tally = Tally(records=4)
    tally.outcomes["twilio", Outcome.PUBLISHED, ""] = 2
    tally.outcomes["twilio", Outcome.FORWARDED, ""] = 1
    tally.outcomes["acme", Outcome.DEAD_LETTERED, "unknown_carrier"] = 1
    tally.unmapped[Unmapped("acme", "SMS", "to +447700900123", "")] = 1
    telemetry.committed(Outbox(tallies={("raw", 0): tally}), consumed_at=NOW, began_at=NOW, now=NOW)
    telemetry.aborted(AbortCause.FENCED)

    _, told = ask_json(server, "/status.json")

    assert told["worker"] == {
        "application": "app",
        "group": "app",
        "ordinal": 3,
        "phase": "starting",
        "started_at": NOW - 60,
    }
    outcomes = told["outcomes"]
    assert isinstance(outcomes, dict)
    assert {name: count for name, count in outcomes.items() if count} == {
        "published": 2,
        "forwarded": 1,
        "dead_lettered": 1,
    }
    assert told["carriers"] == [
        {"carrier": "twilio", "events": 2, "published": 2, "dead_lettered": 0},
        {"carrier": "acme", "events": 1, "published": 0, "dead_lettered": 1},
    ]
    assert told["transactions"] == {"aborted_fenced": 1, "committed": 1}
    assert told["unmapped"] == [
        {"carrier": "acme", "channel": "SMS", "status": "to ***23", "error_code": "", "events": 1}
    ]


def test_no_number_of_the_simulated_traffic_is_on_any_page(
    server: HttpServer, pages: Pages, telemetry: Telemetry
) -> None:
    driver = PipelineDriver()
    for record in Simulator(7, events=2_000, poison=0.3, callbacks=0.4):
        driver.pipe(record.value, partition=0, key=record.key)
    assert driver.unmapped
    tally = Tally(driver.records, driver.outcomes, unmapped=driver.unmapped)
    outbox = Outbox(dead_letters=driver.dead_letters, tallies={("raw", 0): tally})
    telemetry.committed(outbox, consumed_at=NOW, began_at=NOW, now=NOW)
    pages.running("classic", lambda: 62)

    for path in PATHS:
        _, body = ask(server, path)
        assert not is_simulated_number(body.decode()), path
    _, told = ask_json(server, "/status.json")
    assert told["dead_letters"]
    assert told["unmapped"]


def settings(**metrics: object) -> Settings:
    return Settings.model_validate({"ordinal": 0, "metrics": metrics})


def test_a_port_that_is_taken_ends_the_start_with_a_word(telemetry: Telemetry) -> None:
    with serving_pages(settings(port=0), telemetry):
        pass
    with (
        serving(Pages(telemetry, FACTS, Limits(loop_within_s=90)), "127.0.0.1", 0) as taken,
        pytest.raises(FatalError, match=rf"cannot listen on 127\.0\.0\.1:{taken.port} .*set metrics\.port") as refused,
        serving_pages(settings(port=taken.port), telemetry),
    ):
        pass
    assert refused.value.exit_code == ExitCode.SETTINGS


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 300, "203.0.113.7"])
def test_an_address_that_is_not_of_this_machine_ends_the_start_with_a_word(telemetry: Telemetry, host: str) -> None:
    with (
        pytest.raises(FatalError, match=f"cannot listen on {host}") as refused,
        serving_pages(settings(host=host, port=0), telemetry),
    ):
        pass
    assert refused.value.exit_code == ExitCode.SETTINGS


def test_the_port_is_on_loopback_unless_told_otherwise() -> None:
    assert Settings().metrics.host == "127.0.0.1"


def test_the_page_s_files_are_small_enough_to_be_read() -> None:
    directory = Path(__file__).parents[1] / "processor" / "page"

    assert sum(file.stat().st_size for file in directory.iterdir()) < 64 * 1024
