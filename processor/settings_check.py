"""What is wrong with settings, one line for each problem: the name, what was found, what is allowed."""

from __future__ import annotations

import logging
import re
from types import UnionType
from typing import TYPE_CHECKING, Final, Literal, get_args, get_origin

import annotated_types
from confluent_kafka import Consumer, KafkaException, Producer

from processor.settings_kafka import KNOWN_KEYS, OWNED, is_secret
from processor.settings_sources import free_table_of, known_settings, shown, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import ValidationError
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

    from processor.settings_sources import Layer

_NOT_HERE: Final = frozenset({"bootstrap.servers", "metadata.broker.list", "sasl.oauthbearer.method"})
"""Keys that a probing client goes without, since with them it would talk to the network."""
_VALUES: Final = {
    "security.protocol": "plaintext, ssl, sasl_plaintext, sasl_ssl",
    "compression.type": "none, gzip, snappy, lz4, zstd",
    "broker.address.family": "any, v4, v6",
    "ssl.endpoint.identification.algorithm": "none, https",
    "sasl.mechanism": "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER",
    "sasl.mechanisms": "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER",
}
"""What librdkafka takes where it does not say so itself."""
_SASL: Final = {"security.protocol": "sasl_plaintext", "sasl.username": "-", "sasl.password": "-"}
_COMPANY: Final = {"sasl.mechanism": _SASL, "sasl.mechanisms": _SASL}
"""Keys that librdkafka looks at only beside others."""
_SECURITY: Final = ("security.", "sasl.", "ssl.", "https.")
_BROKER: Final = r"\s*(\w+://)?(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:\d{1,5})?\s*"
_BROKERS: Final = re.compile(f"{_BROKER}(,{_BROKER})*")
"""librdkafka takes any text for addresses and then waits for ever for an answer."""
_CREATING: Final = "Failed to create"
_KINDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "timedelta": "a duration",
    "Path": "a path",
}


def problem_lines(error: ValidationError, layer: Layer) -> list[str]:
    """Return a line for each problem that validation found."""
    return [line for detail in error.errors(include_url=False) for line in _lines(detail, layer)]


def _lines(detail: ErrorDetails, layer: Layer) -> list[str]:
    name = ".".join(str(part) for part in detail["loc"])
    while name and name not in layer and "." in name:
        name = name.rsplit(".", 1)[0]
    text = str(detail.get("ctx", {}).get("error", ""))
    given = layer.get(name)
    if given is None and text:
        return text.splitlines()  # A rule across settings names them itself.
    if given is None:
        return [f"{name}: {detail['msg']}"]
    found = shown(name, given.value)
    what = f"{name} = {found}" if found else name
    return [f"{what} ({given.origin}): {text or f'must be {allowed(name)}'}"]


def allowed(name: str) -> str:
    """Say what a setting takes."""
    info = known_settings().get(name)
    if info is None:
        return "a text, a number, true or false"
    kind: object = info.annotation
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    options = [option for option in get_args(kind) if option is not type(None)]
    plain = options[0] if isinstance(kind, UnionType) else get_origin(kind) or kind
    return _KINDS.get(getattr(plain, "__name__", ""), "a text") + _bounds(info)


def _bounds(info: FieldInfo) -> str:
    least = next((rule.ge for rule in info.metadata if isinstance(rule, annotated_types.Ge)), None)
    most = next((rule.le for rule in info.metadata if isinstance(rule, annotated_types.Le)), None)
    if least is not None and most is not None:
        return f" from {least} to {most}"
    return " that is not empty" if any(isinstance(rule, annotated_types.MinLen) for rule in info.metadata) else ""


def kafka_problems(layer: Layer) -> list[str]:
    """Ask librdkafka itself what it thinks of the `kafka` table; nothing goes to the network."""
    given = {name.removeprefix("kafka."): value for name, value in layer.items() if free_table_of(name) == "kafka"}
    refused: dict[str, str] = {}
    for key, value in given.items():
        why = f"may not be set: {OWNED[key]}" if key in OWNED else _refusal(key, value.value)
        if why:
            refused[key] = f"kafka.{ascii(key)[1:-1]} ({value.origin}): {why}"
    problems = list(refused.values())
    if any(key.lower().startswith(_SECURITY) for key in refused):
        return problems  # What the rest lacks then may be just what was meant there.
    together = {key: _plain(value.value) for key, value in given.items() if key not in _NOT_HERE | refused.keys()}
    why = _probe(together)
    if why is not None:
        problems.append(f"kafka: {_without_secrets(why, together)}")
    return problems


def _plain(value: object) -> object:
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _refusal(key: str, value: object) -> str | None:
    value = _plain(value)
    if not isinstance(value, str | int | float):
        return "must be a text, a number, true or false"
    if key == "bootstrap.servers":
        return None if _BROKERS.fullmatch(str(value)) else "must be the host:port of one broker or more, with commas"
    why = _probe({**_COMPANY.get(key, {}), key: value})
    if why is None or (why.startswith(_CREATING) and key not in _COMPANY):
        return None
    if "No such" in why:
        return f"librdkafka has no such setting{suggestion(key, KNOWN_KEYS)}"
    return _not_taken(key, value, why)


def _not_taken(key: str, value: object, why: str) -> str:
    """Say what a key takes, as far as that is known."""
    found = "" if is_secret(key) else f"{shown(f'kafka.{key}', value)} "
    if key in _VALUES:
        return f"{found}must be one of {_VALUES[key]}"
    if "outside allowed range" in why:
        return f"{found}is outside of {why.rsplit(' ', 1)[-1].replace('..', ' to ')}"
    return f"{found}is no value that librdkafka takes"


def _probe(config: Mapping[str, object]) -> str | None:
    """Return why librdkafka refuses to make a client of this, None where it does not."""
    silent = logging.Logger("librdkafka.probe", logging.CRITICAL + 1)  # noqa: LOG001  # private, nobody reads it
    for make in (Producer, Consumer):
        group = {"group.id": "probe"} if make is Consumer else {}
        try:
            client = make({**config, **group}, logger=silent)
        except KafkaException as error:
            return str(error.args[0].str()).strip()
        except (TypeError, ValueError):
            return "No such configuration property"  # A callback of the Python client, not a setting.
        client.close()
    return None


def registry_problems(layer: Layer) -> list[str]:
    """Ask the registry's client what it thinks of its options; nothing goes to the network."""
    options = {
        name.removeprefix("registry.options."): given.value
        for name, given in layer.items()
        if free_table_of(name) == "registry.options"
    }
    problems = []
    if ("registry.username" in layer) != ("registry.password" in layer):
        problems.append("registry: username and password go together, only one of them is set")
    if "registry.url" not in layer:
        return problems + (["registry.options: no registry.url is set"] if options else [])
    from confluent_kafka.schema_registry import SchemaRegistryClient  # noqa: PLC0415  # takes a while, is rarely needed

    try:
        SchemaRegistryClient({"url": "http://localhost", **options})
    except (ValueError, TypeError, OSError) as error:
        problems.append(f"registry.options: {_without_secrets(str(error), options)}")
    return problems


def _without_secrets(text: str, table: Mapping[str, object]) -> str:
    """Return a library's words without the secrets that the library was given."""
    for key, value in table.items():
        if is_secret(key) and str(value):
            text = text.replace(str(value), "***")
    return text
