"""Writes docs/carriers.md from the built-in packs: `python -m processor.carriers_page > docs/carriers.md`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from processor.pack_files import builtin_texts
from processor.pack_tables import ignored, never, ways
from processor.packs import Packs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from processor.pack_format import Pack
    from processor.status import Channel

_HEAD: Final = """\
# Carriers

Written by `python -m processor.carriers_page`; a test holds it fresh.

What each carrier's words become. An error code counts on failures only and replaces what the status alone would mean;
a status together with an error code (`status + code`) comes before both. A word that ends in `*` stands for all words
that begin so. What has no row goes to the dead-letter topic. On SMS and RCS, reports about single parts can also give
PARTIALLYSENT and PARTIALDELIVERED. `status-processor carriers show NAME` prints a pack row by row, and
[writing-a-pack.md](writing-a-pack.md) tells how to change one.
"""


def carriers_page() -> str:
    """Return the page."""
    packs = sorted(Packs.load(builtin_texts()).carriers.values(), key=lambda pack: pack.carrier)
    lines = [_HEAD, "| carrier | channels | callbacks | names |", "|---|---|---|---|"]
    lines += [
        f"| [{pack.carrier}](#{pack.carrier}) | {', '.join(pack.channels)} | {_formats(pack)} | "
        f"{', '.join(f'`{name}`' for name in (pack.carrier, *sorted(pack.aliases)))} |"
        for pack in packs
    ]
    for pack in packs:
        lines += ["", f"## {pack.carrier}", "", f"{pack.name}. Sources: {', '.join(map(_source, pack.sources))}."]
        for channel in pack.channels:
            lines += ["", *_table(pack, channel)]
    return "\n".join(lines) + "\n"


def _formats(pack: Pack) -> str:
    found = {str(body_format) for shape in pack.shapes for body_format in shape.formats}
    return ", ".join(sorted(found)) or "reports only"


def _source(text: str) -> str:
    return f"<{text}>" if text.startswith("http") and " " not in text else _escaped(text)


def _table(pack: Pack, channel: Channel) -> Iterator[str]:
    yield f"| {channel} | status | error code | status + code |"
    yield "|---|---|---|---|"
    for status, way in ways(pack, channel).items():
        yield f"| {status} | {_words(way.statuses)} | {_words(way.codes)} | {_words(way.pairs)} |"
    if words := ignored(pack, channel):
        yield f"| *ignored* | {_words(words)} | | |"
    if missing := never(pack, channel):
        yield ""
        yield f"Never on {channel}: {', '.join(missing)}."


def _words(words: Iterable[str]) -> str:
    return ", ".join(f"`{_escaped(word)}`" for word in words)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write the page to standard output."""
    sys.stdout.write(carriers_page())


if __name__ == "__main__":
    main()
