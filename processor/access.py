"""Names the access that a denial is about: the client's own words for one leave out the topic."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation

from processor.kafka_errors import DeniedError, error_of, is_denied

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from concurrent.futures import Future

    from confluent_kafka.admin import AdminClient, TopicDescription

_ANSWER_S: Final = 5.0

READ: Final = AclOperation.READ
WRITE: Final = AclOperation.WRITE


class Access:
    """What a worker needs: on topics, on its group, on its transactional id."""

    def __init__(
        self,
        admin: AdminClient,
        topics: Mapping[str, Collection[AclOperation]],
        group: str,
        transactional_id: str,
    ) -> None:
        self._admin = admin
        self._topics = topics
        self._rest = f"Read on group {group}, Write on transactional id {transactional_id}"

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Add to a denial what is missing.

        Raises:
            DeniedError: The one that the block raised, with what to grant.
        """
        try:
            yield
        except DeniedError as error:
            raise DeniedError(
                f"{error.doing}: grant the worker's principal {self.lacking()}; then start again: "
                "it continues from what is committed"
            ) from error

    def lacking(self) -> str:
        """Return what is missing on topics; where nothing is, what the worker needs beside them."""
        request = TopicCollection(list(self._topics))
        answers = self._admin.describe_topics(request, include_authorized_operations=True, request_timeout=_ANSWER_S)
        found = [
            f"{operation.name.title()} on topic {name}"
            for name, answer in answers.items()
            for operation in _missing(answer, self._topics[name])
        ]
        return ", ".join(found) or self._rest


class Names(Protocol):
    """Names of the worker's own topics."""

    @property
    def changes(self) -> str:
        """Where changes go."""

    @property
    def dead_letter(self) -> str:
        """Where dead letters go."""

    @property
    def state(self) -> str:
        """The changelog."""

    @property
    def rekeyed(self) -> str:
        """Events on the way to their owner."""


def worker_access(admin: AdminClient, raw: Iterable[str], names: Names, group: str, transactional_id: str) -> Access:
    """Return what a worker needs; of raw topics that an expression finds nothing can be told."""
    topics: dict[str, list[AclOperation]] = {topic: [READ] for topic in raw if not topic.startswith("^")}
    topics |= {names.changes: [WRITE], names.dead_letter: [WRITE]}
    topics |= {names.state: [READ, WRITE], names.rekeyed: [READ, WRITE]}
    return Access(admin, topics, group, transactional_id)


def _missing(answer: Future[TopicDescription], needed: Collection[AclOperation]) -> list[AclOperation]:
    """Return the operations that are not allowed, none where nobody answers."""
    try:
        allowed = answer.result(_ANSWER_S + 1).authorized_operations or []
    except KafkaException as exception:
        return list(needed) if is_denied(error_of(exception)) else []
    except TimeoutError:
        return []
    return [operation for operation in needed if operation not in allowed]
