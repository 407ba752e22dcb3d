"""Reviews packs that load: rules that can never apply, and what their examples leave unshown.

A table that nobody tried is a guess. So every row that gives a status has to come out of an example, every callback
and every path in it has to be met by one, a batch has to be shown where elements stand in a list, and a refusal too.
What a pack takes from the one it extends is that pack's to show.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from processor.errors import DeadLetterReason, InputError
from processor.model import Ignored, StatusEvent
from processor.pack_check import outcomes_of
from processor.pack_toml import Problems, parse_toml
from processor.packs import Packs
from processor.paths import is_true

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from processor.pack_examples import Outcome
    from processor.pack_format import Pack
    from processor.pack_shapes import Candidate, Fact, Levels, Outside, Reader, Shape
    from processor.pack_toml import Path
    from processor.paths import Getter
    from processor.status import Channel

_TABLES: Final = ("statuses", "codes")


def review(packs: Packs, texts: Mapping[str, str]) -> list[str]:
    """Review every pack; one line for each finding, with its file and line, none where all is well.

    Args:
        packs: Loaded, and their examples come out as they say.
        texts: What they were loaded from, by file name.
    """
    return [line for pack in packs.carriers.values() for line in _Review(packs, pack, texts[pack.file]).findings()]


@dataclass(slots=True)
class _Seen:
    """What the examples of one pack met."""

    rules: set[str] = field(default_factory=set)
    paths: set[tuple[int, str, int]] = field(default_factory=set)
    """Paths that had a value: of which callback, for what, and which of its candidates."""
    callbacks: set[int] = field(default_factory=set)
    elements: Counter[int] = field(default_factory=Counter)
    """By callback, elements of the present example."""
    lists: set[int] = field(default_factory=set)
    """Callbacks whose elements stood in a list in some example."""
    batches: set[int] = field(default_factory=set)
    """Callbacks of which an example had several elements."""
    refusals: int = 0


class _Review:
    """Reviews one pack."""

    def __init__(self, packs: Packs, pack: Pack, text: str) -> None:
        self._packs = packs
        self._pack = pack
        data, _ = parse_toml(pack.file, text)
        self._data = data or {}
        self._problems = Problems(pack.file, text)

    def findings(self) -> list[str]:
        seen = self._run_examples()
        self._review_rows(seen)
        self._review_callbacks(seen)
        self._review_order()
        return self._problems.found

    def _run_examples(self) -> _Seen:
        seen = _Seen()
        shapes = tuple(_Tracer(at, seen).traced(shape) for at, shape in enumerate(self._pack.shapes))
        traced = replace(self._pack, shapes=shapes)
        others = [pack for pack in self._packs.carriers.values() if pack is not self._pack]
        packs = Packs([*others, traced], b"")
        for example in self._pack.examples:
            seen.elements.clear()
            try:
                outcomes = outcomes_of(packs, example.input)
            except InputError:
                seen.refusals += 1
                continue
            self._note(seen, outcomes)
            seen.batches.update(at for at, elements in seen.elements.items() if elements > 1)
            seen.refusals += any(_is_refusal(outcome) for outcome in outcomes)
        return seen

    @staticmethod
    def _note(seen: _Seen, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            match outcome:
                case StatusEvent():
                    seen.rules.add(outcome.meaning.rule)
                case Ignored():
                    seen.rules.add(outcome.rule)

    def _review_rows(self, seen: _Seen) -> None:
        for path, rule in self._rows():
            if rule not in seen.rules:
                self._problems.add(path, "no example comes to this row; add one, or take the row out")

    def _rows(self) -> Iterator[tuple[Path, str]]:
        """Give each row of the pack's own text, and what the rule is called."""
        channels = _table(self._data, "channels")
        for name in channels:
            rules = _table(channels, name)
            for table in _TABLES:
                for key in _table(rules, table):
                    yield ("channels", name, table, key), f"{name} {table}.{key}"
            for status, codes in _table(rules, "pairs").items():
                for code in codes if isinstance(codes, dict) else ():
                    yield ("channels", name, "pairs", status, code), f"{name} pairs.{status}.{code}"

    def _review_callbacks(self, seen: _Seen) -> None:
        callbacks = _list(self._data, "callbacks")
        for at, shape in enumerate(self._pack.shapes if callbacks else ()):
            path = ("callbacks", at)
            if at not in seen.callbacks:
                self._problems.add(path, "no example is a callback of this form; add one")
                continue
            if shape.holds_reports and at in seen.lists - seen.batches:
                self._problems.add((*path, "each"), "no example has several elements; add a batch")
            self._review_paths(path, _table(_mapping(callbacks[at]), "fields"), seen, {at})
        if callbacks:
            self._review_paths((), _table(self._data, "fields"), seen, set(range(len(callbacks))))
            if not seen.refusals:
                self._problems.add(("examples",), "no callback is refused; add one that is malformed")

    def _review_paths(self, above: Path, fields: Mapping[str, object], seen: _Seen, shapes: set[int]) -> None:
        attributes = {f"attributes.{name}": value for name, value in _table(fields, "attributes").items()}
        for name, value in {**fields, **attributes}.items():
            if name == "attributes" or value is False:
                continue
            for number, _ in enumerate(value if isinstance(value, list) else [value]):
                if not any((at, name, number) in seen.paths for at in shapes):
                    which = f" (number {number + 1})" if isinstance(value, list) else ""
                    path = (*above, "fields", *name.split("."))
                    self._problems.add(path, f"no example has a value there{which}; add one, or mend the path")

    def _review_order(self) -> None:
        """Find what an earlier rule always takes first."""
        open_formats: dict[object, int] = {}
        for at, shape in enumerate(self._pack.shapes):
            if shape.formats and all((form, shape.prefix) in open_formats for form in shape.formats):
                first = open_formats[shape.formats[0], shape.prefix] + 1
                self._problems.add(
                    ("callbacks", at), f"never met: callback {first} has no `when` and takes all of these"
                )
            if shape.when is None:
                for form in shape.formats:
                    open_formats.setdefault((form, shape.prefix), at)
        prefixes = [prefix for prefix, _ in self._pack.address_prefixes]
        for number, prefix in enumerate(prefixes):
            if any(prefix.startswith(earlier) for earlier in prefixes[:number]):
                self._problems.add(("address_prefixes", prefix), "never met: an earlier prefix begins this one")
        for channel, rules in self._pack.channels.items():
            self._review_codes(
                channel,
                refined=any(
                    row.refined and row.status and row.status.is_failure
                    for row in (*rules.statuses.exact.values(), *(row for _, row in rules.statuses.prefixes))
                ),
            )

    def _review_codes(self, channel: Channel, *, refined: bool) -> None:
        rules = self._pack.channels[channel]
        if not refined and (rules.codes.exact or rules.codes.prefixes):
            self._problems.add(("channels", channel, "codes"), "never looked up: error codes count on failures only")
        for status, code in rules.pairs:
            if code.endswith("*"):
                self._problems.add(
                    ("channels", channel, "pairs", status), f"{code!r} stands for itself: pairs have no prefixes"
                )


def _is_refusal(outcome: Outcome) -> bool:
    """Tell whether an element cannot be read, which is something else than a word that is not known."""
    return isinstance(outcome, InputError) and outcome.reason is DeadLetterReason.MALFORMED


@dataclass(frozen=True, slots=True)
class _Tracer:
    """Makes a callback's form note what is met in it."""

    at: int
    seen: _Seen

    def traced(self, shape: Shape) -> Shape:
        """Return the form, which reads as it did."""
        attributes = {name: self._fact(f"attributes.{name}", fact) for name, fact in shape.attributes.items()}
        return replace(
            shape,
            when=self._when(shape),
            each=tuple(self._step(get) for get in shape.each),
            facts={name: self._fact(name, fact) for name, fact in shape.facts.items()},
            attributes=attributes,
        )

    def _when(self, shape: Shape) -> Getter:
        def when(document: object) -> object:
            met = shape.when(document) if shape.when else True
            if is_true(met):
                self.seen.callbacks.add(self.at)
            return met

        return when

    def _step(self, get: Getter) -> Getter:
        def step(value: object) -> object:
            found = get(value)
            if isinstance(found, list):
                self.seen.lists.add(self.at)
            return found

        return step

    def _fact(self, name: str, fact: Fact) -> Fact:
        return tuple(
            candidate._replace(read=self._reader(name, number, candidate)) for number, candidate in enumerate(fact)
        )

    def _reader(self, name: str, number: int, candidate: Candidate) -> Reader:
        def read(levels: Levels, outside: Outside) -> str | None:
            if (name, number) == ("status", 0):  # Asked for once in each element.
                self.seen.elements[self.at] += 1
            text = candidate.read(levels, outside)
            if text is not None:
                self.seen.paths.add((self.at, name, number))
            return text

        return read


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _table(data: Mapping[str, object], key: str) -> Mapping[str, object]:
    return _mapping(data.get(key))


def _list(data: Mapping[str, object], key: str) -> Sequence[object]:
    value = data.get(key)
    return value if isinstance(value, list) else ()
