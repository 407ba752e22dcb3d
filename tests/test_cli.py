"""The command line: a user's mistake gives a line that says what to do, and never a traceback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from confluent_kafka import KafkaError, Producer

import processor
from processor.cli import commands, main
from processor.cli.common import EXIT_CODES
from processor.codec import ChangeEncoder
from processor.errors import ExitCode
from processor.model import StatusChange
from processor.pack_files import builtin_texts
from processor.simulate import Sent
from processor.simulator import Simulator
from processor.testing import PipelineDriver, raw_event
from processor.topic_reader import TopicReader, silent_logger

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANGES = "message.status.changes"
NOWHERE = "kafka.bootstrap.servers=127.0.0.1:1"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("STATUS_PROCESSOR_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def mock_broker() -> Iterator[str]:
    """An in-process Kafka: librdkafka's mock cluster."""
    host = Producer({"test.mock.num.brokers": 1, "log_level": 0}, logger=silent_logger())
    found = host.list_topics(timeout=10).brokers.values()
    yield ",".join(f"{one.host}:{one.port}" for one in found)
    host.close()


def paths_of(group: click.Group, *names: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*names, name)
        if isinstance(command, click.Group):
            yield from paths_of(command, *names, name)


@pytest.mark.parametrize("path", [(), *paths_of(commands)], ids=" ".join)
def test_every_command_has_help_with_an_example(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*path, "--help"]) == ExitCode.OK

    out = capsys.readouterr().out
    assert "Example" in out
    assert f"status-processor {' '.join(path)}".rstrip() in out


def test_help_names_every_exit_code() -> None:
    named = {int(line.split()[0]) for line in EXIT_CODES.splitlines() if line.strip()[:1].isdigit()}

    assert named == {code.value for code in ExitCode}


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == ExitCode.OK
    assert processor.__version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nope"], ExitCode.USAGE, "No such command"),
        (["explain", "/nowhere/at-all"], ExitCode.USAGE, "No such file"),
        (["explain", "--packs", "/nowhere/at-all", "-"], ExitCode.SETTINGS, "cannot be read"),
        (["carriers", "show", "nobody"], ExitCode.USAGE, "carriers list"),
        (["carriers", "check", "/nowhere/at-all"], ExitCode.SETTINGS, "cannot be read"),
        (["schemas", "show", "nothing"], ExitCode.USAGE, "status_change"),
        (["simulate", "--shape", "nothing"], ExitCode.USAGE, "realistic"),
        (["simulate", "--events", "x"], ExitCode.USAGE, "--events"),
        (["simulate", "--live", "--rate", "5"], ExitCode.USAGE, "--live goes with none of"),
        (["config", "--set", "partitions"], ExitCode.USAGE, "NAME=VALUE"),
        (["config", "--set", "partitions=0"], ExitCode.SETTINGS, "from 1 to 10000"),
        (["config", "--settings", "/nowhere/at-all"], ExitCode.SETTINGS, "cannot be read"),
        (["run"], ExitCode.SETTINGS, "--ordinal"),
        (["run", "--ordinal", "0", "--set", "kafka.group.id=x"], ExitCode.SETTINGS, "use group"),
        (["run", "--ordinal", "0", "--log-level", "loud"], ExitCode.SETTINGS, "debug, info, warning, error"),
        (["tail", "--max", "0"], ExitCode.USAGE, "--max"),
        (["dead-letters", "list", "--since", "never"], ExitCode.USAGE, "24h"),
        (["dead-letters", "show", "3"], ExitCode.USAGE, "3:17"),
        (["dead-letters", "show", "3:17", "--output", "x"], ExitCode.USAGE, "--raw"),
        (["dead-letters", "replay", "--rate", "0"], ExitCode.USAGE, "--rate"),
        (["reset"], ExitCode.USAGE, "--to"),
        (["reset", "--to", "yesterday", "--yes"], ExitCode.USAGE, "24h"),
        (["reset", "--to", "2026-11-23T08:00:00", "--yes"], ExitCode.USAGE, "zone"),
        (["reset", "--to", "2126-11-23T08:00:00Z", "--yes"], ExitCode.USAGE, "future"),
        (["lag", "--watch", "0"], ExitCode.USAGE, "--watch"),
        (["carriers", "diff"], ExitCode.USAGE, "--packs"),
        (["carriers", "diff", "--since", "lately", "--packs", "/nowhere"], ExitCode.USAGE, "so long ago"),
    ],
)
def test_a_mistake_gives_one_line_and_its_exit_code(
    arguments: list[str], code: ExitCode, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line


@pytest.mark.parametrize("arguments", [["carriers", "list"], ["explain", "--carrier", "twilio", "-"]])
def test_an_output_that_cannot_be_written_is_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "processor", *arguments],
            input=b"MessageSid=SM1&MessageStatus=sent",
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
        )

    assert (ended.returncode, ended.stderr.decode()) == (
        ExitCode.FAILED,
        "error: cannot write the output (No space left on device)\n",
    )


def test_letters_that_the_output_has_not_are_escaped() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "processor", "explain", "--carrier", "twilio", "-"],
        input="MessageSid=SMé&MessageStatus=sent".encode(),
        check=False,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        timeout=60,
    )

    assert (ended.returncode, ended.stderr) == (ExitCode.OK, b"")
    assert ended.stdout.startswith(b"event 1: SMS SM\\xe9 is SENT\n")


def test_a_worker_that_still_waits_for_a_broker_ends_within_five_seconds(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        place = f"kafka.bootstrap.servers=127.0.0.1:{mute.getsockname()[1]}"
        command = [sys.executable, "-m", "processor", "run", "--ordinal", "0", "--set", place]
        command += ["--set", f"state.directory={tmp_path}", "--set", "metrics.port=0"]
        signals = (signal.SIGTERM, signal.SIGINT)
        children = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in signals]
        try:
            for child in children:
                assert child.stderr is not None
                assert any(b"waiting" in line for line in child.stderr)
            for child, number in zip(children, signals, strict=True):
                child.send_signal(number)
            assert [child.wait(5) for child in children] == [ExitCode.OK, ExitCode.OK]
        finally:
            for child in children:
                child.kill()
                child.communicate()


def test_a_reset_that_nobody_can_be_asked_about_needs_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reset", "--to", "earliest", "--set", NOWHERE]) == ExitCode.USAGE

    assert "--yes" in capsys.readouterr().err


def test_every_problem_of_a_pack_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "acme.toml").write_text('carrier = "acme"\nnonsense = 1\nmore_nonsense = 2\n', "utf-8")

    assert main(["carriers", "check", str(tmp_path)]) == ExitCode.SETTINGS

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert all(line.startswith("error: ") for line in lines)


def test_the_built_in_packs_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["carriers", "check"]) == ExitCode.OK
    assert ", 0 problems" in capsys.readouterr().out


def test_an_example_that_does_not_come_out_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = next(text for name, text in builtin_texts().items() if name.endswith("/twilio.toml"))
    (tmp_path / "twilio.toml").write_text(pack.replace('delivered = "DELIVERED"', 'delivered = "SENT"'), "utf-8")

    assert main(["carriers", "check", "--json", str(tmp_path)]) == ExitCode.FAILED
    assert json.loads(capsys.readouterr().out)["problems"]


def test_a_carriers_words_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["carriers", "show", "twilio", "--json"]) == ExitCode.OK
    shown = json.loads(capsys.readouterr().out)

    assert shown["tables"]["SMS"]["statuses"]["delivered"] == "DELIVERED"
    assert main(["carriers", "list"]) == ExitCode.OK
    assert "twilio" in capsys.readouterr().out


def test_a_carriers_words_are_shown_as_its_pack_spells_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["carriers", "show", "smpp"]) == ExitCode.OK
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]

    assert ["DELIVRD", "DELIVERED"] in rows
    assert ["UNKNOWN", "SENT  (the carrier does not know; error text 'UNKNOWN')"] in rows
    assert main(["carriers", "show", "vonage"]) == ExitCode.OK
    assert "EXPIRED  (whatever the error code)" in capsys.readouterr().out


def test_schemas_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schemas", "show", "status_change"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["name"] == "StatusChange"
    assert main(["schemas", "list"]) == ExitCode.OK
    assert "c301" in capsys.readouterr().out


def test_config_shows_values_and_origins_and_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "w.toml"
    file.write_text("identity_key = 'hunter2'\n[kafka]\nsasl.password = 'hunter2'\n", "utf-8")
    monkeypatch.setenv("STATUS_PROCESSOR_PARTITIONS", "3")
    arguments = ["config", "--settings", str(file), "--set", "group=g"]

    assert main([*arguments, "--json"]) == ExitCode.OK
    out = capsys.readouterr().out
    shown = json.loads(out)

    assert "hunter2" not in out
    assert shown["partitions"] == {"value": 3, "origin": "STATUS_PROCESSOR_PARTITIONS"}
    assert shown["group"] == {"value": "g", "origin": "flag"}
    assert shown["kafka.sasl.password"] == {"value": "***", "origin": str(file)}
    assert shown["state.retention"] == {"value": "7d", "origin": "default"}
    assert main(arguments) == ExitCode.OK
    assert "hunter2" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "command", [["tail"], ["simulate", "--events", "10"], ["simulate", "--events", "10", "--verify"]]
)
def test_a_broker_that_is_not_there_gives_one_line(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processor.topic_reader.METADATA_S", 1.0)

    assert main([*command, "--set", NOWHERE]) == ExitCode.UNAVAILABLE

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: no broker answers")
    assert "kafka.bootstrap.servers" in line


def test_a_reader_that_goes_away_leaves_no_traceback() -> None:
    line = b'{"event": {"carrier": "twilio", "message_id": "1", "status": "sent"}}\n'
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from processor.cli import main; sys.exit(main())",
            "explain",
            "--jsonl",
            "-",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdin.write(line)
        child.stdin.flush()
        # An interactive pipe: the answer is there before the input ends.
        assert json.loads(child.stdout.readline())["events"][0]["status"] == "SENT"
        child.stdout.close()
        child.stdin.write(line * 10)
        child.stdin.close()

        assert child.wait(30) == ExitCode.FAILED
        assert child.stderr.read() == b""


def publish(mock_broker: str, topic: str, changes: list[StatusChange]) -> None:
    producer = Producer({"bootstrap.servers": mock_broker}, logger=silent_logger())
    for change, value in zip(changes, ChangeEncoder().encode_changes(changes), strict=True):
        while True:
            try:
                producer.produce(topic, value, change.message_id)
            except BufferError:
                producer.poll(0.1)
            else:
                break
    assert producer.flush(30) == 0


def ensure_topic(mock_broker: str, topic: str) -> None:
    client = Producer({"bootstrap.servers": mock_broker}, logger=silent_logger())
    deadline = time.monotonic() + 10
    while not client.list_topics(topic, timeout=5).topics[topic].partitions:
        assert time.monotonic() < deadline


def test_tail_shows_changes_and_masks_recipients(mock_broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    topic = "tail.changes"
    ensure_topic(mock_broker, topic)
    driver = PipelineDriver()
    no_clock = 2**62  # An edge may claim any time.
    driver.pipe(raw_event("twilio", "SM1", "sent", recipient="+447911123456", received_at=no_clock))
    driver.pipe(raw_event("twilio", "SM1", "delivered", recipient="+447911123456"))
    driver.pipe(raw_event("twilio", "SM2", "sent", recipient="+447911123456"))
    publish(mock_broker, topic, driver.changes)
    arguments = ["tail", "--from-beginning", "--message-id", "SM1", "--max", "2"]
    arguments += ["--set", f"kafka.bootstrap.servers={mock_broker}", "--set", f"topics.changes={topic}"]

    assert main([*arguments, "--json"]) == ExitCode.OK
    masked = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert main([*arguments, "--json", "--show-recipients"]) == ExitCode.OK
    open_ = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert main(arguments) == ExitCode.OK
    words = capsys.readouterr().out

    assert sorted(change["status"] for change in masked) == ["DELIVERED", "SENT"]
    assert {change["recipient"] for change in masked} == {"***56"}
    assert {change["recipient"] for change in open_} == {"+447911123456"}
    assert "SENT -> DELIVERED" in words
    assert words.startswith(f"{no_clock} ms SMS")
    assert "4479" not in words


def test_one_seed_and_one_start_give_the_same_bytes(mock_broker: str) -> None:
    start = str(int(time.time()) * 1000 - 86_400_000)
    sent: list[list[tuple[bytes, bytes]]] = []
    for topic in ("same.a", "same.b"):
        ensure_topic(mock_broker, topic)
        common = ["--set", f"kafka.bootstrap.servers={mock_broker}"]
        arguments = ["simulate", "--seed", "5", "--events", "50", "--topic", topic, "--start-ms", start]
        assert main([*arguments, *common]) == ExitCode.OK
        with TopicReader({"bootstrap.servers": mock_broker}, topic, from_beginning=True) as reader:
            records = []
            while not reader.at_end:
                records += reader.records()
        sent.append(sorted((one.key() or b"", one.value() or b"") for one in records))

    assert len(sent[0]) > 10
    assert sent[0] == sent[1]


def test_simulated_traffic_is_sent_and_verified(mock_broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--seed", "5", "--events", "300", "--wait", "1", "--set", f"kafka.bootstrap.servers={mock_broker}"]
    common += ["--set", "topics.raw=sim.raw", "--set", "topics.changes=sim.changes"]
    ensure_topic(mock_broker, "sim.raw")
    ensure_topic(mock_broker, "sim.changes")
    driver = PipelineDriver()
    for record in Simulator(5, events=300):
        driver.pipe(record.value, partition=0, key=record.key, timestamp_ms=record.timestamp_ms)

    assert main(["simulate", *common]) == ExitCode.OK
    assert "events to sim.raw" in capsys.readouterr().out
    assert main(["simulate", *common, "--verify"]) == ExitCode.FAILED
    assert "NOT equal" in capsys.readouterr().out
    publish(mock_broker, "sim.changes", driver.changes)
    assert main(["simulate", *common, "--verify"]) == ExitCode.OK
    assert capsys.readouterr().out.startswith("equal: ")
    publish(mock_broker, "sim.changes", driver.changes[:1])
    assert main(["simulate", *common, "--verify"]) == ExitCode.FAILED
    assert "1 doubled" in capsys.readouterr().out


def test_live_traffic_is_of_now(mock_broker: str) -> None:
    ensure_topic(mock_broker, "live.raw")
    before_ms = int(time.time() * 1000)
    arguments = ["simulate", "--live", "--events", "4", "--topic", "live.raw"]

    assert main([*arguments, "--set", f"kafka.bootstrap.servers={mock_broker}"]) == ExitCode.OK

    with TopicReader({"bootstrap.servers": mock_broker}, "live.raw", from_beginning=True) as reader:
        records = []
        while not reader.at_end:
            records += reader.records()
    times = [record.timestamp()[1] for record in records]
    assert times
    assert before_ms <= min(times) <= max(times) <= time.time() * 1000


def test_traffic_whose_times_a_broker_refuses_names_the_option() -> None:
    sent = Sent()

    sent.on_delivery(KafkaError(KafkaError.INVALID_RECORD), None)  # type: ignore[arg-type]  # it looks at the error

    assert (sent.failed, sent.why.endswith("see --start-ms")) == (1, True)


def test_a_process_of_its_own_ends_without_taking_the_interpreter_down() -> None:
    script = "import atexit; atexit.register(print, 'taken down'); from processor.cli import entry; entry()"

    good = subprocess.run([sys.executable, "-c", script, "--version"], capture_output=True, text=True, check=False)
    bad = subprocess.run([sys.executable, "-c", script, "explode"], capture_output=True, text=True, check=False)

    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("status-processor")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("error: ")
    assert "taken down" not in good.stdout
