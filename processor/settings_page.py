"""Writes docs/settings.md from the settings themselves: `python -m processor.settings_page > docs/settings.md`."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from processor.settings_check import allowed
from processor.settings_kafka import OWNED
from processor.settings_model import Settings, duration_text
from processor.settings_sources import free_tables, holds_secret, known_settings, table_of, variable_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD: Final = """\
# Settings

Written by `python -m processor.settings_page`; a test holds it fresh.

A setting may be given four ways; the first that is given counts:

1. a flag: `--set batch.records_max=5000`, and `--ordinal`, `--log-level`, `--log-format` of `run`
2. a variable: `STATUS_PROCESSOR_BATCH__RECORDS_MAX=5000` (two underscores go one table down)
3. a TOML file: `--settings worker.toml`, or `STATUS_PROCESSOR_SETTINGS=worker.toml`
4. the default

`status-processor config` shows what is in effect and where it came from. What is wrong, unknown names too, is reported
all at once, with exit code 78. A list is written with commas in a variable or a flag, or as JSON.

```toml
application = "status-processor"
partitions = 12

[topics]
raw = ["carrier.status.raw", "^carrier\\\\.status\\\\..*\\\\.raw$"]

[state]
directory = "/var/lib/status-processor"
retention = "7d"

[kafka]
"bootstrap.servers" = "kafka-1:9093,kafka-2:9093"
"security.protocol" = "SASL_SSL"
"sasl.mechanism" = "SCRAM-SHA-512"
"sasl.username" = "status-processor"
"sasl.password_file" = "/run/secrets/kafka-password"
```

## Secrets

A secret (marked below, and every password, key or token of `kafka` and `registry.options`) can also be read from a
file: add `_file` to its name. A newline at the file's end is dropped. Secrets are never shown, neither in errors nor
by `config`.
"""
_KAFKA: Final = """\
## librdkafka: `kafka`

Every [setting of librdkafka](https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md) as it is, for all
clients. Dotted keys may be written with quotes, or as nested tables. In a variable dots become underscores:
`STATUS_PROCESSOR_KAFKA__BOOTSTRAP_SERVERS` sets `bootstrap.servers`, which is `localhost:9092` by default. Names and
values are held against librdkafka itself when the settings are loaded. These are the worker's own and are refused:

| key | why |
|---|---|
"""
_REGISTRY: Final = """
## Registry's client: `registry.options`

Options of confluent-kafka's `SchemaRegistryClient` as they are, for example `ssl.ca.location`, `timeout` or
`bearer.auth.token`.

## In Kubernetes

Where `ordinal` is not set, it is the number at the end of the pod's name, as a StatefulSet gives it. Variables that
Kubernetes itself sets for a Service named `status-processor…` are left alone.
"""


def settings_page() -> str:
    """Return the page."""
    return "\n".join([*_sections()]) + "\n" + _KAFKA + _owned() + _REGISTRY


def _sections() -> Iterator[str]:
    yield _HEAD
    for table, title in _tables():
        yield f"## {title}\n"
        yield "| setting | variable | default | what it is | allowed |"
        yield "|---|---|---|---|---|"
        for name in known_settings():
            if name not in free_tables() and name.rpartition(".")[0] == table:
                yield _row(name)
        yield ""


def _tables() -> Iterator[tuple[str, str]]:
    yield "", "The worker"
    for name, info in Settings.model_fields.items():
        table = table_of(info)
        if table is not None:
            yield name, f"`{name}`: {(table.__doc__ or '').splitlines()[0].rstrip('.')}"


def _row(name: str) -> str:
    info = known_settings()[name]
    secret = " (secret)" if holds_secret(name) else ""
    cells = (f"`{name}`", f"`{variable_of(name)}`", _default(name), f"{info.description}{secret}", allowed(name))
    return "| " + " | ".join(cells) + " |"


def _default(name: str) -> str:
    value: object = Settings()
    for part in name.split("."):
        value = getattr(value, part)
    if name == "group":
        return "the application"
    match value:
        case None | SecretStr():
            return ""
        case bool():
            return f"`{str(value).lower()}`"
        case timedelta():
            return f"`{duration_text(value)}`"
        case list():
            return f"`{','.join(map(str, value))}`"
        case _:
            return f"`{value}`"


def _owned() -> str:
    return "".join(f"| `{key}` | {why} |\n" for key, why in OWNED.items())


if __name__ == "__main__":
    sys.stdout.write(settings_page())
