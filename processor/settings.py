"""Loads the settings: flags over environment over a TOML file over defaults, with every problem reported at once."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from processor.errors import ExitCode, FatalError
from processor.settings_check import kafka_problems, problem_lines, registry_problems
from processor.settings_kafka import (
    DEFAULT_KAFKA,
    admin_config,
    changelog_config,
    consumer_config,
    producer_config,
    registry_config,
    replay_config,
    replay_id,
    standby_config,
    transactional_id,
)
from processor.settings_model import Settings
from processor.settings_sources import FILE_VARIABLE, Given, Reader, nested

if TYPE_CHECKING:
    from collections.abc import Mapping

    from processor.settings_sources import Layer

__all__ = [
    "Settings",
    "admin_config",
    "changelog_config",
    "consumer_config",
    "load_settings",
    "load_with_origins",
    "producer_config",
    "registry_config",
    "replay_config",
    "replay_id",
    "standby_config",
    "transactional_id",
]

_ORDINAL: Final = re.compile(r"-(0|[1-9]\d{0,3})$")
"""A StatefulSet's ordinal at the end of its pod's name; a Deployment's random suffix has five characters."""
_NOTHING: Final[dict[str, object]] = {}


def load_settings(
    file: Path | None = None,
    overrides: Mapping[str, object] = _NOTHING,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Load the settings.

    Args:
        file: A TOML file; where it is None, the one that STATUS_PROCESSOR_SETTINGS names, if any.
        overrides: Flags, by dotted name.
        environ: The environment; the process's own where it is None.

    Raises:
        FatalError: Something is wrong; the message has a line for each problem.
    """
    return load_with_origins(file, overrides, environ)[0]


def load_with_origins(
    file: Path | None = None,
    overrides: Mapping[str, object] = _NOTHING,
    environ: Mapping[str, str] | None = None,
) -> tuple[Settings, dict[str, str]]:
    """Load the settings, and tell where each that is no default came from, by dotted name.

    Raises:
        FatalError: Something is wrong; the message has a line for each problem.
    """
    if environ is None:
        environ = os.environ
    if file is None and environ.get(FILE_VARIABLE):
        file = Path(environ[FILE_VARIABLE])
    reader = Reader()
    layer: Layer = {f"kafka.{key}": Given(value, "default") for key, value in DEFAULT_KAFKA.items()}
    layer |= _from_host_name(environ)
    layer |= reader.file(file) | reader.environment(environ) | reader.flags(overrides)
    problems = [*reader.problems, *kafka_problems(layer), *registry_problems(layer)]
    settings = None
    try:
        settings = Settings(**nested(layer))  # type: ignore[arg-type]  # it validates what it is given
    except ValidationError as error:
        problems += problem_lines(error, layer)
    if problems or settings is None:
        raise FatalError("\n".join(problems), ExitCode.SETTINGS)
    return settings, {name: given.origin for name, given in layer.items() if given.origin != "default"}


def _from_host_name(environ: Mapping[str, str]) -> Layer:
    if "KUBERNETES_SERVICE_HOST" not in environ:
        return {}
    host = environ.get("HOSTNAME") or socket.gethostname()
    match = _ORDINAL.search(host)
    return {"ordinal": Given(int(match[1]), "host name")} if match else {}
