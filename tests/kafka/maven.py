"""Apache Kafka from Maven Central as a child process: needs a JRE and Maven, no Docker."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kafka.readiness import HOST, BrokerError, free_port, wait_until_it_answers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

VERSION = "4.1.0"
_CLUSTER_ID = "5L6g3nShT-eMCtK--X86sw"
_FETCH_S = 600.0
_FORMAT_S = 60.0
_START_S = 90.0
_STOP_S = 30.0
_LOG_LINES = 30
_LOG4J = """\
Configuration:
  Appenders:
    Console: {name: C, PatternLayout: {pattern: "%d %p %c %m%n"}}
  Loggers:
    Root: {level: warn, AppenderRef: {ref: C}}
"""
_GUARD = 'read -r _ || kill -KILL "$1"'
"""Ends the broker when the other end of its standard input is gone without a word: pytest itself was killed."""


def missing() -> str:
    """Return what this machine lacks for such a broker, empty where it lacks nothing."""
    tools = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    return f"no {' and no '.join(tools)} in PATH" if tools else ""


def jars_directory() -> Path:
    """Return where Kafka's jars are kept between runs."""
    given = os.environ.get("XDG_CACHE_HOME")
    cache = Path(given) / "message-status-processor" if given else Path(__file__).parents[2] / ".cache"
    return cache / f"kafka-{VERSION}"


def fetch_jars() -> Path:
    """Return the directory with Kafka's jars, fetched on first use.

    Raises:
        BrokerError: Maven could not fetch them.
    """
    libs = jars_directory()
    if libs.is_dir():
        return libs
    libs.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=libs.parent) as unfinished:
        target = Path(unfinished) / "libs"
        pom = Path(__file__).with_name("pom.xml")
        command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"]
        command += [f"-Dkafka.version={VERSION}", f"-DoutputDirectory={target}"]
        _run(command, _FETCH_S)
        if not libs.is_dir():  # A run beside this one may have been first.
            target.rename(libs)
    return libs


class MavenBroker:
    """One KRaft process, broker and controller. Signals go to its own process id and to no other."""

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, str] | None = None,
        client: Mapping[str, str | float] | None = None,
        heap: str = "1g",
        format_options: Sequence[str] = (),
        java_options: Sequence[str] = (),
    ) -> None:
        """Format a log directory.

        Args:
            directory: Where its files lie: server.properties, broker.log, data.
            config: Settings of the broker over ours; `{port}` and `{controller_port}` in a value are filled in.
            client: librdkafka settings that a client needs beside the address, such as SASL's.
            heap: Size of the Java heap.
            format_options: More options of the tool that formats the log directory, such as its first users.
            java_options: More options of the broker's Java.
        """
        self._directory = directory
        self._heap = heap
        self._java_options = list(java_options)
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self.client: dict[str, str | float] = {"bootstrap.servers": f"{HOST}:{self._port}", **(client or {})}
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "log4j2.yaml").write_text(_LOG4J)
        self._file.write_text("".join(f"{key}={value}\n" for key, value in self._properties(config or {}).items()))
        format_it = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(self._file), *format_options]
        _run([*self._java("256m"), *format_it], _FORMAT_S)

    @property
    def log(self) -> Path:
        """The broker's log; every start appends to it."""
        return self._directory / "broker.log"

    @property
    def pid(self) -> int | None:
        """Id of the running process, None while there is none."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the process and wait until it answers.

        Raises:
            BrokerError: It did not in time; the message has the last lines of its log.
        """
        if self._process is not None:
            raise BrokerError("the broker runs already")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._java(self._heap), "kafka.Kafka", str(self._file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for pytest, which then ends its broker itself.
            )
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "sh", str(self._process.pid)], stdin=subprocess.PIPE, start_new_session=True
        )
        process = self._process
        try:
            wait_until_it_answers(self.client, _START_S, lambda: process.poll() is not None)
        except BrokerError as error:
            self.kill()
            lines = self.log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            raise BrokerError(f"{error}; the last lines of {self.log}:\n" + "\n".join(lines)) from error

    def stop(self) -> None:
        """Shut down in order."""
        if self._process is None:
            return
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reap()

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def pause(self) -> None:
        """Freeze the process: its connections stay open and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Thaw it."""
        self._signal(signal.SIGCONT)

    def discard(self) -> None:
        """End the process and delete its data; the log stays."""
        self.kill()
        shutil.rmtree(self._directory / "data", ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _reap(self) -> None:
        assert self._process is not None
        self._process.wait(_STOP_S)
        self._process = None
        if self._guard is not None:
            self._guard.communicate(b"done\n")
            self._guard = None

    @property
    def _file(self) -> Path:
        return self._directory / "server.properties"

    def _java(self, heap: str) -> list[str]:
        log4j = f"-Dlog4j2.configurationFile={self._directory}/log4j2.yaml"
        own = [f"-Xmx{heap}", f"-Xms{heap}", "-XX:+PerfDisableSharedMem", log4j]
        return ["java", *own, *self._java_options, "-cp", f"{fetch_jars()}/*"]

    def _properties(self, config: Mapping[str, str]) -> dict[str, str]:
        ports = {"{port}": str(self._port), "{controller_port}": str(free_port())}
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{HOST}:{{controller_port}}",
            "listeners": f"PLAINTEXT://{HOST}:{{port}},CONTROLLER://{HOST}:{{controller_port}}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(self._directory / "data"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "5",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "5",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "auto.create.topics.enable": "false",
            # A broker that was killed may register again only when its old session is over.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "group.initial.rebalance.delay.ms": "0",
            # Short times may be asked for, so that a test of a dead member need not wait for 45 s.
            "group.min.session.timeout.ms": "1000",
            "group.consumer.min.session.timeout.ms": "1000",
            "group.consumer.session.timeout.ms": "6000",
            "group.consumer.min.heartbeat.interval.ms": "300",
            "group.consumer.heartbeat.interval.ms": "1000",
        } | dict(config)
        for name, port in ports.items():
            properties = {key: value.replace(name, port) for key, value in properties.items()}
        return properties


@contextmanager
def maven_broker(
    directory: Path, config: Mapping[str, str] | None = None, client: Mapping[str, str | float] | None = None
) -> Iterator[MavenBroker]:
    """Run a broker for as long as the block lasts, however it ends."""
    broker = MavenBroker(directory, config, client)
    try:
        broker.start()
        yield broker
    finally:
        broker.discard()


def _run(command: list[str], within_s: float) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=within_s)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrokerError(f"{command[0]} failed: {error}") from error
    if done.returncode:
        lines = (done.stdout + done.stderr).splitlines()[-_LOG_LINES:]
        raise BrokerError(f"{command[0]} failed with exit code {done.returncode}:\n" + "\n".join(lines))
