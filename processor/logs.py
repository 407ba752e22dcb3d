"""The log: JSON lines for machines, a console for people; nothing from outside can forge a line or leak a number.

Values that carriers, users or brokers wrote may stand in a line, so each text is bounded, control and bidirectional
characters are escaped, and whatever looks like a phone number is masked.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Final, TextIO

import structlog

from processor.privacy import masked

if TYPE_CHECKING:
    from collections.abc import MutableMapping

VALUE_CHARS_MAX: Final = 256
TRACEBACK_CHARS_MAX: Final = 16_384
_CHATTY: Final = ("httpx", "httpx2", "httpcore", "httpcore2")
"""What the schema registry's client sends its requests with; a line for each would let records fill the log."""
_KEPT: Final = frozenset({"level", "timestamp", "logger"})


def printable(text: str, chars_max: int = VALUE_CHARS_MAX) -> str:
    """Return text for one line: characters that act on a terminal or on the direction of writing are escaped."""
    if len(text) > chars_max:
        text = text[:chars_max] + "…"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def configure_logging(level: str = "info", log_format: str = "auto", stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging, which librdkafka's lines go through.

    Args:
        level: debug, info, warning or error.
        log_format: json, console, or auto: console on a terminal.
        stream: Where to write; standard error where it is None.
    """
    on_terminal = (stream or sys.stderr).isatty()
    console = log_format == "console" or (log_format == "auto" and on_terminal)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        clean,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if console:
        colours = on_terminal and not os.environ.get("NO_COLOR")
        renderer = structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=0)
    handler = logging.StreamHandler(stream) if stream is not None else _StandardError()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET if level == "debug" else logging.WARNING)


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what standard error is at that moment: a progress bar stands in for it, to keep lines above itself."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _: TextIO) -> None:
        """Take no other."""


def clean(_logger: object, _method: str, event: MutableMapping[str, object]) -> MutableMapping[str, object]:
    """Bound, escape and mask every value of a line; a structlog processor."""
    for key, value in event.items():
        if key in _KEPT or key.startswith("_"):
            continue
        if key == "exception":
            event[key] = _clean_traceback(str(value))
        else:
            event[key] = _clean_value(value)
    return event


def _clean_value(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return _clean_text(value)
        case dict():
            return {_clean_text(str(key)): _clean_value(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_clean_value(item) for item in value]
        case _:
            return _clean_text(str(value))


def _clean_text(text: str) -> str:
    # Masked first, or the cut could leave a number that no longer looks like one.
    return printable(masked(text[:TRACEBACK_CHARS_MAX]))


def _clean_traceback(text: str) -> str:
    return "\n".join(printable(masked(line), 1000) for line in text[:TRACEBACK_CHARS_MAX].splitlines())
