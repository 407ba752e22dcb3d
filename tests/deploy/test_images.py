"""The worker's image and the compose file, built and run for real."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.deploy.images import WORKER, Images, gather
from tests.deploy.tools import ROOT, WITH, compose_text, needed_compose
from tests.kafka.container import IMAGE

pytestmark = pytest.mark.timeout(1200)  # Whoever is first builds.

PROJECT = "status-processor-check"
EVENTS = 20_000
SEED = "7"
SOON_S = 180
"""Seconds; a worker that was killed comes back when its session has run out."""
COMPILERS = ("cc", "gcc", "g++", "c++", "clang", "make", "as", "ld")


@pytest.fixture(scope="session")
def images(request: pytest.FixtureRequest) -> Images:
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    capture = request.config.pluginmanager.get_plugin("capturemanager")

    def tell(line: str) -> None:
        if reporter is None:
            return
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            reporter.write_line(f"images: {line}")

    return gather(tell)


@pytest.fixture
def in_worker(images: Images) -> Callable[..., str]:
    """Run a command in the worker's image, as bare as it is meant to be run, and return what it printed."""

    def run(command: Sequence[str], **more: Any) -> str:
        output = images.client.containers.run(
            WORKER,
            list(command),
            remove=True,
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true"],
            network_disabled=True,
            stderr=True,
            **more,
        )
        return str(output.decode())

    return run


class Deployment:
    """The compose file, with ports that are free and images that are here."""

    def __init__(self, images: Images) -> None:
        tool = needed_compose()
        text, _ = compose_text()
        text = re.sub(r'"127\.0\.0\.1:\d+:(\d+)"', r'"127.0.0.1::\1"', text)
        self._text = text.replace("image: status-processor\n", f"image: {WORKER}\n")
        self._command = [*tool.command, "--project-name", PROJECT, "--project-directory", str(ROOT), "--file", "-"]
        self._environment = {
            **os.environ,
            **{f"{role.upper()}_IMAGE": name for role, name in images.names.items()},
        }

    def __call__(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [*self._command, *arguments],
            input=self._text,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def page(self, service: str, port: int, path: str) -> str:
        """Ask a service's port, as this machine reaches it."""
        address = self("port", service, str(port)).strip().splitlines()[-1]
        with urlopen(f"http://{address}{path}", timeout=10) as response:
            return str(response.read().decode())

    def get(self, service: str, port: int, path: str) -> Any:
        """Ask for JSON."""
        return json.loads(self.page(service, port, path))


@pytest.fixture(scope="module")
def deployment(images: Images) -> Iterator[Deployment]:
    """Kafka, a worker and what watches it, up and ready."""
    compose = Deployment(images)
    services = ["worker", "prometheus", *(["grafana"] if "grafana" in images.names else [])]
    try:
        compose("up", "--detach", "--no-build", *services)
        wait_for(lambda: compose.get("worker", 9464, "/readyz")["ok"])
        yield compose
    finally:
        compose("--profile", "simulate", "down", "--volumes", "--remove-orphans", check=False)


def wait_for(condition: Callable[[], Any]) -> None:
    """Wait until it holds; what does not answer yet does not hold."""
    deadline = time.monotonic() + SOON_S
    while True:
        try:
            if condition():
                return
            why = "it does not hold"
        except (OSError, AssertionError, ValueError) as error:
            why = str(error)
        assert time.monotonic() < deadline, why
        time.sleep(0.5)


def test_the_image_runs_without_rights_on_a_root_that_cannot_be_written(
    in_worker: Callable[..., str], images: Images, record_property: Callable[[str, str], None]
) -> None:
    assert in_worker(["--version"]).startswith("status-processor, version ")
    assert in_worker(["-u"], entrypoint="id").strip() == "10001"
    assert "oracle: equal" in in_worker(["demo", "--events", "2000"], tmpfs={"/tmp": ""})
    record_property(WITH, f"images: {images.told}; engine {images.client.version()['Version']}")


def test_the_image_has_the_program_and_neither_compiler_nor_tests(in_worker: Callable[..., str]) -> None:
    there = in_worker(
        ["-c", f"command -v {' '.join(COMPILERS)}; ls /build /opt/status-processor/bin 2>&1; true"], entrypoint="sh"
    )
    files = in_worker(
        ["-c", "import processor; from importlib.metadata import files as f; print(*f('message-status-processor'))"],
        entrypoint="python",
    ).split()

    lines = there.splitlines()
    assert not {line.rpartition("/")[2] for line in lines} & set(COMPILERS)
    assert [line for line in lines if "/build" in line and "No such file" in line]
    assert "pip" not in lines
    assert "status-processor" in lines
    assert [name for name in files if name.startswith("processor/_speedups.") and name.endswith(".so")]
    assert not [name for name in files if name.startswith(("tests/", "bench/", "deploy/"))]


def test_the_image_says_how_it_is_looked_after(images: Images) -> None:
    config = images.client.images.get(WORKER).attrs["Config"]

    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"] == ["CMD", "status-processor", "health"]
    assert (config["Entrypoint"], config["Cmd"]) == (["status-processor"], ["run"])
    assert list(config["Volumes"]) == ["/var/lib/status-processor"]


def test_a_worker_that_is_killed_under_load_publishes_what_it_should(deployment: Deployment) -> None:
    traffic = ["simulate", "--seed", SEED, "--events", str(EVENTS)]
    sent = deployment("run", "--rm", "simulator", *traffic)
    deployment("kill", "worker")
    deployment("up", "--detach", "--no-build", "worker")
    wait_for(lambda: deployment.get("worker", 9464, "/readyz")["ok"])

    verdict = deployment("run", "--rm", "simulator", *traffic, "--verify")

    assert f"with {EVENTS} events to carrier.status.raw" in sent
    assert "equal: " in verdict


def test_the_worker_writes_its_state_and_nothing_else(deployment: Deployment) -> None:
    written = deployment("exec", "-T", "worker", "sh", "-c", "touch /x /opt/x /var/lib/status-processor/x", check=False)
    healthy = deployment("exec", "-T", "worker", "status-processor", "health", "--ready")

    assert written.count("Read-only file system") == 2
    assert "ready" in healthy


def test_prometheus_sees_the_worker_and_has_no_quarrel_with_the_rules(deployment: Deployment) -> None:
    def value(expression: str) -> float:
        found = deployment.get("prometheus", 9090, f"/api/v1/query?{urlencode({'query': expression})}")
        (row,) = found["data"]["result"]
        return float(row["value"][1])

    wait_for(lambda: value('up{job="status-processor"}') == 1)
    wait_for(lambda: value("sum(status_processor_records_total)") >= 0)
    groups = deployment.get("prometheus", 9090, "/api/v1/rules")["data"]["groups"]
    assert groups
    wait_for(
        lambda: all(
            rule["health"] == "ok"
            for group in deployment.get("prometheus", 9090, "/api/v1/rules")["data"]["groups"]
            for rule in group["rules"]
        )
    )


def test_grafana_shows_the_dashboard_to_whoever_looks(deployment: Deployment, images: Images) -> None:
    if "grafana" not in images.names:
        pytest.skip("the image of Grafana cannot be pulled, and nothing packaged stands in for it")
    wait_for(lambda: deployment.get("grafana", 3000, "/api/search?type=dash-db"))
    assert deployment.get("grafana", 3000, "/api/health")["database"] == "ok"


def test_live_traffic_comes_and_stops(deployment: Deployment, images: Images) -> None:
    def total() -> float:
        page = deployment.page("worker", 9464, "/metrics")
        return sum(map(float, re.findall(r"^status_processor_records_total\S* (\S+)$", page, re.MULTILINE)))

    before = total()
    deployment("--profile", "simulate", "up", "--detach", "--no-build", "simulator")
    wait_for(lambda: total() > before)
    (container,) = images.client.containers.list(filters={"label": ["com.docker.compose.service=simulator"]})

    deployment("--profile", "simulate", "stop", "simulator")

    container.reload()
    assert container.attrs["State"]["ExitCode"] == 130


def test_a_worker_that_is_stopped_leaves_in_order(deployment: Deployment, images: Images) -> None:
    (container,) = images.client.containers.list(filters={"label": ["com.docker.compose.service=worker"]})

    deployment("stop", "worker")

    container.reload()
    assert container.attrs["State"]["ExitCode"] == 0
    assert "stopping: leaving the group" in container.logs().decode()


def test_the_brokers_of_the_tests_run_in_a_container(images: Images) -> None:
    test = "tests/broker/test_fixture.py::test_aborted_records_are_hidden_from_a_reader_of_committed_ones"
    environment = {**os.environ, "KAFKA_IMAGE": images.names["kafka"], "CI": "false"}
    if images.names["kafka"] != IMAGE:
        environment["TESTCONTAINERS_RYUK_DISABLED"] = "true"

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", test],
        cwd=ROOT,
        env={name: value for name, value in environment.items() if name != "KAFKA_BOOTSTRAP_SERVERS"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    assert f"broker: {images.names['kafka']} in Docker" in done.stdout
