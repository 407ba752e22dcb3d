"""Which broker the tests take, and what happens where there is none. None of these starts one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kafka import maven
from tests.kafka.broker import Broker, find
from tests.kafka.readiness import HOST, BrokerError, free_port, wait_until_it_answers

ROOT = Path(__file__).parents[1]
DOCKER_AWAY = f"tcp://{HOST}:1"
"""Nothing listens there."""


def run_pytest(test: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
    return subprocess.run(
        [*command, "-c", str(ROOT / "pyproject.toml"), str(test), *arguments],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run_a_broker_test(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a test that wants a broker where there is neither Docker nor Java nor Maven."""
    test = tmp_path / "test_wanting.py"
    test.write_text("def test_wants_one(broker):\n    assert broker\n\n\ndef test_wants_none():\n    pass\n")
    return run_pytest(test, {"PATH": str(tmp_path), "DOCKER_HOST": DOCKER_AWAY, **environment})


def test_without_a_broker_a_test_is_skipped_and_says_what_to_install(tmp_path: Path) -> None:
    done = run_a_broker_test(tmp_path)

    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 skipped" in done.stdout
    assert "apt-get install default-jre-headless maven" in done.stdout
    assert "Docker does not answer" in done.stdout


def test_without_a_broker_a_test_fails_in_ci(tmp_path: Path) -> None:
    done = run_a_broker_test(tmp_path, CI="true")

    assert done.returncode == 1, done.stdout
    assert "1 passed, 1 error" in done.stdout
    assert "may not be skipped where CI=true" in done.stdout
    assert "apt-get install default-jre-headless maven" in done.stdout


def test_tests_without_a_broker_look_for_none(tmp_path: Path) -> None:
    test = tmp_path / "test_alone.py"
    test.write_text("def test_alone():\n    pass\n")

    done = run_pytest(test, {"PATH": os.environ["PATH"], "CI": "true"})

    assert done.returncode == 0, done.stdout
    assert not [line for line in done.stdout.splitlines() if line.startswith("broker:")]


def test_what_checks_the_deployment_runs_only_where_it_is_asked_for(tmp_path: Path) -> None:
    test = tmp_path / "test_deployed.py"
    test.write_text("import pytest\n\n\n@pytest.mark.deploy\ndef test_a():\n    pass\n\n\ndef test_b():\n    pass\n")
    environment = {"PATH": os.environ["PATH"]}

    by_default, asked = run_pytest(test, environment), run_pytest(test, environment, "-m", "deploy")

    assert "1 passed, 1 deselected" in by_default.stdout
    assert "1 passed, 1 deselected" in asked.stdout
    assert run_pytest(test, environment, "-m", "deploy or not deploy").stdout.count("2 passed") == 1


def test_a_given_broker_is_taken_before_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "kafka.example:9092")

    assert find().why == "kafka.example:9092, from KAFKA_BOOTSTRAP_SERVERS"


def test_docker_that_does_not_answer_gives_way_to_maven(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.setenv("DOCKER_HOST", DOCKER_AWAY)
    (tmp_path / "message-status-processor" / f"kafka-{maven.VERSION}").mkdir(parents=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for tool in ("java", "mvn"):
        (tmp_path / tool).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    why = find().why

    assert why.startswith(f"Apache Kafka {maven.VERSION} from Maven Central")
    assert "Docker does not answer" in why


def test_maven_that_fails_tells_its_last_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "mvn"
    tool.write_text("#!/bin/sh\necho cannot resolve kafka\nexit 3\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    with pytest.raises(BrokerError, match="mvn failed with exit code 3:\ncannot resolve kafka"):
        maven.fetch_jars()

    assert not maven.jars_directory().exists()


def test_waiting_for_a_broker_that_never_answers_ends_in_time() -> None:
    with pytest.raises(BrokerError, match="no broker answers"):
        wait_until_it_answers({"bootstrap.servers": f"{HOST}:{free_port()}"}, 0.5)


def test_waiting_ends_at_once_when_the_process_has_ended() -> None:
    with pytest.raises(BrokerError, match="ended while it started"):
        wait_until_it_answers({"bootstrap.servers": f"{HOST}:{free_port()}"}, 60, lambda: True)


def test_a_free_port_can_be_listened_on() -> None:
    with socket.create_server((HOST, free_port())) as listener:
        assert listener.getsockname()[1] in range(20_000, 30_000)


@pytest.mark.parametrize("action", ["start", "stop", "kill", "restart", "pause", "resume"])
def test_a_broker_of_somebody_else_is_left_alone(action: str) -> None:
    broker = Broker({"bootstrap.servers": f"{HOST}:{free_port()}"})

    with pytest.raises(pytest.skip.Exception, match="not the tests' own process"):
        getattr(broker, action)()


def test_client_settings_may_be_given_as_words() -> None:
    broker = Broker({"bootstrap.servers": f"{HOST}:1", "sasl.username": "a"})

    assert broker.client({"sasl.username": "b"}, group_id="g", log_level=0) == {
        "bootstrap.servers": f"{HOST}:1",
        "sasl.username": "b",
        "group.id": "g",
        "log_level": 0,
    }
