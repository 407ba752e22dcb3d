"""What `doctor` finds: one verdict for each thing that a worker needs, and what to do. Pure: facts go in.

A verdict is never better than what is known: what cannot be seen is `unknown`, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from processor.topics import Severity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from processor.topics import Problem

CLOCK_MS_MAX: Final = 30_000
"""Difference of clocks from which on it is told: ages and lags on the pages are wrong by as much."""
CLOCK_MS_BROKEN: Final = 3_600_000
"""Difference from which on retention suffers too."""
_RECENT_MS: Final = 5_000
_FILES_BESIDE: Final = 128
"""Connections, libraries, logs."""
_FILES_OF_A_STORE: Final = 40
"""RocksDB's tables and logs of one partition: seen were 12 for small ones; a table has some 64 MiB."""
_MIB: Final = 1 << 20
_SPARE_BYTES: Final = 256 * _MIB
"""Room for logs and compactions beside what the state itself takes."""


class Verdict(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    FAIL = "FAIL"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """How one check came out, in words that say what to do."""

    check: str
    verdict: Verdict
    text: str


def ok(check: str, text: str) -> Finding:
    """Make a finding that all is well."""
    return Finding(check, Verdict.OK, text)


def warning(check: str, text: str) -> Finding:
    """Make a finding that a worker can run with."""
    return Finding(check, Verdict.WARNING, text)


def fail(check: str, text: str) -> Finding:
    """Make a finding that a worker cannot run with, or gives wrong results with."""
    return Finding(check, Verdict.FAIL, text)


def unknown(check: str, text: str) -> Finding:
    """Make a finding that nothing can be told."""
    return Finding(check, Verdict.UNKNOWN, text)


_COMPLAINTS: Final = (
    ("certificate verify failed", "the broker's certificate is not trusted: name its authority in ssl.ca.location"),
    ("no subject alternative", "the broker's certificate is for another host name: connect by the name in it"),
    ("hostname mismatch", "the broker's certificate is for another host name: connect by the name in it"),
    ("plaintext broker listener", "this port speaks no TLS: set security.protocol, or take the TLS port"),
    ("wrong version number", "this port speaks no TLS: set security.protocol, or take the TLS port"),
    ("unsupported sasl mechanism", "the broker does not take this sasl.mechanism"),
    ("not valid in current sasl state", "this port asks for no SASL: set security.protocol, or take the SASL port"),
    ("authentication failed", "the user or the password is refused: see sasl.username and sasl.password"),
    ("sasl", "the login is refused: see sasl.*"),
    (
        "client certificate",
        "the broker asks for a client certificate: see ssl.certificate.location and ssl.key.location",
    ),
    (
        "alert",
        "the broker refuses the TLS connection; does it ask for a client certificate? See ssl.certificate.location",
    ),
    ("ssl", "no TLS connection can be made: see ssl.*"),
    ("failed to resolve", "the host name cannot be resolved: see bootstrap.servers"),
    ("connection refused", "nobody listens there: is the broker up, and is this its port?"),
    ("timed out", "nobody answers: is there a firewall in between?"),
    ("disconnected", "the broker hangs up: it may ask for TLS or SASL; see security.protocol"),
)
"""Words of the client, and what they mean; the first that fits counts."""


def connection_failed(complaints: Sequence[str], why: str) -> Finding:
    """Say in words why no broker can be reached.

    Args:
        complaints: What the client complained of; nothing where the broker only hung up.
        why: The error of the call itself.
    """
    for words, meaning in _COMPLAINTS:
        for complaint in complaints:
            if words in complaint.lower():
                return fail("connection", f"{meaning} ({complaint})")
    if complaints:
        return fail("connection", f"no broker answers ({complaints[-1]})")
    return fail(
        "connection", f"the brokers hang up without a word: they may ask for TLS or SASL; see security.protocol ({why})"
    )


def topic_findings(problems: Iterable[Problem], unseen: Collection[str], *, created: bool) -> list[Finding]:
    """Turn what is wrong with topics into findings.

    Args:
        problems: As `topics.check` found them.
        unseen: Topics that may not be seen, of which nothing can be told here.
        created: Whether a worker makes what is missing.
    """
    found = []
    for problem in problems:
        text = f"{problem.topic} {problem.text}"
        if problem.topic in unseen:
            continue
        if problem.severity is Severity.ERROR and created and problem.text.startswith("missing"):
            found.append(warning("topics", f"{problem.topic} is missing: `run` makes it, which takes Create on it"))
        else:
            found.append((fail if problem.severity is Severity.ERROR else warning)("topics", text))
    return found


def access_findings(
    needed: Mapping[str, Collection[str]], allowed: Mapping[str, Collection[str] | None], useful: Collection[str] = ()
) -> list[Finding]:
    """Hold what a worker needs against what the principal may do, one finding for each access that is missing.

    Args:
        needed: Operations by resource, such as `topic raw` or `group g`.
        allowed: Operations that the principal has; None where the brokers do not tell.
        useful: Resources of which their settings should be visible.
    """
    found, granted = [], 0
    for resource, operations in needed.items():
        have = allowed.get(resource, ())
        for operation in operations:
            if have is None:
                found.append(unknown("access", f"{operation} on {resource}: the brokers do not tell"))
            elif operation in have:
                granted += 1
            else:
                found.append(
                    fail("access", f"{operation} on {resource} is missing: grant it to the worker's principal")
                )
    for resource in useful:
        have = allowed.get(resource)
        if have and "DescribeConfigs" not in have:
            found.append(warning("access", f"DescribeConfigs on {resource} is missing: its settings cannot be checked"))
    return [*([ok("access", f"{granted} accesses to topics and the group are granted")] if granted else []), *found]


def offset_findings(
    committed: Mapping[tuple[str, int], tuple[int, str | None]],
    lows: Mapping[tuple[str, int], int],
    state_topic_id: str,
) -> list[Finding]:
    """Say whether a worker could begin at the committed offsets.

    Args:
        committed: By input, the offset and the id of the state topic that its books name, None without books.
        lows: By input, the first offset that the log still has.
        state_topic_id: The id that the state topic has now.
    """
    if not committed:
        return [ok("offsets", "nothing is committed yet: a first start")]
    found = []
    for (topic, number), (offset, state_id) in committed.items():
        if offset < lows.get((topic, number), 0):
            found.append(
                fail(
                    "offsets",
                    f"{topic}[{number}]: {lows[topic, number] - offset} offsets behind the committed one were deleted "
                    "before they were processed, and a worker ends there: to accept the loss, "
                    f"`kafka-consumer-groups.sh --reset-offsets --to-earliest --topic {topic}:{number}`",
                )
            )
        if state_id is not None and state_topic_id and state_id != state_topic_id:
            found.append(
                fail(
                    "offsets",
                    f"{topic}[{number}] belongs to another state topic than the one that is there: restore it, or "
                    "accept that messages begin again with `run --reset-state`",
                )
            )
    bare = sum(state_id is None for _, state_id in committed.values())
    if bare:
        found.append(warning("offsets", f"{bare} of {len(committed)} have no books: a tool has set them"))
    return found or [ok("offsets", f"{len(committed)} committed, all within their logs, of this state topic")]


def clock_finding(newest_ms: int | None, registry_ms: int | None, now_ms: int) -> Finding:
    """Hold this machine's clock against the brokers' and the registry's.

    Args:
        newest_ms: When a broker appended the newest record of state; it can be no later than the broker's now.
        registry_ms: The registry's own time, just now.
        now_ms: This machine's.
    """
    advice = "mend the time service of one of them"
    if newest_ms is not None and newest_ms - now_ms > CLOCK_MS_MAX:
        behind = newest_ms - now_ms
        say = fail if behind > CLOCK_MS_BROKEN else warning
        return say("clock", f"this machine is at least {behind / 1000:.0f} s behind the brokers: {advice}")
    if registry_ms is not None:
        off = abs(now_ms - registry_ms)
        side = "ahead of" if now_ms > registry_ms else "behind"
        if off > CLOCK_MS_MAX:
            say = fail if off > CLOCK_MS_BROKEN else warning
            return say("clock", f"this machine is {off / 1000:.0f} s {side} the schema registry: {advice}")
        return ok("clock", f"within {off / 1000:.0f} s of the schema registry's, and not behind the brokers'")
    if newest_ms is not None and now_ms - newest_ms <= _RECENT_MS:
        return ok("clock", "agrees with the brokers': the newest record of state was appended just now")
    return unknown(
        "clock",
        "brokers do not tell their time; only a record that was appended just now would, and none was"
        + ("" if newest_ms is None else ". It is not behind theirs"),
    )


def disk_finding(where: str, free_bytes: int, used_bytes: int, expected_bytes: int) -> Finding:
    """Say whether the state fits on the disk.

    Args:
        where: The directory.
        free_bytes: What the disk has left.
        used_bytes: What this machine's stores take now.
        expected_bytes: What all of the state would take.
    """
    # A store that is set aside stays until the next one is.
    needed = max(2 * expected_bytes - used_bytes, used_bytes) + _SPARE_BYTES
    text = f"{where}: {free_bytes // _MIB:,} MiB free, state takes {used_bytes // _MIB:,} MiB"
    if free_bytes < _SPARE_BYTES:
        return fail("disk", f"{text}: too little for any store; free some")
    if free_bytes < needed:
        return warning("disk", f"{text}; a rebuild of all of it may take {needed // _MIB:,} MiB: make room")
    return ok("disk", text)


def files_finding(limit: int, partitions: int, brokers: int) -> Finding:
    """Say whether a worker that holds every partition may open as many files as it needs."""
    needed = _FILES_BESIDE + _FILES_OF_A_STORE * partitions + 10 * brokers
    if limit < needed:
        return warning(
            "files",
            f"{limit} files may be open where a worker with all {partitions} partitions may need {needed}: raise "
            "`ulimit -n` (LimitNOFILE with systemd)",
        )
    return ok("files", f"{limit} files may be open, a worker with all {partitions} partitions needs up to {needed}")
