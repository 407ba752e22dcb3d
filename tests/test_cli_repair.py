"""`forget` and `inspect` before they reach a broker: what is wrong is said in one line."""

from __future__ import annotations

import pytest

from processor.cli import main
from processor.errors import ExitCode


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["forget"], "MESSAGE_ID"),
        (["forget", ""], "must not be empty"),
        (["forget", "SM1", "--note", "x" * 201], "at most 200 characters"),
        (["forget", "SM1", "--timeout", "-1"], "--timeout"),
        (["inspect", ""], "must not be empty"),
        (["inspect", "SM1", "--since", "yesterday"], "must be a time such as"),
        (["inspect", "SM1", "--since", "7"], "--since"),
    ],
)
def test_wrong_usage_is_one_line_that_says_what_is_allowed(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == ExitCode.USAGE

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
