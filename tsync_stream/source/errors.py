"""The errors of MongoDB and its driver, translated into ours.

Invariant: messages carry names, codes and settings, never a document's content or a password.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pymongo.errors
from bson.errors import BSONError

from tsync_stream.core.causes import AUTHORITY_CAUSES, CLIENT_CERTIFICATE_CAUSES, UNKNOWN, cause_in_text
from tsync_stream.core.errors import (
    ConfigurationError,
    DependencyUnavailable,
    MongoRefused,
    PositionLost,
    TsyncError,
)

# MongoDB's error_codes.yml. The stream cannot be resumed: ChangeStreamHistoryLost, ChangeStreamFatalError,
# InvalidResumeToken, CappedPositionLost, and QueryPlanKilled/NamespaceNotFound never appear on a live stream.
POSITION_CODES = frozenset({286, 280, 260, 136})
NOT_RESUMABLE_LABEL = "NonResumableChangeStreamError"
MONGO_CONFIGURATION = {
    13: "its user may not do what is needed; `check` says which roles to grant",
    18: "its user or password is refused",
    40573: "this MongoDB is not a replica set, and without one there are no change streams",
}
MONGO_REFUSAL_CODES = frozenset({13, 18})
# Answers of products that speak MongoDB's protocol but are not MongoDB: CommandNotFound, CommandNotSupported,
# NotImplemented, "feature not supported", an unknown pipeline stage. Waiting does not change that.
MONGO_UNSUPPORTED_CODES = frozenset({59, 115, 238, 303, 40324})
# What Atlas itself refuses, before MongoDB sees it: credentials, an address, a quota, a feature of shared clusters.
ATLAS_CODE = 8000
# Errors that may mean that no server was reached; a server's own refusals have a code.
_MONGO_CONNECTION = (pymongo.errors.ConnectionFailure, OSError)


def from_mongo(error: Exception) -> TsyncError:
    """What a MongoDB error means. Unknown codes are waited out: that loses nothing, and health shows them.

    Never in_doubt: nothing that is written to MongoDB can reach Typesense later, and reads may be repeated.
    """
    if isinstance(error, TsyncError):
        return error
    code = getattr(error, "code", None)
    name = type(error).__name__
    not_resumable = isinstance(error, pymongo.errors.PyMongoError) and error.has_error_label(NOT_RESUMABLE_LABEL)
    if code in POSITION_CODES or not_resumable:
        return PositionLost(f"MongoDB code {code} ({name})")
    if code in MONGO_CONFIGURATION:
        refused = MongoRefused if code in MONGO_REFUSAL_CODES else ConfigurationError
        return refused(f"MONGODB_URI: {MONGO_CONFIGURATION[code]} (code {code})")
    if code in MONGO_UNSUPPORTED_CODES:
        return ConfigurationError(
            f"MONGODB_URI: this server is not supported, MongoDB 4.4 or newer is needed: it does not "
            f"support what is needed (code {code})"
        )
    if code == ATLAS_CODE:
        return MongoRefused(f"MONGODB_URI: Atlas refuses it (code {code}): see its user, its access list and its tier")
    if isinstance(error, pymongo.errors.ConfigurationError):
        return ConfigurationError(
            "MONGODB_URI: the driver cannot use it: its options contradict each other, or its DNS records are missing"
        )
    if code is None and isinstance(error, _MONGO_CONNECTION) and not isinstance(error, pymongo.errors.NotPrimaryError):
        cause = cause_in_text(error)
        return DependencyUnavailable(f"MongoDB: {name if cause == UNKNOWN else f'{cause} ({_mongo_setting(cause)})'}")
    return DependencyUnavailable(f"MongoDB: {name}" + (f", code {code}" if code is not None else ""))


def _mongo_setting(cause: str) -> str:
    if cause in CLIENT_CERTIFICATE_CAUSES:
        return "MONGODB_URI, and there tlsCertificateKeyFile"
    return "MONGODB_URI, and there tlsCAFile" if cause in AUTHORITY_CAUSES else "MONGODB_URI"


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Raise MongoDB's errors as ours. A command that is too long (DocumentTooLarge) is a BSONError."""
    try:
        yield
    except (pymongo.errors.PyMongoError, BSONError) as error:
        raise from_mongo(error) from error


def code_of(error: BaseException | None) -> int | None:
    """The server's error code, also of a translated error; None if no server answered with one."""
    link = error
    while link is not None:
        if isinstance(link, pymongo.errors.OperationFailure):
            return link.code
        link = link.__cause__
    return None


def describe_mongo_error(error: BaseException) -> str:
    """A driver's error, or a translated one, in a few words without secrets (pure)."""
    code = code_of(error)
    return f"error {code}" if code is not None else words_of(error)


def words_of(error: BaseException | None) -> str:
    """Why a connection failed; the driver gives the reason only as text (pure)."""
    source = error.__cause__ if isinstance(error, TsyncError) else error
    return UNKNOWN if source is None else cause_in_text(source)
