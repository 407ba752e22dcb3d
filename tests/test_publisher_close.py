"""A producer whose close never returns holds nobody up: the client waits for its abort to be answered, for ever."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from processor import publisher as module
from processor.codec import ChangeEncoder
from processor.publisher import OutputTopics, Publisher


class StuckProducer:
    """Answers everything but `close`."""

    def __init__(self, release: threading.Event) -> None:
        self.release = release

    def init_transactions(self, _: float) -> None:
        """Answer at once."""

    def poll(self, _: float) -> None:
        """Serve nothing."""

    def purge(self) -> None:
        """Forget nothing."""

    def close(self) -> None:
        self.release.wait()


def test_a_producer_that_does_not_close_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CALL_S", 0.01)
    release = threading.Event()
    made: list[StuckProducer] = []

    def make(*_: object, **__: object) -> Any:
        made.append(StuckProducer(release))
        return made[-1]

    publisher = Publisher(
        {"transactional.id": "app-group-0"},
        OutputTopics("changes", "dead", "state", "rekeyed"),
        ChangeEncoder(),
        budget_s=1,
        make_producer=make,
    )
    publisher.start()

    publisher.close()
    publisher.start()
    publisher.close()
    release.set()

    assert len(made) == 2
