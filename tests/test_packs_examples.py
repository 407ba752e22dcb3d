"""Examples are compared fact by fact, and the guide's packs are examples too."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from processor.bodies import BodyFormat
from processor.pack_check import check_examples
from processor.pack_files import builtin_texts
from processor.pack_ids import RADIXES
from processor.pack_shapes import DECODINGS, FACTS, PLACES
from processor.packs import Packs
from processor.times import FORMATS
from tests.test_packs_format import changed


def test_an_example_that_fails_says_where_and_how() -> None:
    packs = Packs.load({"acme.toml": changed('[["sent", "SENT"]]', '[["sent", "QUEUED"], ["gone", "FAILED"]]')})

    assert check_examples(packs) == [
        "acme examples.1 (sent), event 1: expected outcome 'QUEUED', got 'SENT'",
        "acme examples.1 (gone), event 1: expected outcome 'FAILED', got 'unknown_status'",
    ]


def test_an_example_compares_every_fact_that_it_names() -> None:
    expect = 'expect = [{ outcome = "SENT", message_id = "2", recipient = "3" }]'
    text = changed('rows = [["sent", "SENT"]]', f'format = "json"\nbody = \'{{"id":"1","status":"sent"}}\'\n{expect}')

    assert check_examples(Packs.load({"acme.toml": text})) == [
        "acme examples.1, event 1: expected message_id '2', got '1'",
        "acme examples.1, event 1: expected recipient '3', got None",
    ]


def test_examples_tell_how_many_events_there_are_and_refusals_apart() -> None:
    body = 'format = "json"\nbody = \'{"id":"1","status":"sent"}\'\n'
    wrong = [
        changed('rows = [["sent", "SENT"]]', f"{body}expect = []"),
        changed('rows = [["sent", "SENT"]]', f'{body}expect = "malformed"'),
        changed('rows = [["sent", "SENT"]]', 'format = "json"\nbody = "[1"\nexpect = ["SENT"]'),
    ]

    assert [check_examples(Packs.load({"acme.toml": text})) for text in wrong] == [
        ["acme examples.1: expected 0 events, got 1"],
        ["acme examples.1: expected malformed, got 1 events"],
        ["acme examples.1: expected 1 events, got malformed"],
    ]


GUIDE = (Path(__file__).parent.parent / "docs" / "writing-a-pack.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "text", [block for block in re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL) if "sources" in block]
)
def test_a_whole_pack_in_the_guide_holds(text: str) -> None:
    packs = Packs.load({**builtin_texts(), "guide.toml": text})

    assert any(pack.file == "guide.toml" for pack in packs.carriers.values())
    assert check_examples(packs) == []


@pytest.mark.parametrize("name", [*FACTS, *FORMATS, *DECODINGS, *PLACES[1:], *RADIXES, *BodyFormat])
def test_the_guide_names_everything_that_a_pack_may_say(name: str) -> None:
    assert re.search(rf"[`\"]{re.escape(name)}[`\"]|\b{re.escape(name)}\b", GUIDE)


def test_the_guides_own_test_passes(tmp_path: Path) -> None:
    pack, *_ = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    (test,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "my-packs").mkdir()
    (tmp_path / "my-packs" / "acme.toml").write_text(pack, encoding="utf-8")

    done = subprocess.run([sys.executable, "-c", test], cwd=tmp_path, capture_output=True, check=False, timeout=60)

    assert (done.returncode, done.stderr) == (0, b"")
