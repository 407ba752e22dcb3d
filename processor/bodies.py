"""Callback bodies to documents: JSON, forms of both kinds, query strings, SMPP receipt text and XML.

A document is what JMESPath takes: dicts, lists, texts, booleans, None. Numbers are their literal text, since a status
"007" is not 7, an id of 19 digits is no float, and NaN is nothing at all. Any bytes give a document or an InputError,
in time and memory that the limits below bound; nothing here recurses over its input.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from functools import lru_cache
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import unquote_to_bytes
from xml.etree.ElementTree import ParseError  # only the error's class; the parsing is defusedxml's

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from processor.errors import DeadLetterReason, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BODY_BYTES_MAX: Final = 4 * 1024 * 1024
"""Meta, the largest, sends at most 3 MB."""
DEPTH_MAX: Final = 64
"""The deepest known callback has nine levels."""
NODES_MIN: Final = 1_000
"""So many values are always allowed; more only in a body of at least `_NODE_BYTES` bytes for each."""
_NODE_BYTES: Final = 16  # A parsed value takes up to 200 bytes; reports are wordy, about 20 bytes for each value.
_FORM_FIELDS_MAX: Final = 1_000
_CHUNK: Final = 4_096
_KEY_MAX: Final = 64  # Longer keys are no carrier's, and not worth remembering.


class BodyFormat(StrEnum):
    """How a callback is written."""

    JSON = "json"
    FORM = "form"
    """`name=value&…`, or multipart/form-data."""
    QUERY = "query"
    """As a form, but in the request's query string."""
    SMPP = "smpp"
    """The text of a delivery receipt, with the PDU's fields and TLVs in the callback's attributes."""
    XML = "xml"


def malformed(detail: str) -> InputError:
    """Make the error of a body that is not what it claims; `detail` never quotes it."""
    return InputError(DeadLetterReason.MALFORMED, detail)


def decode(body: bytes, charset: str = "") -> str:
    """Turn bytes into text: UTF-8 whatever the request claims, else the single-byte charset that it claims.

    Raises:
        InputError: Neither fits.
    """
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        if charset in _SINGLE_BYTE:
            return body.decode(_SINGLE_BYTE[charset], errors="replace")
        raise malformed("the body is not UTF-8") from None


_SINGLE_BYTE: Final = {"iso-8859-1": "latin-1", "latin-1": "latin-1", "latin1": "latin-1", "windows-1252": "cp1252"}
_CHARSET: Final = re.compile(r'charset="?([\w-]+)', re.IGNORECASE)


def charset_of(content_type: str) -> str:
    """Find the charset that a Content-Type names, lower case; empty where it names none."""
    match = _CHARSET.search(content_type)
    return match[1].lower() if match else ""


# JSON


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise malformed("an object has the same key twice")
    return found


@lru_cache(maxsize=256)
def _lower(key: str) -> str:
    """Fold a key, and give the same text each time: a copy for each object takes as much as the object."""
    return key.lower()


def _object_folded(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return _object([(_lower(key) if len(key) <= _KEY_MAX else key.lower(), value) for key, value in pairs])


def _refuse_constant(_name: str) -> NoReturn:
    raise malformed("NaN and Infinity are not JSON")


_DECODERS: Final = {
    fold: json.JSONDecoder(object_pairs_hook=hook, parse_int=str, parse_float=str, parse_constant=_refuse_constant)
    for fold, hook in ((False, _object), (True, _object_folded))
}
_STRINGS: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)


def parse_json(text: str, *, fold_keys: bool = False, spare: int = NODES_MIN) -> Any:  # noqa: ANN401  # any JSON value
    """Read JSON, numbers as text, keys in lower case where asked; `spare` is how many values are always allowed.

    Raises:
        InputError: Not JSON, a key twice, too deep, or too many values for its size.
    """
    openings = text.count("{") + text.count("[")
    if openings + text.count(",") > spare + len(text) // _NODE_BYTES:
        raise malformed("the JSON has too many values")
    if openings > DEPTH_MAX and _depth(text) > DEPTH_MAX:
        raise malformed(f"the JSON is nested deeper than {DEPTH_MAX} levels")
    try:
        return _DECODERS[fold_keys].decode(text)
    except json.JSONDecodeError as error:
        raise malformed(f"the body is not JSON at character {error.pos}") from None


_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def _depth(text: str) -> int:
    """Find how deep a text is nested; brackets in strings count only where they seem to matter."""
    depth = _bracket_depth(text)
    return _bracket_depth(_STRINGS.sub("", text)) if depth > DEPTH_MAX else depth


def _bracket_depth(text: str) -> int:
    brackets = text.encode(errors="surrogatepass").translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


# Forms and query strings


def parse_form(text: str, *, fold_keys: bool = False) -> dict[str, Any]:
    """Read `name=value&…`; a name that comes twice with different values gets a list, which is no text.

    Escapes are UTF-8 or, where they are not, Latin-1: a message's own text must not cost its status.

    Raises:
        InputError: More fields than any carrier sends.
    """
    fields: dict[str, Any] = {}
    pairs = text.strip().split("&", _FORM_FIELDS_MAX)
    _check_count(len(pairs))
    for pair in pairs:
        name, _, value = pair.partition("=")
        if "%" in pair or "+" in pair:
            name, value = _unquoted(name), _unquoted(value)
        _add(fields, name.lower() if fold_keys else name, value)
    return fields


def parse_form_body(body: bytes, charset: str = "", *, fold_keys: bool = False) -> dict[str, Any]:
    """Read a form of either kind: multipart/form-data begins with its boundary, on a line of its own.

    Raises:
        InputError: Neither, or more fields than any carrier sends.
    """
    if body.startswith(b"--") and b"\n" in body:
        return _parse_multipart(body, charset, fold_keys=fold_keys)
    return parse_form(decode(body, charset), fold_keys=fold_keys)


def _parse_multipart(body: bytes, charset: str, *, fold_keys: bool) -> dict[str, Any]:
    boundary = body.partition(b"\n")[0].rstrip()
    if not _BOUNDARY.fullmatch(boundary):
        raise malformed("the body is not multipart/form-data")
    delimiter = re.compile(rb"(?:\A|\r?\n)" + re.escape(boundary) + rb"(?:--)?[ \t]*(?:\r?\n|\Z)")
    fields: dict[str, Any] = {}
    parts = delimiter.split(body, _FORM_FIELDS_MAX)
    _check_count(len(parts))
    for part in parts:
        head, *rest = _HEAD_END.split(part, 1)
        if rest and (match := _PART_NAME.search(head[:_CHUNK])):
            name = decode(match[1], charset)
            _add(fields, name.lower() if fold_keys else name, decode(rest[0], charset))
    return fields


_BOUNDARY: Final = re.compile(rb"--[!-~ ]{1,70}")
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_PART_NAME: Final = re.compile(rb'^Content-Disposition:[^\n]*?;[ \t]*name="?([^";\r\n]+)', re.IGNORECASE | re.MULTILINE)


def _check_count(fields: int) -> None:
    if fields > _FORM_FIELDS_MAX:
        raise malformed(f"the form has more than {_FORM_FIELDS_MAX} fields")


def _add(fields: dict[str, Any], name: str, value: str) -> None:
    known = fields.get(name)
    if known is None or known == value:
        fields[name] = value
    elif isinstance(known, list):
        known.append(value)
    else:
        fields[name] = [known, value]


def _unquoted(text: str) -> str:
    raw = text.replace("+", " ").encode()
    # The library takes 300 bytes for each escape, so long values are opened bit by bit.
    data = unquote_to_bytes(raw) if len(raw) <= _CHUNK else b"".join(map(unquote_to_bytes, _chunks(raw)))
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _chunks(raw: bytes) -> Iterator[bytes]:
    """Cut a long value into pieces, never inside an escape."""
    start = 0
    while start < len(raw):
        end = start + _CHUNK
        escape = raw.find(b"%", end - 2, end)
        end = end if escape < 0 else escape
        yield raw[start:end]
        start = end


# SMPP receipts

_RECEIPT_MAX: Final = 65_536  # message_payload, the longest field that can hold a receipt.
_LABELS_MAX: Final = 64
_DATE_MAX: Final = 32
_LABEL: Final = re.compile(r"\b(id|sub|dlvrd|submit[ _]?date|done[ _]?date|stat|err|text)\s*:", re.IGNORECASE)
_TOKEN: Final = re.compile(r"\s*([^\s\0]*)")  # PDU texts may keep the NUL that ends them.
_SEPARATORS: Final = ",;"
_RECEIPT: Final = "receipt"
_DATES: Final = {f"{what}{gap}date": f"{what}_date" for what in ("submit", "done") for gap in ("", " ", "_")}


def parse_smpp(text: str, attributes: Mapping[str, str]) -> dict[str, Any]:
    """Read a receipt by its labels, beside the callback's attributes (PDU fields and TLVs, by name).

    Order, letter case, blanks, commas and missing labels vary between message centres. What stands behind `text:` is
    the message's own text, so labels there count only where id or status was not found before it (some put text
    first). `receipt` is the whole text, for centres that write no labels.

    Raises:
        InputError: Longer than a PDU can be.
    """
    if len(text) > _RECEIPT_MAX:
        raise malformed("the receipt is longer than a PDU")
    before: dict[str, str] = {}
    behind: dict[str, str] = {}
    found = before
    matches = list(islice(_LABEL.finditer(text), _LABELS_MAX))
    ends = [*(match.start() for match in matches[1:]), len(text)]
    for match, end in zip(matches, ends, strict=False):
        label = match[1].lower()
        if label == "text":
            found = behind
        elif label in _DATES:
            found[_DATES[label]] = text[match.end() : min(end, match.end() + _DATE_MAX)].strip()
        elif token := _TOKEN.match(text, match.end(), end):  # A vendor's own label behind the value is not its part.
            found[label] = token[1].rstrip(_SEPARATORS)
    whole = {**attributes, _RECEIPT: text}
    return {**whole, **before} if "id" in before and "stat" in before else {**whole, **behind, **before}


# XML


_QUOTES_MAX: Final = 4 * NODES_MIN
"""Each attribute takes two; the parser makes all of an element's before it tells of the first."""


class _XmlTarget:
    """Builds a document from the parser's events: attributes as `@name`, repeated elements as a list."""

    def __init__(self, *, fold_keys: bool) -> None:
        self._fold = fold_keys
        self._open: list[dict[str, Any]] = [{}]
        self._text: list[list[str]] = [[]]
        self._nodes = 0

    def start(self, _tag: str, attributes: dict[str, str]) -> None:
        self._nodes += 1 + len(attributes)
        if len(self._open) > DEPTH_MAX or self._nodes > NODES_MIN:
            raise malformed("the XML has too many or too deeply nested elements")
        self._open.append({f"@{self._name(key)}": value for key, value in attributes.items()})
        self._text.append([])

    def end(self, tag: str) -> None:
        element = self._open.pop()
        text = "".join(self._text.pop()).strip()
        if text and element:
            element["#text"] = text
        value: Any = element or text
        parent, name = self._open[-1], self._name(tag)
        known = parent.get(name)
        if known is None:
            parent[name] = value
        elif isinstance(known, list):
            known.append(value)
        else:
            parent[name] = [known, value]

    def data(self, text: str) -> None:
        self._text[-1].append(text)

    def close(self) -> dict[str, Any]:
        return self._open[0]

    def _name(self, name: str) -> str:
        local = name.rpartition("}")[2]  # Namespaces are left out.
        return local.lower() if self._fold else local


def parse_xml(body: bytes, *, fold_keys: bool = False) -> dict[str, Any]:
    """Read XML without namespaces; the root element is the document's only key.

    Raises:
        InputError: Not XML, a DTD or an entity, too deep or too many elements or attributes.
    """
    if body.count(b'"') + body.count(b"'") > _QUOTES_MAX:
        raise malformed("the XML has too many attributes")
    parser = DefusedXMLParser(target=_XmlTarget(fold_keys=fold_keys), forbid_dtd=True)
    try:
        parser.feed(body)
        document: Any = parser.close()  # What the target's own close gives.
    except (ParseError, DefusedXmlException, LookupError, ValueError):  # Unknown encodings are the last two.
        raise malformed("the body is not XML, or has a DTD") from None
    return dict(document)
