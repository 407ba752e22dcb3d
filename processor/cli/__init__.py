"""The command line: `status-processor`. Each command's file imports what it needs when the command runs."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

import click

import processor
from processor.cli.books import books
from processor.cli.carriers import carriers
from processor.cli.carriers_diff import diff
from processor.cli.common import EXIT_CODES
from processor.cli.dead_letters import dead_letters
from processor.cli.doctor import doctor
from processor.cli.explain import explain
from processor.cli.forget import forget
from processor.cli.health import health
from processor.cli.inspect import inspect
from processor.cli.lag import lag
from processor.cli.reset import reset
from processor.cli.schemas import schemas
from processor.cli.settings import config
from processor.cli.tail import tail
from processor.cli.topics import topics
from processor.cli.traffic import simulate
from processor.cli.worker import demo, run
from processor.errors import ExitCode, FatalError, PackError, ProcessorError, TransientError

if TYPE_CHECKING:
    from collections.abc import Sequence

_UNWRITABLE: Final = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


@click.group(
    epilog=f"\b\nExample:\n  status-processor demo\n\n{EXIT_CODES}",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(processor.__version__, prog_name="status-processor")
def commands() -> None:
    """Turn carriers' raw status reports into canonical per-message status changes, exactly once."""


for _command in (
    run,
    demo,
    explain,
    simulate,
    tail,
    books,
    lag,
    health,
    inspect,
    forget,
    reset,
    doctor,
    topics,
    dead_letters,
    config,
    carriers,
    schemas,
):
    commands.add_command(_command)
carriers.add_command(diff)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. A user's mistake gives lines on stderr, never a traceback."""
    _take_any_text()
    try:
        result = commands.main(args=arguments, prog_name="status-processor", standalone_mode=False)
        sys.stdout.flush()  # Here a full disk can still be told in a line.
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return ExitCode.USAGE
    except click.ClickException as error:
        click.echo(f"error: {_one_line(error)}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        return _give_up_output(error)
    except ProcessorError as error:
        for line in str(error).splitlines():
            click.echo(f"error: {line}", err=True)
        return _exit_code(error)
    return result if isinstance(result, int) else ExitCode.OK


def entry() -> NoReturn:
    """Run the command line as a process of its own, and end it without taking the interpreter down.

    Clients of librdkafka have threads that call into Python when an answer comes; one that comes after the interpreter
    is gone ends the process by a segmentation fault (docs/decisions/0015).
    """
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # What could not be written has been told.
            stream.flush()
    logging.shutdown()
    os._exit(code)


def _take_any_text() -> None:
    """Escape what a terminal or a pipe has no letters for: carriers' words may hold any."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _give_up_output(error: OSError) -> int:
    """Write to nowhere from here on: Python would complain once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError):  # Whoever read our output and has gone wants no word of it.
        click.echo(f"error: cannot write the output ({error.strerror})", err=True)
    return ExitCode.FAILED


def _one_line(error: click.ClickException) -> str:
    text = " ".join(error.format_message().split())
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{text} See `{context.command_path} --help`." if context else text


def _exit_code(error: ProcessorError) -> int:
    match error:
        case FatalError():
            return error.exit_code
        case PackError():
            return ExitCode.SETTINGS
        case TransientError():
            return ExitCode.UNAVAILABLE
        case _:
            return ExitCode.FAILED
