"""Packs are changed under a running worker whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from processor.pack_files import PackSource
from processor.pack_reload import PackReload
from processor.telemetry import Telemetry
from processor.testing import PipelineDriver, raw_event
from tests.test_telemetry import samples

PACK = """
carrier = "acme"
name = "Acme"
sources = ["https://acme.example/docs"]

[channels.SMS.statuses]
landed = "DELIVERED"

[[examples]]
channel = "SMS"
rows = [["landed", "DELIVERED"]]
"""
BAD = 'carrier = "acme"\nname = "Acme"\n[channels.SMS.statuses]\nlanded = "ARRIVED"\n'


class Running:
    """A pipeline with the packs of a directory, as a worker has it."""

    def __init__(self, directory: Path) -> None:
        self.source = PackSource(directory, b"")
        self.driver = PipelineDriver(self.source.load())
        self.telemetry = Telemetry("test")
        self.reload = PackReload(self.source, self.driver.pipeline, self.telemetry)

    def reloads(self) -> dict[tuple[str, ...], float]:
        """Return the counts of reloads."""
        return samples(self.telemetry, "status_processor_pack_reloads_total")

    def statuses(self, message_id: str) -> list[str]:
        """Say what becomes of a report in Acme's word."""
        self.driver.pipe(raw_event("acme", message_id, "landed"))
        return self.driver.timeline(message_id)


@pytest.fixture
def running(tmp_path: Path) -> Running:
    return Running(tmp_path)


def test_a_new_pack_counts_from_the_step_after_it_was_asked_for(running: Running, tmp_path: Path) -> None:
    (tmp_path / "acme.toml").write_text(PACK)
    running.reload.step()
    assert running.statuses("m1") == []

    running.reload.ask()
    running.reload.step()

    assert running.statuses("m2") == ["DELIVERED"]
    assert running.source.changed == [str(tmp_path / "acme.toml")]
    assert running.reloads() == {("loaded",): 1.0, ("refused",): 0.0}


def test_a_bad_pack_is_refused_whole_and_the_old_ones_stay(running: Running, tmp_path: Path) -> None:
    (tmp_path / "acme.toml").write_text(PACK)
    running.reload.ask()
    running.reload.step()

    (tmp_path / "acme.toml").write_text(BAD)
    (tmp_path / "other.toml").write_text(PACK.replace("acme", "other"))
    running.reload.ask()
    running.reload.step()

    assert running.statuses("m1") == ["DELIVERED"]
    assert "other" not in running.driver.pipeline.packs.carriers
    assert running.reloads() == {("loaded",): 1.0, ("refused",): 1.0}


def test_a_directory_that_is_gone_is_refused_too(running: Running, tmp_path: Path) -> None:
    tmp_path.rename(tmp_path.with_name("elsewhere"))

    running.reload.ask()
    running.reload.step()

    assert running.reloads() == {("loaded",): 0.0, ("refused",): 1.0}


def test_packs_are_read_once_for_each_time_it_was_asked(running: Running) -> None:
    running.reload.ask()
    for _ in range(3):
        running.reload.step()

    assert running.reloads() == {("loaded",): 1.0, ("refused",): 0.0}
