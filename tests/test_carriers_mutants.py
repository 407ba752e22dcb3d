"""Whatever row of a built-in pack is changed, its carrier's facts or examples no longer come out.

Each row is changed alone, to the status next to its own, which is the hardest to notice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from processor.pack_check import check_example, outcomes_of
from processor.pack_format import Pack, Row, Rules, Words
from processor.packs import Packs
from processor.status import CHANNEL_STATUSES, Channel
from tests.test_carriers import FACTS, PACKS, report, word_of


def changed(row: Row, channel: Channel) -> Iterator[Row]:
    """Give the row with another status, and one that no code refines as one that codes do."""
    rank = row.status.rank if row.status else 0
    others = CHANNEL_STATUSES[channel] - {row.status}
    yield replace(row, status=min(others, key=lambda status: (abs(status.rank - rank), status)))
    if not row.refined:
        yield replace(row, refined=True)


def mutants_of(words: Words, channel: Channel) -> Iterator[tuple[str, Words]]:
    for word, row in words.exact.items():
        for other in changed(row, channel):
            yield row.rule, replace(words, exact={**words.exact, word: other})
    for at, (prefix, row) in enumerate(words.prefixes):
        for other in changed(row, channel):
            prefixes = (*words.prefixes[:at], (prefix, other), *words.prefixes[at + 1 :])
            yield row.rule, replace(words, prefixes=prefixes)


def mutants(pack: Pack) -> Iterator[tuple[str, Pack]]:
    def with_rules(channel: Channel, rules: Rules) -> Pack:
        return replace(pack, channels={**pack.channels, channel: rules})

    for channel, rules in pack.channels.items():
        for rule, words in mutants_of(rules.statuses, channel):
            yield rule, with_rules(channel, replace(rules, statuses=words))
        for rule, words in mutants_of(rules.codes, channel):
            yield rule, with_rules(channel, replace(rules, codes=words))
        for pair, row in rules.pairs.items():
            for other in changed(row, channel):
                yield row.rule, with_rules(channel, replace(rules, pairs={**rules.pairs, pair: other}))


def holds(pack: Pack) -> bool:
    """Tell whether the carrier's facts and examples come out."""
    packs = Packs([pack], b"test")
    for fact in FACTS:
        if fact.carrier == pack.carrier:
            given = report(fact.carrier, fact.channel, fact.status, fact.error_code)
            (outcome,) = outcomes_of(packs, given._replace(recipient="2348030000009"))
            if word_of(outcome) != fact.expected:
                return False
    return not any(check_example(packs, example) for example in pack.examples)


@pytest.mark.parametrize("carrier", sorted(PACKS.carriers))
def test_a_change_of_any_row_is_noticed(carrier: str) -> None:
    pack = PACKS.carriers[carrier]
    assert holds(pack)

    assert [rule for rule, mutant in mutants(pack) if holds(mutant)] == []


def test_every_row_is_changed() -> None:
    rows = sum(
        len(rules.statuses.exact) + len(rules.codes.exact) + len(rules.pairs)
        for pack in PACKS.carriers.values()
        for rules in pack.channels.values()
    )

    assert sum(1 for pack in PACKS.carriers.values() for _ in mutants(pack)) >= rows > 0
