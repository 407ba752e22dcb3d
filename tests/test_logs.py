"""The log: one line for each event, whatever stands in it, and no phone number."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from processor.logs import VALUE_CHARS_MAX, configure_logging, printable
from processor.privacy import masked

if TYPE_CHECKING:
    from collections.abc import Iterator


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def logged(level: str = "info", log_format: str = "json", **values: object) -> str:
    stream = io.StringIO()
    configure_logging(level, log_format, stream)
    structlog.get_logger("processor.test").info("it happened", **values)
    return stream.getvalue()


def test_off_a_terminal_a_line_is_json() -> None:
    line = json.loads(logged(log_format="auto", topic="t", offset=12345678901))

    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "it happened",
        "level": "info",
        "logger": "processor.test",
        "topic": "t",
        "offset": 12345678901,
    }


def test_on_a_terminal_a_line_is_for_people() -> None:
    stream = Terminal()
    configure_logging("info", "auto", stream)
    structlog.get_logger("x").info("it happened", topic="t")

    assert "\x1b[" in stream.getvalue()
    assert "it happened" in stream.getvalue()


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    configure_logging("info", "auto", stream)
    structlog.get_logger("x").info("it happened", topic="t")

    assert "\x1b" not in stream.getvalue()
    assert "topic=t" in stream.getvalue()


def test_a_level_below_the_wanted_one_is_not_written() -> None:
    assert logged("warning") == ""


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_value_cannot_forge_a_line_or_steer_a_terminal(log_format: str) -> None:
    text = logged(log_format=log_format, error='x\n{"level":"info"}\x1b[2J\u202eabc\x9b\u2028')

    assert len(text.splitlines()) == 1
    assert text.removesuffix("\n").isprintable()


def test_a_value_is_capped() -> None:
    value = json.loads(logged(error="x y " * 500))["error"]

    assert len(value) == VALUE_CHARS_MAX + 1


@pytest.mark.parametrize(
    "number",
    [
        "+447911123456",
        "447911123456",
        "+1 (555) 867-5309",
        "0044 7911 123456",
        "tel:+15558675310",
        "whatsapp:+15558675310",
    ],
)
def test_a_phone_number_is_masked_wherever_it_stands(number: str) -> None:
    line = logged(error=f"sent to {number}, failed", deep={"a": [number]})

    assert number[-6:] not in line
    assert "7911" not in line
    assert "867" not in line


def test_a_number_across_the_cap_is_masked() -> None:
    text = " " * (VALUE_CHARS_MAX - 8) + "+447911123456"

    assert "4479" not in logged(error=text)


@pytest.mark.parametrize(
    "text", ["127.0.0.1:9092", "librdkafka 2.16.0", "carrier.status.raw[11]", "65536 bytes", "port 9464"]
)
def test_what_is_no_phone_number_stays(text: str) -> None:
    assert masked(text) == text


def test_an_exceptions_words_are_cleaned_too() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    try:
        int("call +447911123456\x1b[2J")
    except ValueError:
        structlog.get_logger("x").exception("broken")
    line = json.loads(stream.getvalue())

    assert "ValueError" in line["exception"]
    assert "4479" not in line["exception"]
    assert "\x1b" not in line["exception"]


def test_other_libraries_lines_come_the_same_way() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    # Not librdkafka, whose lines are thinned out where a worker was started in this process before.
    logging.getLogger("some.library").warning("FAIL %s", "+447911123456")
    line = json.loads(stream.getvalue())

    assert (line["logger"], line["level"], line["event"]) == ("some.library", "warning", "FAIL ***56")


@given(st.text())
def test_any_text_becomes_printable(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text, 10)) <= 11 * 10
