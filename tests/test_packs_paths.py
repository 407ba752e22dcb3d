"""The closures that paths become say what JMESPath's own library says."""

from __future__ import annotations

import jmespath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.paths import compile_path, is_true

values = st.recursive(
    st.none() | st.booleans() | st.sampled_from(["", "x", "y", "1", "02"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c-d"]), inner, max_size=3),
    max_leaves=12,
)
EXPRESSIONS = [
    "a",
    "a.b",
    "a.b.a",
    '"c-d"',
    "a[0]",
    "a[-1].b",
    "a || b",
    "a && b",
    "a && 'x'",
    "!a",
    "!a && b",
    "!(a.b)",
    "!a[0]",
    "a == 'x'",
    "a != 'x'",
    "a == b",
    "a != b",
    "a == `true`",
    "@",
    "`null`",
    "a | b",
    "(a || b) == 'x' && 'y'",
    "a[?b == 'x'].a",
    "a[]",
    "a[0:1]",
    "{p: a, q: b}",
    "[a, b]",
    "type(a)",
    "starts_with(to_string(a), 'x')",
    "starts_with('xy', 'x') && a",
    "to_number(a) < to_number(b)",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
@given(document=values)
def test_a_compiled_path_gives_what_the_library_gives(expression: str, document: object) -> None:
    assert compile_path(expression)(document) == jmespath.search(expression, document)


@pytest.mark.parametrize("expression", ["starts_with(a, 'x')", "join(' ', [a, b])", "floor(to_number(a))"])
def test_a_function_on_a_type_that_it_does_not_take_gives_nothing(expression: str) -> None:
    assert compile_path(expression)({"a": ["1e999"], "b": None}) is None


def test_a_number_out_of_range_gives_nothing() -> None:
    assert compile_path("floor(to_number(a))")({"a": "1e999"}) is None


@pytest.mark.parametrize("expression", ["a..b", "[0", "a ||", "&", "nosuch(a)", "a[?nosuch(b)]"])
def test_what_is_no_expression_is_refused_when_it_is_compiled(expression: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        compile_path(expression)


@given(values)
def test_truth_is_jmespaths(value: object) -> None:
    assert is_true(value) == jmespath.search("a && `true` || `false`", {"a": value})


@pytest.mark.parametrize("expression", ["!a.b", "c && !a.b.c", "[a, !a.b]"])
def test_a_not_that_takes_only_the_first_name_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r"write !\(a\.b\)"):
        compile_path(expression)
