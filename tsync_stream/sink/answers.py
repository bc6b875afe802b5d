"""Reading what Typesense answers (pure): a status, the lines of an import.

Invariant: every line of an import's answer is looked at, since an import answers 200 even if all lines failed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable

KEY_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
TOO_LARGE = frozenset({HTTPStatus.REQUEST_ENTITY_TOO_LARGE})
TOO_LONG = frozenset({HTTPStatus.REQUEST_URI_TOO_LONG, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE})
# Answers of 4xx that say nothing of what the request holds: they pass by themselves (of a whole request 422 is "out of
# disk or memory", or a schema that is being changed), or are about the key (401) and the collection (404).
_OF_THE_SERVER = frozenset({401, 404, 408, 409, 422, 423, 425, 429})
# A line's answers that are no document's fault: 401, 403 and 404 are those of an embedding provider.
_WAIT_CODES = frozenset({408, 422, 429})
_PROVIDER_CODES = frozenset({401, 403, 404})
# Typesense's words while it starts or lags: it says so before it looks at the request (http_server.cpp).
_NOT_TAKEN = "Not Ready or Lagging"
_SUCCESS = b'{"success":true}'
_UNPROCESSABLE = ": it is out of disk or memory, or somebody is changing the schema of the collection"


@dataclass(frozen=True, slots=True)
class Rejection:
    """One line of an import that is refused: its place in the request, a short class of reasons, the server's words."""

    line: int
    reason: str
    error: str


class RequestRefused(ConfigurationError):
    """A request was refused, perhaps for what it holds: others may pass (`sink/dividing.py`).

    Where that cannot be found out, or others are refused too, it is for a person. `words` are Typesense's own; an
    answer that has none was made by something before it.
    """

    def __init__(self, message: str, status: int, words: str) -> None:
        self.status = status
        self.words = words
        super().__init__(message)


def check_status(status: int, request: str, *, doubtful: bool = False, body: bytes = b"") -> None:
    """Raise what a status means, as `errors.from_typesense` says it of the same in the `typesense` package."""
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return
    if status == HTTPStatus.UNAUTHORIZED:
        raise ConfigurationError(f"TYPESENSE_API_KEY: Typesense refuses it for {request} ({status})")
    if status == HTTPStatus.NOT_FOUND:
        raise ConfigurationError("TYPESENSE_COLLECTION_NAME: Typesense has no such collection (404)")
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _OF_THE_SERVER:
        words = _words(body)
        raise RequestRefused(_refusal(status, request, by_typesense=bool(words)), status, words)
    because = _UNPROCESSABLE if status == HTTPStatus.UNPROCESSABLE_ENTITY else ""
    taken = status != HTTPStatus.SERVICE_UNAVAILABLE or _words(body) != _NOT_TAKEN
    raise DependencyUnavailable(f"Typesense: {request} is answered with {status}{because}", doubtful=doubtful and taken)


def _words(body: bytes) -> str:
    """What Typesense says in an answer of its own; nothing in a page of a proxy."""
    try:
        message = orjson.loads(body)["message"]
    except (ValueError, LookupError, TypeError):
        return ""
    return message if isinstance(message, str) else ""


def _refusal(status: int, request: str, *, by_typesense: bool) -> str:
    if status in TOO_LARGE:
        return f"IMPORT_MAX_BYTES: a proxy before Typesense takes no {request.split()[-1]} of this size ({status})"
    if status in TOO_LONG:
        return f"TYPESENSE_HOST: a proxy before Typesense finds the request line of {request} too long ({status})"
    if by_typesense and status == HTTPStatus.FORBIDDEN:
        return f"TYPESENSE_API_KEY: Typesense refuses it for {request} ({status})"
    if by_typesense:
        return f"TYPESENSE_SCHEMA_FILE: Typesense finds {request} malformed ({status})"
    return f"TYPESENSE_HOST: a proxy or firewall before Typesense refuses {request} ({status}); it has to let it pass"


def read_import_answer(answer: bytes, expected_lines: int) -> list[Rejection]:
    """The refused lines. Raises `DependencyUnavailable` if it is no answer, or a line failed with 5xx or 422.

    Raises `ConfigurationError` where nothing can be embedded, whatever documents there are.
    """
    if answer == b"\n".join([_SUCCESS] * expected_lines):
        return []
    lines = answer.split(b"\n")
    if lines[-1] == b"" and len(lines) > expected_lines:
        lines.pop()  # up to Typesense 0.25 the last one may be empty
    if len(lines) != expected_lines:
        raise DependencyUnavailable(
            f"Typesense: an import of {expected_lines} lines was answered by {len(lines)}", doubtful=True
        )
    results = ((number, line) for number, line in enumerate(lines) if line != _SUCCESS)
    some_written = _SUCCESS in lines
    rejections = [_rejection(number, line, some_written) for number, line in results]
    return [rejection for rejection in rejections if rejection is not None]


def _rejection(number: int, line: bytes, some_written: bool) -> Rejection | None:
    try:
        result = orjson.loads(line)
        if result.get("success"):
            return None
        code = int(result.get("code", 400))
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise DependencyUnavailable("Typesense: an import line's answer is no JSON object", doubtful=True) from error
    # 422 is "out of disk or memory" (core_api.cpp), which time cures; other 4xx are the document's own.
    if code >= 500 or code in _WAIT_CODES:
        raise DependencyUnavailable(f"Typesense: an import line answers {code}", doubtful=True)
    # What the provider says of one text alone ("too long") is that document's fault: it embeds others.
    if code in _PROVIDER_CODES or ("embedding_error" in result and not some_written):
        raise ConfigurationError(
            f"TYPESENSE_SCHEMA_FILE: the provider of embeddings that the collection names refuses Typesense ({code})"
        )
    return Rejection(number, f"rejected by Typesense ({code})", str(result.get("error", "")))


def described(answer: Any) -> Mapping[str, Any]:
    """A collection as Typesense describes it. Raises `DependencyUnavailable` for what lacks something that we need."""
    right = (
        isinstance(answer, dict)
        and all(type(answer.get(name)) is int for name in ("created_at", "num_documents"))
        and isinstance(answer.get("fields"), list)
        and all(isinstance(field, dict) and _names_and_types(field) for field in answer["fields"])
    )
    if not right:
        raise DependencyUnavailable("Typesense: something else answers, for it is no description of a collection")
    found: Mapping[str, Any] = answer
    return found


def _names_and_types(field: Mapping[str, Any]) -> bool:
    return isinstance(field.get("name"), str) and isinstance(field.get("type"), str)
