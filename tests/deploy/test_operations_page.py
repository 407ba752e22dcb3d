"""The operations page of a real worker under load, in a real Chromium."""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from processor.http_server import serving
from processor.outbox import Outbox, Tally, Unmapped
from processor.pages import Limits, Pages
from processor.simulator import Simulator, is_simulated_number
from processor.status_json import WorkerFacts
from processor.telemetry import InputView, PartitionView, StoreCounts, Telemetry
from tests.broker.deployment import Deployment, WorkerProcess
from tests.deploy import browser
from tests.deploy.browser import Visit, visit
from tests.kafka.broker import Broker

SEED = 20_260_612
EVENTS = 60_000
START_MS = int(time.time() * 1000) - 24 * 3600 * 1000
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 375, "height": 812}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    lacking = browser.missing()
    if lacking and os.environ.get("CI") == "true":
        pytest.fail(f"the page is looked at in a browser wherever CI=true; {lacking}")
    if lacking:
        pytest.skip(lacking)
    with browser.chromium() as running:
        yield running


@pytest.fixture(scope="module")
def worker(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """A worker that has processed simulated traffic, poison and words that nobody knows among it."""
    deployment = Deployment(broker, tmp_path_factory.mktemp("page"), BATCH__RECORDS_MAX=2_000)
    deployment.create_topics()
    oracle = deployment.produce(Simulator(SEED, events=EVENTS, poison=0.03, callbacks=0.1, start_ms=START_MS))
    with deployment.worker() as running:
        deployment.wait_for_events(oracle.totals.total())
        yield running


def text(visited: Visit, selector: str) -> str:
    return str(visited.page.inner_text(selector))


def wait_for_text(visited: Visit, selector: str, pattern: str, timeout_s: float = 20) -> None:
    visited.page.wait_for_function(
        "([selector, pattern]) => new RegExp(pattern).test(document.querySelector(selector)?.innerText ?? '')",
        arg=[selector, pattern],
        timeout=timeout_s * 1000,
    )


def scrolls_sideways(visited: Visit) -> bool:
    return bool(visited.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))


def contrast_of(visited: Visit, selector: str) -> float:
    """Return the contrast of an element's text with what lies behind it, as WCAG 2 reckons it."""
    return float(
        visited.page.evaluate(
            """selector => {
              const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
              const light = (colour) => {
                const [r, g, b] = parts(colour).map((value) => value / 255)
                  .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
              };
              const node = document.querySelector(selector);
              let behind = node;
              const clear = () => parts(getComputedStyle(behind).backgroundColor)[3] === 0;
              while (behind.parentElement && clear()) behind = behind.parentElement;
              const [a, b] = [light(getComputedStyle(node).color), light(getComputedStyle(behind).backgroundColor)];
              return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            }""",
            selector,
        )
    )


def test_the_page_shows_what_the_worker_tells(chromium: Any, worker: WorkerProcess) -> None:
    with visit(chromium, worker.address, scheme="light", **DESKTOP) as visited:
        wait_for_text(visited, "#headline", "^Working$")
        told = json.loads(worker.page("/status.json"))

        assert text(visited, "#live dd") == text(visited, "#ready dd") == "✓ yes"
        assert visited.page.title().startswith("✓ Working")
        assert told["worker"]["application"] in text(visited, "#who")
        partitions = visited.page.locator("#partitions tbody tr")
        assert partitions.count() == min(12, told["partitions"]["assigned"])
        letters = visited.page.locator("#letters tbody tr")
        assert letters.count() == 10
        newest = told["dead_letters"][0]
        assert newest["reason"] in letters.nth(0).inner_text()
        assert f"{newest['topic']}[{newest['partition']}]@{newest['offset']}" in letters.nth(0).inner_text()
        visited.page.click("#letters-more")
        assert letters.count() == len(told["dead_letters"]) == 50
        most = told["unmapped"][0]
        assert most["status"] in text(visited, "#unmapped tbody tr")
        assert {one["carrier"] for one in told["carriers"][:10]} == {
            row.split("\t")[0] for row in visited.page.locator("#carriers tbody tr").all_inner_texts()
        }
        for version in ("processor", "python", "librdkafka", "codec", "group_protocol"):
            assert str(told["versions"][version]) in text(visited, "#facts")
        # The pictures: a path for each kind of outcome that occurred, in the right order of size.
        wait_for_text(visited, "#events-readout", r"events/s")
        assert visited.page.locator("#events path").count() >= 4
        assert visited.page.locator("#delay path").count() >= 2
        assert visited.page.locator("#lag path").count() >= 1
        assert re.fullmatch(r"[\d,.]+[KM]? since start", text(visited, "#tiles div:nth-child(1) .beside"))

        assert visited.complaints == []
        assert visited.asked
        assert all(address.startswith((worker.address, "data:")) for address in visited.asked)
        assert not is_simulated_number(visited.page.content())


def test_the_page_refreshes_itself_and_a_chart_is_read_with_the_keyboard(chromium: Any, worker: WorkerProcess) -> None:
    with visit(chromium, worker.address, scheme="light", **DESKTOP) as visited:
        wait_for_text(visited, "#headline", "^Working$")
        before = text(visited, "#when")
        visited.page.wait_for_function("before => document.querySelector('#when').innerText !== before", arg=before)

        visited.page.focus("#events")
        visited.page.keyboard.press("ArrowLeft")
        wait_for_text(visited, "#events-readout", r"^\d\d:\d\d:\d\d: ")
        assert visited.page.locator("#events .cursor").count() == 1
        assert "Chart of the last 15 minutes" in visited.page.get_attribute("#events", "aria-label")
        assert visited.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_fits_and_its_words_stand_out(
    chromium: Any, worker: WorkerProcess, size: dict[str, int], scheme: str
) -> None:
    with visit(chromium, worker.address, scheme=scheme, **size) as visited:
        wait_for_text(visited, "#headline", "^Working$")
        visited.page.click("#letters-more")
        assert not scrolls_sideways(visited)

        for selector in (
            "h1",
            "#who",
            "#headline",
            "#detail",
            "#ready dd",
            ".beside",
            "#events-readout",
            "th",
            "td",
            "a",
        ):
            # AA of WCAG 2 for text of any size.
            assert contrast_of(visited, selector) >= 4.5, selector
        ground = visited.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == (scheme == "dark")
        assert visited.complaints == []


@contextmanager
def worker_that_tells(view: PartitionView, *words: Unmapped) -> Iterator[str]:
    """Serve the page of a worker in a state that a real one is not brought into quickly."""
    telemetry, now = Telemetry("test"), time.time()
    telemetry.committed(
        Outbox(tallies={("raw", 0): Tally(unmapped=Counter(words))}), consumed_at=now, began_at=now, now=now
    )
    telemetry.progressed(view, StoreCounts(), producers=1)
    facts = WorkerFacts(
        application="app", group="app", ordinal=0, started_at=now - 90, partitions=400, group_protocol=None, packs=None
    )
    pages = Pages(telemetry, facts, Limits(loop_within_s=3600))
    pages.running("classic", lambda: 62)
    with serving(pages, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.port}/"


def test_partitions_that_stand_still_come_first_and_hundreds_fit_on_a_phone(chromium: Any) -> None:
    now = time.time()
    inputs = {("carrier.status.raw", number): InputView(9_000, True, now) for number in range(400)}
    inputs["carrier.status.raw", 17] = InputView(3, True, now - 7_300)
    view = PartitionView(seen_at=now, inputs=inputs, running=400, member=True)
    with worker_that_tells(view) as url, visit(chromium, url, scheme="dark", **PHONE) as visited:
        wait_for_text(visited, "#headline", "^1 partition stands still$")
        assert text(visited, "#live dd") == "✕ no"
        assert re.fullmatch(
            r"carrier\.status\.raw\[17\] has 3 records left and has not moved for 2 h \d min",
            text(visited, "#reasons li"),
        )
        assert contrast_of(visited, "#headline") >= 4.5
        first = visited.page.locator("#partitions tbody tr").nth(0).inner_text()
        assert "carrier.status.raw[17]" in first.replace("\n", "")
        assert "stands still for 2 h" in first
        visited.page.click("#partitions-more")
        assert visited.page.locator("#partitions tbody tr").count() == 400
        assert not scrolls_sideways(visited)
        assert visited.complaints == []


def test_a_restore_is_shown_by_partition(chromium: Any) -> None:
    now = time.time()
    waiting = InputView(None, False, now)
    view = PartitionView(
        seen_at=now,
        inputs={("rekeyed", 0): waiting, ("rekeyed", 1): waiting},
        restore_share={0: 0.25, 1: 0.75},
        waiting=2,
        member=True,
    )
    with worker_that_tells(view) as url, visit(chromium, url, scheme="light", **DESKTOP) as visited:
        wait_for_text(visited, "#headline", "^Restoring state$")
        assert text(visited, "#detail") == "50 % of 2 partitions."
        assert text(visited, "#live dd") == "✓ yes"
        assert text(visited, "#ready dd") == "✕ no"
        assert [row.split() for row in visited.page.locator("#restores li").all_inner_texts()] == [
            ["partition", "0", "25", "%"],
            ["partition", "1", "75", "%"],
        ]
        assert visited.complaints == []


def test_what_a_carrier_said_is_text_and_never_markup(chromium: Any) -> None:
    hostile = "<img src=x onerror=document.title='taken'><script>1</script>"
    view = PartitionView(seen_at=time.time(), member=True)
    with (
        worker_that_tells(view, Unmapped("unknown", hostile, hostile, "'\"&")) as url,
        visit(chromium, url, scheme="light", **DESKTOP) as visited,
    ):
        wait_for_text(visited, "#headline", "^Ready, without a partition$")
        cells = visited.page.locator("#unmapped tbody td").all_inner_texts()
        assert cells == ["unknown", hostile, hostile, "'\"&", "1"]
        assert visited.page.locator("#unmapped img").count() == 0
        assert visited.complaints == []


def test_a_page_that_nobody_looks_at_asks_nothing(chromium: Any, worker: WorkerProcess) -> None:
    with visit(chromium, worker.address, scheme="light", **DESKTOP) as visited:
        wait_for_text(visited, "#headline", "^Working$")
        # What a browser does with a tab in the background.
        hide = "hidden => { Object.defineProperty(document, 'hidden', {get: () => hidden, configurable: true}); "
        hide += "document.dispatchEvent(new Event('visibilitychange')); }"
        visited.page.evaluate(hide, True)
        requests: list[str] = []
        visited.page.on("request", lambda request: requests.append(request.url))
        visited.page.wait_for_timeout(3_000)
        assert requests == []

        visited.page.evaluate(hide, False)
        wait_for_text(visited, "#headline", "^Working$")
        deadline = time.monotonic() + 10
        while not requests and time.monotonic() < deadline:
            visited.page.wait_for_timeout(50)
        assert requests


def test_the_page_says_so_when_the_worker_no_longer_answers(broker: Broker, chromium: Any, tmp_path: Path) -> None:
    deployment = Deployment(broker, tmp_path)
    deployment.create_topics()
    with deployment.worker() as worker, visit(chromium, worker.address, scheme="light", **DESKTOP) as visited:
        wait_for_text(visited, "#headline", "^Working$", 60)
        worker.kill()

        wait_for_text(visited, "#headline", r"^No answer from the worker since \d\d:\d\d:\d\d$")
        assert text(visited, "#ready dd") == "?"
        assert visited.page.title().startswith("✕ No answer")
        # The browser itself tells of a refused connection; the page adds nothing to that.
        assert all("ERR_CONNECTION_REFUSED" in line for line in visited.complaints)
