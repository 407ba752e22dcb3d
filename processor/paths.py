"""Where a fact sits in a callback: JMESPath expressions, made into functions.

The language is JMESPath's whole, by its own library. The forms that packs use most (names, positions, `||`, `&&`,
`!`, `==`, `starts_with`) are turned into closures with the same outcome, since a batch asks ten of them for each
element and the library's interpreter is ten times slower. Documents hold numbers as text, see `processor.bodies`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.parser import Parser
from jmespath.visitor import TreeInterpreter

if TYPE_CHECKING:
    from collections.abc import Callable

    Getter = Callable[[object], object]

_PARSER: Final = Parser()
_INTERPRETER: Final = TreeInterpreter()


def compile_path(expression: str) -> Getter:
    """Make a function that looks an expression up in a document and gives None where it has no value.

    Raises:
        ValueError: The expression is not JMESPath; the message says what is wrong.
    """
    try:
        tree: Any = _PARSER.parse(expression).parsed
    except JMESPathError as error:  # Its text repeats the expression over several lines.
        raise ValueError(str(error).splitlines()[0].rstrip(": ")) from error
    _check(tree)
    return _compile(tree)


def is_true(value: object) -> bool:
    """Tell what JMESPath takes for true: everything but null, false and the empty text, list or object."""
    return value is not None and value is not False and value not in ("", [], {})


def _check(node: dict[str, Any]) -> None:
    """Refuse what the library takes although it never has a value: functions that do not exist, and `!a.b`."""
    if node["type"] == "function_expression" and node["value"] not in Functions.FUNCTION_TABLE:
        raise ValueError(f"unknown function {node['value']}()")
    children = [child for child in node["children"] if isinstance(child, dict)]  # A slice has numbers here.
    if node["type"] == "subexpression" and children[0]["type"] == "not_expression":
        raise ValueError("! binds closer than a dot, so this has no value: write !(a.b)")
    for child in children:
        _check(child)


def _compile(node: dict[str, Any]) -> Getter:
    make = _COMPILERS.get(node["type"])
    return make(node) if make else _interpreted(node)


def _interpreted(node: Any) -> Getter:  # noqa: ANN401  # the library's own node type is private
    def look_up(value: object) -> object:
        try:
            return _INTERPRETER.visit(node, value)
        except (JMESPathError, ArithmeticError, RecursionError, TypeError, ValueError):
            # A function met a type or a number that it does not take: there is no value.
            return None

    return look_up


def _field(node: dict[str, Any]) -> Getter:
    name = node["value"]
    return lambda value: value.get(name) if type(value) is dict else None


def _index(node: dict[str, Any]) -> Getter:
    position = node["value"]

    def look_up(value: object) -> object:
        if type(value) is not list:
            return None
        try:
            return value[position]
        except IndexError:
            return None

    return look_up


def _chain(node: dict[str, Any]) -> Getter:
    first, *rest = [_compile(child) for child in node["children"]]

    def look_up(value: object) -> object:
        value = first(value)
        for step in rest:
            value = step(value)
        return value

    return look_up


def _or(node: dict[str, Any]) -> Getter:
    left, right = (_compile(child) for child in node["children"])

    def look_up(value: object) -> object:
        found = left(value)
        return found if is_true(found) else right(value)

    return look_up


def _and(node: dict[str, Any]) -> Getter:
    left, right = (_compile(child) for child in node["children"])

    def look_up(value: object) -> object:
        found = left(value)
        return right(value) if is_true(found) else found

    return look_up


def _not(node: dict[str, Any]) -> Getter:
    inner = _compile(node["children"][0])
    return lambda value: not is_true(inner(value))


def _comparator(node: dict[str, Any]) -> Getter:
    """Compare texts at once; what other values compare as is for the library to say."""
    if node["value"] not in ("eq", "ne"):
        return _interpreted(node)
    left, right = (_compile(child) for child in node["children"])
    wanted = node["value"] == "eq"
    interpreted = _interpreted(node)

    def look_up(value: object) -> object:
        one, other = left(value), right(value)
        return (one == other) is wanted if type(one) is str and type(other) is str else interpreted(value)

    return look_up


def _function(node: dict[str, Any]) -> Getter:
    """Do `starts_with` on texts at once; all else is the library's, which also knows what is no text."""
    if node["value"] != "starts_with" or len(node["children"]) != 2:
        return _interpreted(node)
    whole, beginning = (_compile(child) for child in node["children"])
    interpreted = _interpreted(node)

    def look_up(value: object) -> object:
        text, start = whole(value), beginning(value)
        return text.startswith(start) if isinstance(text, str) and isinstance(start, str) else interpreted(value)

    return look_up


def _literal(node: dict[str, Any]) -> Getter:
    constant = node["value"]
    return lambda _value: constant


def _current(_node: dict[str, Any]) -> Getter:
    return lambda value: value


_COMPILERS: Final[dict[str, Callable[[dict[str, Any]], Getter]]] = {
    "field": _field,
    "index": _index,
    "subexpression": _chain,
    "index_expression": _chain,
    "pipe": _chain,
    "or_expression": _or,
    "and_expression": _and,
    "not_expression": _not,
    "comparator": _comparator,
    "function_expression": _function,
    "literal": _literal,
    "current": _current,
    "identity": _current,
}
