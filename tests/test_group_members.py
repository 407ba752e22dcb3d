"""A child that the client's library ends is an answer that did not come, and no end of the program."""

from __future__ import annotations

import pytest

from processor import group_members
from processor.errors import ExitCode, FatalError, TransientError
from processor.group_members import describe_group


def test_a_child_that_broke_off_is_no_answer() -> None:
    answer = group_members._ask_child("no question at all")

    assert answer == {"error": "the client broke off with 1", "denied": False}


@pytest.mark.parametrize(("denied", "kind"), [(True, FatalError), (False, TransientError)])
def test_an_answer_that_does_not_come_is_asked_for_again_and_a_denial_is_not(
    monkeypatch: pytest.MonkeyPatch, denied: bool, kind: type[Exception]
) -> None:
    asked: list[str] = []

    def answer(question: str) -> dict[str, object]:
        asked.append(question)
        return {"error": "NOT_COORDINATOR", "denied": denied}

    monkeypatch.setattr(group_members, "_ask_child", answer)

    with pytest.raises(kind, match="describe group g") as raised:
        describe_group({}, "g", wait_s=0.6)

    assert len(asked) == (1 if denied else 3)
    if isinstance(raised.value, FatalError):
        assert raised.value.exit_code is ExitCode.NOT_PERMITTED
