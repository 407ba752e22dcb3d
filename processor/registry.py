"""The schema registry, as far as the worker needs it: fetch a writer's schema by id, register our own."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from processor.errors import ExitCode, FatalError, TransientError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMEOUT_S: Final = 10.0
_DENIED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_NOT_AVRO: Final = "{}"
"""Stands for a schema of another kind: the check of writers' schemas refuses it with a reason."""


class Registry:
    """A client of a registry that speaks Confluent's REST interface."""

    def __init__(self, config: Mapping[str, object]) -> None:
        """Keep the settings of confluent-kafka's client; nothing is asked yet.

        Raises:
            FatalError: A setting is wrong.
        """
        try:
            self._client = SchemaRegistryClient({"timeout": _TIMEOUT_S, "max.retries": 1, **config})
        except ValueError as error:
            raise FatalError(f"registry: {error}", ExitCode.SETTINGS) from error

    def fetch(self, schema_id: int) -> str | None:
        """Return the text of a writer's schema, None where the registry says that there is none of this id.

        Raises:
            TransientError: The registry does not answer as it should; ask again.
            FatalError: It refuses our credentials.
        """
        try:
            schema = self._client.get_schema(schema_id)
        except SchemaRegistryError as error:
            if error.http_status_code == HTTPStatus.NOT_FOUND:
                return None
            raise _refused(f"fetch schema {schema_id}", error) from error
        except Exception as error:
            # The client lets its HTTP library's errors through; all of them mean that nothing was answered.
            raise TransientError(f"no answer from the schema registry ({type(error).__name__})") from error
        if (schema.schema_type or "AVRO") != "AVRO" or schema.references:
            return _NOT_AVRO
        return schema.schema_str

    def register(self, subject: str, text: str) -> int:
        """Register one of our schemas and return its id.

        Raises:
            TransientError: The registry does not answer as it should; ask again.
            FatalError: It refuses the schema or our credentials.
        """
        try:
            return self._client.register_schema(subject, Schema(text, "AVRO"))
        except SchemaRegistryError as error:
            if error.http_status_code in {HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}:
                raise FatalError(
                    f"the registry does not take our schema for {subject} (status {error.http_status_code}, code "
                    f"{error.error_code}): see the subject's compatibility",
                    ExitCode.FAILED,
                ) from error
            raise _refused(f"register the schema of {subject}", error) from error
        except Exception as error:
            raise TransientError(f"no answer from the schema registry ({type(error).__name__})") from error


def _refused(doing: str, error: SchemaRegistryError) -> TransientError | FatalError:
    status = f"status {error.http_status_code}, code {error.error_code}"
    if error.http_status_code in _DENIED:
        return FatalError(f"the schema registry refuses to {doing} ({status}): see registry.*", ExitCode.NOT_PERMITTED)
    return TransientError(f"the schema registry failed to {doing} ({status})")
