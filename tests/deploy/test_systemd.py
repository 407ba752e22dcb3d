"""The systemd unit, as systemd's own tools read it."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from processor.cli import commands
from processor.errors import ExitCode
from processor.settings import load_settings
from tests.deploy.tools import DEPLOY, ROOT, WITH

UNIT = DEPLOY / "systemd" / "status-processor@.service"
PROGRAM = "/opt/status-processor/bin/status-processor"
EXPOSURE_MAX = 20
"""In tenths: 2.0 of 10, of which the network alone is 0.8."""
NO_RESTART_HELPS = {
    ExitCode.USAGE,
    ExitCode.DEAD_LETTER_LIMIT,
    ExitCode.STATE_REFUSED,
    ExitCode.NOT_PERMITTED,
    ExitCode.SETTINGS,
}


@pytest.fixture
def analyze(record_property: Callable[[str, str], None]) -> Callable[..., subprocess.CompletedProcess[str]]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze: install it (Debian: apt-get install systemd)")

    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)

    record_property(WITH, f"unit: {ask('--version').stdout.splitlines()[0]}")
    return ask


def service() -> configparser.SectionProxy:
    """Return the unit's [Service]; of a name that stands twice the last value."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's names have upper case
    parser.read(UNIT)
    return parser["Service"]


def environment(instance: str) -> dict[str, str]:
    given = re.findall(r"^Environment=(\w+)=(\S+)$", UNIT.read_text(), flags=re.MULTILINE)
    return {name: value.replace("%i", instance).replace("%S", "/var/lib") for name, value in given}


def test_systemd_has_nothing_against_the_unit(
    analyze: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    program = tmp_path / "status-processor"
    program.touch(mode=0o755)
    unit = tmp_path / "status-processor@0.service"
    unit.write_text(UNIT.read_text().replace(PROGRAM, str(program)))

    done = analyze("verify", "--man=no", str(unit))

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_unit_exposes_no_more_than_it_must(analyze: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager", str(UNIT))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Overall exposure level" in done.stdout


def test_systemd_starts_again_what_a_restart_can_mend_and_nothing_else() -> None:
    assert service()["Restart"] == "on-failure"
    assert set(map(int, service()["RestartPreventExitStatus"].split())) == NO_RESTART_HELPS
    assert "StartLimitIntervalSec=0" in UNIT.read_text()


def test_an_instance_is_an_ordinal_with_a_state_of_its_own(tmp_path: Path) -> None:
    program, command, *options = service()["ExecStart"].replace("%i", "3").split()
    given = environment("3")
    file = tmp_path / "settings.toml"
    file.write_text('[kafka]\n"bootstrap.servers" = "kafka:9092"\n')

    assert program == PROGRAM
    context = commands.commands[command].make_context(command, options)
    assert context.params["ordinal"] == 3
    assert given["STATUS_PROCESSOR_SETTINGS"] == "/etc/status-processor/settings.toml"
    loaded = load_settings(file, {"ordinal": 3}, {**given, "STATUS_PROCESSOR_SETTINGS": ""})
    assert loaded.state.directory == Path("/var/lib") / service()["StateDirectory"].replace("%i", "3")


def test_an_orderly_end_has_its_time_and_packs_are_read_again_by_a_reload() -> None:
    assert int(service()["TimeoutStopSec"]) >= 2 * load_settings(environ={}).transaction.timeout_ms / 1000
    assert service()["ExecReload"].split() == ["/bin/kill", "-HUP", "$MAINPID"]
    assert "KillSignal" not in service()  # SIGTERM is what it is without.


def test_the_unit_names_no_path_of_a_developers_machine() -> None:
    assert str(ROOT) not in UNIT.read_text()
