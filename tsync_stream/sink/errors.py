"""What a failed request to Typesense means: the one classifier, whichever client sent the request.

A status is judged together with the words in its answer: those of Typesense are a JSON object with a `message`. An
answer without them was made by something in between (a proxy, a firewall, a load balancer without a backend), and says
nothing about Typesense: in particular, its 404 does not mean that a collection or a document is missing.

Invariant: messages carry names, statuses and settings, never a document's content or the API key.
"""

import re
from http import HTTPStatus
from typing import Any

import aiohttp
import httpx
import orjson
import typesense.exceptions

from tsync_stream.core.causes import AUTHORITY_CAUSES, CLIENT_CERTIFICATE_CAUSES, TLS_CAUSES, UNKNOWN, cause_of
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, TsyncError

KEY_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
TOO_LARGE = frozenset({HTTPStatus.REQUEST_ENTITY_TOO_LARGE})
TOO_LONG = frozenset({HTTPStatus.REQUEST_URI_TOO_LONG, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE})
# Answers of 4xx that do not depend on the content of the request and pass by themselves. For a whole request, 422 means
# out of disk or memory, or that a schema is being changed.
_PASSING = frozenset({408, 409, 422, 423, 425, 429})
# Typesense's words while it starts or lags: it says so before it looks at the request (http_server.cpp).
_NOT_TAKEN = "Not Ready or Lagging"
_UNPROCESSABLE = ": it is out of disk or memory, or somebody is changing the schema of the collection"
# The `typesense` package puts these before a text that is no message of Typesense's.
_NO_MESSAGE = ("API error", "Unknown API error")
_OWN_ANSWER = re.compile(rb'\s*\{"message": ?"(.+)"\}\s*', re.DOTALL)
# There was no connection to send a request on.
_NOTHING_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ConnectionTimeoutError,
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
)


class RequestRefused(ConfigurationError):
    """A request was refused, perhaps because of its content: others may pass (`sink/dividing.py`).

    Where that cannot be found out, or others are refused too, a person has to act. `words` are Typesense's own; they
    are empty if a proxy answered.
    """

    def __init__(self, message: str, status: int, words: str) -> None:
        self.status = status
        self.words = words
        super().__init__(message)


class CollectionMissing(ConfigurationError):
    """Typesense itself says that there is no such collection."""

    def __init__(self) -> None:
        # What a request is about is not known here: one route's collection, named by a setting or in the routes file.
        super().__init__(
            "TYPESENSE_COLLECTION_NAME: Typesense has no such collection (404); a routes file names it as `target`"
        )


def check_status(status: int, request: str, *, in_doubt: bool = False, body: bytes = b"") -> None:
    """Return if the status means success; otherwise raise what it means.

    `request` names the request in messages. `in_doubt`: the request writes, so that a failure leaves it in doubt.
    """
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        raise _meaning(status, words_in(body), request, in_doubt=in_doubt)


def words_in(body: bytes) -> str:
    """What Typesense says in an answer of its own; nothing for the answer of anything else (pure).

    Typesense puts its words between `{"message": "` and `"}` as they are, a document's id with quotes and line breaks
    among them: such an answer is no JSON.
    """
    try:
        message = orjson.loads(body)["message"]
    except ValueError:
        own = _OWN_ANSWER.fullmatch(body)
        return "" if own is None else own[1].decode(errors="replace")
    except (LookupError, TypeError):
        return ""
    return message if isinstance(message, str) else ""


def words_of(error: typesense.exceptions.TypesenseClientError) -> str:
    """The same for an error of the `typesense` package (pure)."""
    words: Any = error.strerror  # an OSError, made of the status and the words
    return words if isinstance(words, str) and not words.startswith(_NO_MESSAGE) else ""


def from_typesense(error: Exception, request: str = "a request") -> TsyncError:
    """What an exception of either client means. Lines within an import's answer are read by `sink/wire.py`."""
    if isinstance(error, TsyncError):
        return error
    if isinstance(error, _NOTHING_SENT):
        return DependencyUnavailable(f"Typesense: {_not_reached(error)}")
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return DependencyUnavailable(
            "Typesense: no answer in time (TYPESENSE_CONNECTION_TIMEOUT)", in_doubt=True, timed_out=True
        )
    if isinstance(error, httpx.InvalidURL | aiohttp.InvalidURL):
        return ConfigurationError("TYPESENSE_HOST: no URL can be made of it and the path of the request")
    if isinstance(error, typesense.exceptions.TypesenseClientError) and error.errno:
        return _meaning(error.errno, words_of(error), request, in_doubt=True)
    cause = cause_of(error)
    if cause in CLIENT_CERTIFICATE_CAUSES:  # which a server says only after the handshake
        return DependencyUnavailable(f"Typesense: {cause} (TYPESENSE_TLS_CERT_FILE)")
    return DependencyUnavailable(f"Typesense: {type(error).__name__}", in_doubt=True)  # the connection broke


def _meaning(status: int, words: str, request: str, *, in_doubt: bool) -> TsyncError:
    if status == HTTPStatus.UNAUTHORIZED:
        return ConfigurationError(f"TYPESENSE_API_KEY: Typesense refuses it for {request} ({status})")
    if status == HTTPStatus.NOT_FOUND:
        return CollectionMissing() if words else not_typesenses_own(request, in_doubt=in_doubt)
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _PASSING:
        return RequestRefused(_refusal(status, request, by_typesense=bool(words)), status, words)
    because = _UNPROCESSABLE if status == HTTPStatus.UNPROCESSABLE_ENTITY else ""
    lagging = status == HTTPStatus.SERVICE_UNAVAILABLE and words == _NOT_TAKEN
    text = f"Typesense: {request} is answered with {status}{because}"
    return DependencyUnavailable(text, in_doubt=in_doubt and not lagging, lagging=lagging)


def not_typesenses_own(request: str, *, in_doubt: bool = False) -> DependencyUnavailable:
    """What a 404 means that something before Typesense answers: it is down, or TYPESENSE_HOST leads elsewhere."""
    return DependencyUnavailable(
        f"Typesense: {request} is answered with 404, but not by Typesense: by a proxy that does not reach it, or by "
        "another server (TYPESENSE_HOST, TYPESENSE_PORT)",
        in_doubt=in_doubt,
    )


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


def _not_reached(error: Exception) -> str:
    cause = cause_of(error)
    if cause == UNKNOWN:
        return type(error).__name__
    place = f" at {error.host}:{error.port}" if isinstance(error, aiohttp.ClientConnectorError) else ""
    settings = "TYPESENSE_HOST, TYPESENSE_PORT"
    if cause in TLS_CAUSES:
        settings = f"TYPESENSE_HOST, {'TYPESENSE_TLS_CA_FILE' if cause in AUTHORITY_CAUSES else 'TYPESENSE_PROTOCOL'}"
    return f"{cause}{place} ({settings})"
