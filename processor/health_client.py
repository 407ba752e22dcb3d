"""Asks a worker's own HTTP port how it is, as a container's health check and scripts do."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Final

from processor.errors import ExitCode, FatalError, TransientError

if TYPE_CHECKING:
    from processor.settings_model import Metrics

ANSWER_WITHIN_S: Final = 5.0
_BODY_BYTES_MAX: Final = 65_536
_NAMED_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """What a check said."""

    ok: bool
    reasons: tuple[str, ...]
    """Why not, one sentence each."""


def ask(metrics: Metrics, path: str, timeout_s: float = ANSWER_WITHIN_S) -> Answer:
    """Ask `/livez` or `/readyz` of the worker that runs with these settings on this machine.

    Raises:
        FatalError: With these settings there is nobody to ask.
        TransientError: Nobody answers, or what answers is no worker.
    """
    if not metrics.enabled or metrics.port == 0:
        raise FatalError(
            "metrics.enabled must be true and metrics.port a number: the worker answers there how it is",
            ExitCode.SETTINGS,
        )
    host = reachable(metrics.host)
    connection = HTTPConnection(host, metrics.port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read(_BODY_BYTES_MAX)
    except (OSError, HTTPException) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise TransientError(f"no worker answers on {host} port {metrics.port} ({why})") from error
    finally:
        connection.close()
    try:
        told = json.loads(body)
        reasons = tuple(str(reason["text"]) for reason in told["reasons"][:_NAMED_MAX])
        return Answer(ok=told["ok"] is True and response.status == 200, reasons=reasons)
    except (ValueError, TypeError, KeyError) as error:
        raise TransientError(f"what answers on {host} port {metrics.port} is no worker") from error


def reachable(host: str) -> str:
    """Return the address to connect to for one that is listened on: all addresses of a machine are its own too."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"
