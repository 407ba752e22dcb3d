"""Fixtures of all tests: the real broker, and how hard hypothesis looks."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from hypothesis import settings

from tests.kafka import maven
from tests.kafka.broker import Broker, Source, find, own_broker
from tests.kafka.readiness import BrokerError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

settings.register_profile("dev", deadline=None, max_examples=100, print_blob=True)
settings.register_profile("ci", deadline=None, max_examples=300, derandomize=True, print_blob=True)
settings.register_profile("deep", deadline=None, max_examples=20_000, print_blob=True)

_IN_CI = os.environ.get("CI") == "true"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if _IN_CI else "dev"))

_SOURCE = pytest.StashKey[Source | BrokerError]()
_BROKER_FIXTURES = {"broker", "make_broker"}
_DEPLOY = Path(__file__).with_name("deploy")


class MakeBroker(Protocol):
    """Starts another broker; all of a test's end with it."""

    def __call__(
        self, config: Mapping[str, str] | None = None, client: Mapping[str, str | float] | None = None
    ) -> Broker:
        """Start a broker.

        Args:
            config: Settings of the broker; `{port}` and `{controller_port}` in a value are filled in.
            client: librdkafka settings that a client needs beside the address, such as SASL's.
        """
        ...


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A real Apache Kafka that all tests share. Without one the test is skipped; where CI=true it fails."""
    source = request.config.stash[_SOURCE]
    if isinstance(source, BrokerError):
        pytest.skip(str(source))
    with source.run(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[MakeBroker]:
    """Start brokers that a test may configure, stop, kill and pause, whatever the shared one is."""
    if maven.missing():
        pytest.skip(f"{maven.missing()}: install a JRE and Maven (Debian: apt-get install default-jre-headless maven)")
    with ExitStack() as running:
        count = 0

        def make(config: Mapping[str, str] | None = None, client: Mapping[str, str | float] | None = None) -> Broker:
            nonlocal count
            count += 1
            return running.enter_context(own_broker(tmp_path / f"kafka-{count}", config, client))

        yield make


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Whatever uses a broker is marked so, and runs last: what is quick fails first.

    What checks the deployment needs more than a broker, and runs only where somebody asks for it: by the marker, or by
    its path.
    """
    for item in items:
        if not _BROKER_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.broker)
        if item.path.is_relative_to(_DEPLOY):
            item.add_marker(pytest.mark.deploy)
    if not _asks_for_deploy(config):
        left_out = [item for item in items if item.get_closest_marker("deploy") is not None]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    items.sort(key=_needs_broker)


def _asks_for_deploy(config: pytest.Config) -> bool:
    paths = (Path(argument.split("::", 1)[0]).resolve() for argument in config.args)
    return "deploy" in config.option.markexpr or any(path.is_relative_to(_DEPLOY) for path in paths)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Where several processes share the tests, the first one fetches and tells; the others find it there."""
    option = session.config.option
    is_first_of_many = getattr(option, "numprocesses", None) and not hasattr(session.config, "workerinput")
    if is_first_of_many and not option.collectonly and "not broker" not in option.markexpr:
        _look_for_a_broker(session.config)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Find a broker before the first test that needs one, so that a download is not charged to its time limit."""
    if not session.config.option.collectonly and any(map(_needs_broker, session.items)):
        _look_for_a_broker(session.config)


def _look_for_a_broker(config: pytest.Config) -> None:
    try:
        source = find(lambda line: _tell(config, line))
    except BrokerError as error:
        config.stash[_SOURCE] = error
    else:
        config.stash[_SOURCE] = source
        _tell(config, source.why)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI=true, a test that needs a broker may not be skipped: nobody would see that it never runs."""
    report = yield
    if _IN_CI and report.skipped and not hasattr(report, "wasxfail") and _needs_broker(item):
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} needs a real broker and may not be skipped where CI=true. {reason}"
    return report


def _needs_broker(item: pytest.Item) -> bool:
    return item.get_closest_marker("broker") is not None


def _tell(config: pytest.Config, line: str) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(f"broker: {line}")
