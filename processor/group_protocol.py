"""Which consumer group protocol to take: KIP-848's where the brokers have it, the classic one elsewhere.

Two things tell. Brokers list the requests they know, which librdkafka writes to its log; a group coordinator may still
refuse the protocol (Kafka 3.7 to 3.9 by default, or a policy that keeps a classic group as it is), which a consumer
learns when it joins. A broker that does not know the request at all is never complained of: the consumer would wait
in silence for ever, so the list comes first.
"""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient

from processor.errors import ProcessorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

CLASSIC: Final = "classic"
CONSUMER: Final = "consumer"

_API: Final = re.compile(r"(\S+): +ApiKey \w+ \((\d+)\) ")
_CONSUMER_GROUP_HEARTBEAT: Final = "68"
_ANY: Final = "18"
"""ApiVersions itself: every broker lists it."""
_POLL_S: Final = 0.1
_REFUSALS: Final = tuple(
    KafkaError(code).str()
    for code in (
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError.GROUP_ID_NOT_FOUND,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
    )
)


class ProtocolRefusedError(ProcessorError):
    """The group coordinator does not take members of the protocol that was tried."""


def protocols_to_try(setting: str, admin_config: Mapping[str, Any], timeout_s: float = 10.0) -> list[str]:
    """Return the protocols to try, one after the other, for a setting of `auto`, `classic` or `consumer`."""
    if setting != "auto":
        return [setting]
    return [CONSUMER, CLASSIC] if brokers_have_it(admin_config, timeout_s) else [CLASSIC]


def subscription(topics: Iterable[str], protocol: str) -> list[str]:
    """Return what to subscribe to for these topics, of which expressions begin with ^, whatever the protocol.

    A classic consumer searches names for an expression by itself; with KIP-848's protocol the broker does, and there
    the expression has to match the whole name. The client looks at it first, and knows no `(?:`.
    """
    if protocol == CLASSIC:
        return list(topics)
    return [f"^.*({topic}).*$" if topic.startswith("^") else topic for topic in topics]


def brokers_have_it(
    admin_config: Mapping[str, Any], timeout_s: float, make_client: Callable[..., AdminClient] = AdminClient
) -> bool:
    """Tell whether every broker that answers lists KIP-848's heartbeat among its requests."""
    logger = logging.Logger("librdkafka.features")  # noqa: LOG001  # private: only the list below looks at it
    lists = _ApiLists()
    logger.addHandler(lists)
    client = make_client({**admin_config, "debug": "feature", "log_level": 7}, logger=logger)
    deadline = time.monotonic() + timeout_s
    seen = -1
    # A list comes line by line, so it is whole when a poll brings no more of it.
    while (not lists.complete(_ANY) or len(lists) != seen) and time.monotonic() < deadline:
        seen = len(lists)
        client.poll(_POLL_S)
    return lists.complete(_CONSUMER_GROUP_HEARTBEAT)


def is_refusal(error: KafkaError) -> bool:
    """Tell whether a consumer's fatal error means that the coordinator does not take its group protocol.

    The code is only ever `_FATAL` there; what happened stands in the text.
    """
    return "ConsumerGroupHeartbeat" in error.str() and any(text in error.str() for text in _REFUSALS)


class _ApiLists(logging.Handler):
    """Collects the requests that each broker lists."""

    def __init__(self) -> None:
        super().__init__()
        self._apis: dict[str, set[str]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        found = _API.search(record.getMessage())
        if found is not None:
            self._apis.setdefault(found[1], set()).add(found[2])

    def __len__(self) -> int:
        return sum(map(len, self._apis.values()))

    def complete(self, api: str) -> bool:
        """Tell whether there is a list, and every list has this request."""
        return bool(self._apis) and all(api in apis for apis in self._apis.values())
