"""What a failed request to Typesense means, whichever client sent it, as an error of ours.

Invariant: messages carry names, statuses and settings, never a document's content or the API key.
"""

import aiohttp
import httpx
import typesense.exceptions

from tsync_stream.core.causes import NO_CERTIFICATE, TLS_CAUSES, UNKNOWN, UNTRUSTED, cause_of
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, TsyncError

# There was no connection to send a request on.
_NOTHING_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ConnectionTimeoutError,
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
)


def from_typesense(error: Exception) -> TsyncError:
    """What a failed Typesense request means (a line inside an import's answer is `target.typesense`'s matter)."""
    if isinstance(error, TsyncError):
        return error
    name = type(error).__name__
    if isinstance(error, _NOTHING_SENT):
        return DependencyUnavailable(f"Typesense: {_not_reached(error)}")
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return DependencyUnavailable(
            "Typesense: no answer in time (TYPESENSE_CONNECTION_TIMEOUT)", doubtful=True, timed_out=True
        )
    if isinstance(error, typesense.exceptions.RequestUnauthorized | typesense.exceptions.RequestForbidden):
        return ConfigurationError(f"TYPESENSE_API_KEY: Typesense refuses it ({name})")
    if isinstance(error, typesense.exceptions.ObjectNotFound):
        return ConfigurationError("TYPESENSE_COLLECTION_NAME: Typesense has no such collection (404)")
    if isinstance(error, typesense.exceptions.RequestMalformed):
        return ConfigurationError("TYPESENSE_SCHEMA_FILE: Typesense finds the request malformed (400)")
    if isinstance(error, httpx.InvalidURL | aiohttp.InvalidURL):
        return ConfigurationError("TYPESENSE_HOST: it makes no URL with what was to be asked")
    if isinstance(error, typesense.exceptions.ObjectUnprocessable):
        text = "Typesense: 422, it is out of disk or memory, or somebody is changing the schema of the collection"
        return DependencyUnavailable(text, doubtful=True)
    # A connection that broke; or a status: 422 for a whole request is a full disk, 408, 429 and 5xx pass by themselves.
    return DependencyUnavailable(f"Typesense: {name}", doubtful=True)


def _not_reached(error: Exception) -> str:
    cause = cause_of(error)
    if cause == UNKNOWN:
        return type(error).__name__
    place = f" at {error.host}:{error.port}" if isinstance(error, aiohttp.ClientConnectorError) else ""
    settings = "TYPESENSE_HOST, TYPESENSE_PORT"
    if cause in TLS_CAUSES:
        trust = "SSL_CERT_FILE" if cause in {UNTRUSTED, NO_CERTIFICATE} else "TYPESENSE_PROTOCOL"
        settings = f"TYPESENSE_HOST, {trust}"
    return f"{cause}{place} ({settings})"
