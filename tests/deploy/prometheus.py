"""A real Prometheus with the rules that are shipped, on a free port of this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from typing import Any, Final

import pytest

from tests.kafka.readiness import HOST, free_port

SHIPPED: Final = Path(__file__).parents[2] / "deploy" / "prometheus"
_PROMETHEUS: Final = os.environ.get("PROMETHEUS") or shutil.which("prometheus")
PROMTOOL: Final = os.environ.get("PROMTOOL") or shutil.which("promtool") or "promtool"
_START_S: Final = 60.0
_INSTALL: Final = (
    "install Prometheus (Debian: apt-get install --no-install-recommends prometheus; no service of it is needed), "
    "or say in PROMETHEUS and PROMTOOL where its programs are"
)


def require_prometheus() -> None:
    """Skip the test where this machine lacks what it needs, and say what to install; fail where CI=true."""
    lacking = ""
    if _PROMETHEUS is None or shutil.which(PROMTOOL) is None:
        lacking = f"no prometheus or no promtool: {_INSTALL}"
    elif util.find_spec("yaml") is None:
        lacking = "no pyyaml: run `make check-deploy`, or install requirements-deploy.lock"
    if lacking and os.environ.get("CI") == "true":
        pytest.fail(f"rules and dashboard are run on a Prometheus wherever CI=true; {lacking}")
    if lacking:
        pytest.skip(lacking)


def version() -> str:
    """Return which Prometheus this is."""
    assert _PROMETHEUS is not None
    told = subprocess.run([_PROMETHEUS, "--version"], capture_output=True, text=True, timeout=30, check=True)
    return " ".join((told.stdout or told.stderr).split()[:3]).replace(", version", "")


class QueryError(Exception):
    """Prometheus refuses an expression."""


class Prometheus:
    """Prometheus' HTTP interface."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: str | float) -> Any:
        """Ask for something, and return its data.

        Raises:
            QueryError: It refuses, with what it says.
        """
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise QueryError(f"{parameters}: {error.read().decode()}") from error

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate an expression now, and return its samples: `metric` and `value`."""
        found = self.get("query", query=expression)
        return list(found["result"]) if found["resultType"] == "vector" else [found]

    def query_range(self, expression: str, seconds: float, step_s: float = 1.0) -> list[dict[str, Any]]:
        """Evaluate an expression all along the last seconds, and return its series: `metric` and `values`."""
        now = time.time()
        found = self.get("query_range", query=expression, start=now - seconds, end=now, step=step_s)
        return list(found["result"])

    def firing(self) -> dict[str, dict[str, Any]]:
        """Return the alerts that fire, by name."""
        alerts = self.get("alerts")["alerts"]
        return {alert["labels"]["alertname"]: alert for alert in alerts if alert["state"] == "firing"}


def quickened(text: str) -> str:
    """Let rules be evaluated each second, and fire after four: what a test of minutes becomes."""
    text = re.sub(r"^( *for:) .*$", r"\1 4s", text, flags=re.MULTILINE)
    text = re.sub(r"^( *(?:scrape|evaluation)_interval:) .*$", r"\1 1s", text, flags=re.MULTILINE)
    return re.sub(r"^( *scrape_timeout:) .*$", r"\1 1s", text, flags=re.MULTILINE)


@contextmanager
def prometheus(directory: Path, targets: Mapping[str, str]) -> Iterator[Prometheus]:
    """Run one on the shipped configuration, quickened, for as long as the block lasts.

    Args:
        directory: Where its files go; empty.
        targets: What the shipped configuration scrapes, and what is scraped in its place: each host and port.
    """
    assert _PROMETHEUS is not None
    for name in ("prometheus.yml", "alerts.yml"):
        text = quickened((SHIPPED / name).read_text())
        for shipped, here in targets.items():
            text = text.replace(shipped, here)
        (directory / name).write_text(text)
    port = free_port()
    log = directory / "prometheus.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                _PROMETHEUS,
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={HOST}:{port}",
            ],
            stdout=out,
            stderr=out,
        )
    try:
        _wait_until_ready(f"http://{HOST}:{port}/-/ready", process, log)
        yield Prometheus(f"http://{HOST}:{port}")
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"Prometheus does not answer: {log.read_text()[-3000:]}") from None
            time.sleep(0.1)
