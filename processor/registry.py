"""The schema registry, as far as we need it: a schema by its id, an id for a schema.

What the registry says becomes one of three answers: a value, `TransientError` where it is down (nothing may be
dead-lettered for that), `FatalError` where waiting does not help. No message holds a credential: of the client's own
errors only the kind is told, as their words repeat URLs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Self, TypeVar
from urllib.parse import urlsplit

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

from processor.errors import AbortCause, ExitCode, FatalError, TransientError
from processor.schemas import registry_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

_DEFAULTS: Final[dict[str, object]] = {
    # The client itself would wait for ever. Each wait of a request is as long at most, and a worker that is asked to
    # stop meanwhile still ends within five seconds. It tries again anyway, so the client need not.
    "timeout": 3.0,
    "max.retries": 0,
}
_DENIED: Final = frozenset({401, 403})
_WORTH_A_RETRY: Final = frozenset({408, 429})
_NOT_FOUND: Final = re.compile("404[0-9]{2}")
_WORDS_MAX: Final = 300

T = TypeVar("T")


class Registry:
    """A client of one schema registry. Answers of the registry are cached by the client."""

    def __init__(self, conf: Mapping[str, object]) -> None:
        """Connect to nothing yet.

        Args:
            conf: Settings of `confluent_kafka.schema_registry.SchemaRegistryClient`; ``timeout`` is in seconds.

        Raises:
            FatalError: The settings cannot be used.
        """
        self._where = ",".join(_public(url) for url in str(conf.get("url", "")).split(","))
        try:
            self._client = SchemaRegistryClient.new_client({**_DEFAULTS, **conf})
        except (OSError, TypeError, ValueError) as error:
            raise FatalError(
                f"the settings of the schema registry {self._where} cannot be used ({_kind(error)}): "
                f"check {', '.join(sorted(conf))}",
                ExitCode.SETTINGS,
            ) from None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def fetch(self, schema_id: int) -> str | None:
        """Return the text of a schema, whatever its type, or None where the registry has none of this id.

        Raises:
            TransientError: The registry does not answer as it should.
            FatalError: The registry denies access.
        """
        doing = f"fetching schema {schema_id}"
        try:
            schema = self._call(doing, lambda: self._client.get_schema(schema_id))
        except SchemaRegistryError as error:
            if _says_not_found(error):
                return None
            raise _down(f"{doing}: {self._answered(error)}") from None
        if schema.schema_str is None:
            raise _down(f"{doing}: the schema registry {self._where} answered without a schema")
        return schema.schema_str

    def register(self, subject: str, schema_json: str) -> int:
        """Return the id of an Avro schema under a subject; register it there where it is not yet.

        Raises:
            TransientError: The registry does not answer as it should.
            FatalError: The registry denies access, or refuses the schema, as one that is not compatible.
        """
        doing = f"registering the schema of subject {subject}"
        try:
            schema_id = self._call(doing, lambda: self._client.register_schema(subject, Schema(schema_json, "AVRO")))
        except SchemaRegistryError as error:
            status = error.http_status_code
            if 400 <= status < 500 and status not in _WORTH_A_RETRY:
                raise FatalError(f"{doing}: {self._answered(error)}{_words(error)}") from None
            raise _down(f"{doing}: {self._answered(error)}") from None
        if not isinstance(schema_id, int):
            raise _down(f"{doing}: the schema registry {self._where} answered without an id")
        return schema_id

    def registered(self, subject: str, schema_json: str) -> int | None:
        """Return the id of an Avro schema under a subject, None where it is not registered there; raises as `fetch`."""
        doing = f"looking up the schema of subject {subject}"
        try:
            found = self._call(doing, lambda: self._client.lookup_schema(subject, Schema(schema_json, "AVRO")))
        except SchemaRegistryError as error:
            if _says_not_found(error):
                return None
            raise TransientError(f"{doing}: {self._answered(error)}") from None
        return found.schema_id

    def compatible(self, subject: str, schema_json: str) -> bool:
        """Tell whether a schema may be registered under a subject; any may where it is new. Raises as `fetch`."""
        doing = f"testing the schema of subject {subject}"
        try:
            return bool(
                self._call(doing, lambda: self._client.test_compatibility(subject, Schema(schema_json, "AVRO")))
            )
        except SchemaRegistryError as error:
            if _says_not_found(error):
                return True
            raise TransientError(f"{doing}: {self._answered(error)}") from None

    def frame(self, subject: str, schema_json: str) -> bytes:
        """Return what stands before each value that is written with this schema; raises as `register` does."""
        return registry_prefix(self.register(subject, schema_json))

    def _call(self, doing: str, request: Callable[[], T]) -> T:
        """Make a request; only an answer that is an error, and no denial, comes out as the client's error."""
        try:
            return request()
        except SchemaRegistryError as error:
            if error.http_status_code in _DENIED:
                raise FatalError(
                    f"{doing}: {self._answered(error)}; check the credentials and what they are allowed to do",
                    ExitCode.NOT_PERMITTED,
                ) from None
            raise
        except Exception as error:  # noqa: BLE001  # errors of its HTTP, its tokens and its JSON come through as they are
            raise _down(f"{doing}: the schema registry {self._where} is not reachable ({_kind(error)})") from None

    def _answered(self, error: SchemaRegistryError) -> str:
        hint = "; is it a schema registry's URL?" if error.http_status_code == 404 else ""
        return f"the schema registry {self._where} answered {error.http_status_code}{hint}"


def _down(what: str) -> TransientError:
    return TransientError(what, AbortCause.REGISTRY)


def _says_not_found(error: SchemaRegistryError) -> bool:
    """Tell a registry's own "not found" (404xx) from the 404 of any other server that the URL leads to."""
    return error.http_status_code == 404 and _NOT_FOUND.fullmatch(str(error.error_code)) is not None


def _words(error: SchemaRegistryError) -> str:
    """Return the registry's own words in one line: they say what is not compatible."""
    words = " ".join(str(error.error_message).split())[:_WORDS_MAX]
    return f": {words}" if words and error.error_code not in (None, -1) else ""


def _kind(error: Exception) -> str:
    return type(error).__name__


def _public(url: str) -> str:
    """Return a URL without what may be secret in it: user, password, query."""
    try:
        parts = urlsplit(url.strip())
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        parts, port = urlsplit(""), ""
    if parts.scheme not in {"http", "https", "mock"} or not (parts.hostname or parts.scheme == "mock"):
        raise FatalError("the schema registry's url is not of the form http://host:port", ExitCode.SETTINGS)
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
