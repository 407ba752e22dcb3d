"""The checks of `doctor` that look at this machine, the carrier packs and the schema registry."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import tempfile
import time
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from processor import doctor
from processor.errors import FatalError, PackError, ProcessorError
from processor.pack_check import check_example
from processor.pack_files import PackSource
from processor.packs import BUILTIN
from processor.registry import Registry
from processor.schemas import schema_text
from processor.settings import registry_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from processor.doctor import Finding
    from processor.packs import Packs
    from processor.settings import Settings

_HTTP_S: Final = 5.0
_ANSWER_BYTES_MAX: Final = 65_536
_BYTES_OF_A_MESSAGE: Final = 50
"""Disk for the state of one message: measured with 2,000,000 (docs/reliability.md)."""
_PROBLEMS_MAX: Final = 3
_OURS: Final = "status_processor_build_info"


def packs(settings: Settings) -> Iterator[Finding]:
    """Load the carrier packs as a worker does, and run the examples of the user's own."""
    key = settings.identity_key.get_secret_value()
    try:
        loaded = PackSource(settings.packs.directory, key.encode()).load()
    except PackError as error:
        more = f" and {len(error.problems) - _PROBLEMS_MAX} more" if len(error.problems) > _PROBLEMS_MAX else ""
        yield doctor.fail("packs", "; ".join(error.problems[:_PROBLEMS_MAX]) + more)
        return
    own = {name for name, pack in loaded.carriers.items() if not pack.file.startswith(BUILTIN)}
    wrong = [line for one in loaded.examples() if one.carrier in own for line in check_example(loaded, one)]
    if wrong:
        yield doctor.warning(
            "packs",
            f"{len(wrong)} examples of your own packs come out otherwise: see `status-processor carriers check`",
        )
    else:
        yield doctor.ok("packs", f"{len(loaded.carriers)} carriers, {len(own)} of them by your own packs")
    if not key:
        yield _identity_key(loaded)


def _identity_key(loaded: Packs) -> Finding:
    keyed = sorted(pack.carrier for pack in loaded.carriers.values() if any(not part.plain for part in pack.ids.chain))
    if not keyed:
        return doctor.ok("identity_key", "not set, and no pack needs it")
    return doctor.warning(
        "identity_key",
        f"not set: the packs of {', '.join(keyed)} tell messages apart by a hash of the recipient, which without a key "
        "can be guessed back; set it before state is built, since it is a part of each identity",
    )


def ordinal(settings: Settings) -> Finding:
    """Say whether a worker knows its number."""
    if settings.ordinal is None:
        return doctor.ok("ordinal", "not set here: `run` needs --ordinal, each worker its own")
    return doctor.ok("ordinal", f"worker {settings.ordinal}")


def disk(settings: Settings, state_messages: int) -> Finding:
    """Say whether the state directory can be written, and whether the state fits."""
    directory = settings.state.directory
    there = directory
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return doctor.fail(
            "disk", f"{there} cannot be written ({error.strerror}): let the worker's user, or set state.directory"
        )
    expected = state_messages * _BYTES_OF_A_MESSAGE
    return doctor.disk_finding(str(directory), shutil.disk_usage(there).free, _size(directory), expected)


def _size(directory: Path) -> int:
    """Add up files; those that a live worker deletes meanwhile count nothing."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += (Path(folder) / name).stat().st_size
            except OSError:
                continue
    return total


def files(settings: Settings, brokers: int) -> Finding:
    """Look at the limit of open files."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limit = 1 << 30 if soft == resource.RLIM_INFINITY else soft
    return doctor.files_finding(limit, settings.partitions * (1 + 2 * min(settings.state.standbys, 1)), brokers)


def port(settings: Settings) -> Finding:
    """Say who has the port of the HTTP pages; it is asked, not taken, so that a worker that starts finds it free."""
    if not settings.metrics.enabled:
        return doctor.ok("http", "metrics.enabled is false: no pages")
    host, number = settings.metrics.host, settings.metrics.port
    if number == 0:
        return doctor.ok("http", "any free port")
    where = f"{host}:{number}"
    try:
        # An address that is not this machine's shows here, whatever the port.
        family = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as any_port:
            any_port.bind((host, 0))
    except OSError as error:
        return doctor.fail("http", f"{host} is no address to listen on ({error.strerror}): set metrics.host")
    asked = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared, not listened on
    try:
        socket.create_connection((asked, number), _HTTP_S).close()
    except OSError:
        return doctor.ok("http", f"{where} is free")
    if _OURS in _get(f"http://{f'[{asked}]' if ':' in asked else asked}:{number}/metrics"):
        return doctor.ok("http", f"a worker serves its pages on {where}")
    return doctor.fail("http", f"something else listens on {where}: set metrics.port to a free one, or 0 for any")


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=_HTTP_S) as answer:  # noqa: S310  # http, on our own address
            return str(answer.read(_ANSWER_BYTES_MAX).decode(errors="replace"))
    except (OSError, ValueError):
        return ""


def registry(settings: Settings) -> Finding:
    """Say whether the registry answers, and knows the schema of changes or would take it."""
    config = registry_config(settings)
    if config is None:
        return doctor.ok("registry", "none is set: values carry Avro's single-object encoding")
    subject, schema = f"{settings.topics.changes}-value", schema_text("status_change")
    try:
        with Registry(config) as client:
            schema_id = client.registered(subject, schema)
            if schema_id is not None:
                return doctor.ok("registry", f"answers, and has the schema of {subject} as id {schema_id}")
            if client.compatible(subject, schema):
                return doctor.ok("registry", f"answers; the first worker registers the schema of {subject}")
    except FatalError as error:
        return doctor.fail("registry", str(error))
    except ProcessorError as error:
        return doctor.fail("registry", f"{error}: see registry.*; workers wait for it")
    return doctor.fail(
        "registry",
        f"the schema of {subject} is not compatible with what is registered there: another application's topic, or a "
        "newer version's; see topics.changes",
    )


def registry_time_ms(settings: Settings) -> int | None:
    """Return the registry's own time by the header of any answer, None where it tells none."""
    url = (settings.registry.url or "").split(",")[0]
    if urlsplit(url).scheme not in {"http", "https"}:
        return None
    began = time.time()
    try:
        with urllib.request.urlopen(url, timeout=_HTTP_S) as answer:  # noqa: S310  # the scheme was looked at
            told = answer.headers.get("Date")
    except urllib.error.HTTPError as error:
        told = error.headers.get("Date")
    except (OSError, ValueError):
        return None
    try:
        then = parsedate_to_datetime(str(told)).timestamp()
    except ValueError:
        return None
    # It was told somewhere in the middle of the request.
    return int((then + (time.time() - began) / 2) * 1000)
