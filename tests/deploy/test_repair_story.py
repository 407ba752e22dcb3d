"""What happens when a carrier says a new word: from the alert to the change that is published, once."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from processor.codec import encode_raw_events
from processor.testing import raw_event
from tests.broker.deployment import Deployment, wait_for
from tests.broker.test_worker import ACME
from tests.deploy.prometheus import prometheus, require_prometheus
from tests.kafka.broker import Broker
from tests.kafka.readiness import HOST, free_port

KNOWN, NEW = 300, 30
"""Messages of which the carrier says what its pack knows, and what it does not."""
WORD = "beamed"
SPIKE = "StatusProcessorUnmappedSpike"
MENDED = ACME.replace('landed = "DELIVERED"', f'landed = "DELIVERED"\n{WORD} = "SENT"').replace(
    'rows = [["landed", "DELIVERED"]]', f'rows = [["landed", "DELIVERED"], ["{WORD}", "SENT"]]'
)


def say(deployment: Deployment, words: dict[str, str]) -> None:
    """Report a word of each message."""
    now_ms = int(time.time() * 1000)
    events = [
        raw_event("acme", message_id, word, channel="SMS", received_at=now_ms) for message_id, word in words.items()
    ]
    values = encode_raw_events(events)
    deployment.broker.produce(
        deployment.topics["raw"],
        [(event.message_id.encode(), value) for event, value in zip(events, values, strict=True)],
    )


def told(deployment: Deployment, *arguments: str, code: int = 0) -> dict[str, Any]:
    """Run a command as an operator does, and return the JSON that it prints."""
    done = deployment.command(*arguments, "--json")
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_new_word_fires_an_alert_gets_a_row_and_is_replayed_and_published_once(
    broker: Broker, tmp_path: Path
) -> None:
    require_prometheus()
    packs, draft, watching, port = tmp_path / "packs", tmp_path / "draft", tmp_path / "prometheus", free_port()
    for directory in (packs, draft, watching):
        directory.mkdir()
    (packs / "acme.toml").write_text(ACME)
    deployment = Deployment(broker, tmp_path, PACKS__DIRECTORY=packs, METRICS__PORT=port)
    deployment.create_topics()
    new = {f"new-{number}": WORD for number in range(NEW)}
    targets = {"worker:9464": f"{HOST}:{port}"}

    with deployment.worker() as worker, prometheus(watching, targets) as watcher:
        say(deployment, {f"known-{number}": "landed" for number in range(KNOWN)})
        deployment.wait_for_events(KNOWN)
        wait_for("a scrape of that", lambda: bool(watcher.query(f"status_processor_records_total >= {KNOWN}")))
        assert SPIKE not in watcher.firing()

        # The word arrives; nothing is published of it, and the alert names it.
        say(deployment, new)
        wait_for("the alert", lambda: SPIKE in watcher.firing())
        alert = watcher.firing()[SPIKE]
        assert alert["labels"]["carrier"] == "acme"
        assert f"SMS {WORD}  ({NEW} times)" in alert["annotations"]["description"]
        deployment.wait_for_events(KNOWN + NEW)
        assert len(deployment.changes()) == KNOWN

        # The operator writes the row, has it checked, and sees what it changes, which is this and nothing else.
        (draft / "acme.toml").write_text(MENDED)
        checked = deployment.command("carriers", "check", str(draft))
        assert checked.returncode == 0, checked.stdout + checked.stderr
        different = told(deployment, "carriers", "diff", "--since", "1h", "--packs", str(draft), code=1)
        assert (different["same"], different["different"]) == (KNOWN, NEW)

        # SIGHUP: what comes from now on is understood; what lies in the dead letters does not move by itself.
        (packs / "acme.toml").write_text(MENDED)
        worker.signal(signal.SIGHUP)
        loaded = 'status_processor_pack_reloads_total{result="loaded"} == 1'
        wait_for("the reload to be seen", lambda: bool(watcher.query(loaded)))
        assert len(deployment.changes()) == KNOWN

        # A replay sends each letter back once; another one finds nothing to do.
        assert told(deployment, "dead-letters", "replay", "--understood", "--dry-run")["replayed"] == NEW
        assert len(deployment.changes()) == KNOWN
        assert told(deployment, "dead-letters", "replay", "--understood")["replayed"] == NEW
        wait_for("the changes", lambda: len(deployment.changes()) >= KNOWN + NEW)
        assert told(deployment, "dead-letters", "replay", "--understood")["replayed"] == 0
        wait_for("no lag", lambda: not any(lag for _, lag in worker.metrics()["status_processor_consumer_lag_records"]))
        assert worker.stop() == 0

    published = Counter((change.message_id, change.status, change.sequence) for change in deployment.changes())
    expected = {(f"known-{number}", "DELIVERED", 1): 1 for number in range(KNOWN)}
    assert published == expected | {(message_id, "SENT", 1): 1 for message_id in new}
    assert told(deployment, "books")["balanced"]
