"""The exception tree, and the one place where a server's error becomes one of ours.

The kind of a fault decides what happens next (docs/architecture.md, "Failures"):

=====================  =====================================================================
DependencyUnavailable  wait and try again, for ever; nothing is acked; health names the server
TierUnavailable        the same for who reads; who appends opens the next epoch on a tier that answers
DocumentRejected       a dead letter for that key; the others go on
ConfigurationError     stop taking work until a person mends the setting; no dead letters
MongoRefused           that, of MongoDB's user: it is also connected anew, now and then
TierRefused            that, of one Redis: red until it is mended, and the queue does without it
PositionLost           the change stream cannot be resumed: reconcile
TierLost               the tier is not the one we remember, or takes no writes: next epoch
Fenced                 somebody newer holds the lease: stop, it is not ours any more
=====================  =====================================================================

Invariant: messages carry names, codes and counts, never a document's content, a password or a key.
"""

import re
import traceback
from pathlib import PurePath

import aiohttp
import httpx
import pymongo.errors
import redis.exceptions
import typesense.exceptions

from tsync_stream.core.causes import NO_CERTIFICATE, TLS_CAUSES, UNKNOWN, UNTRUSTED, cause_in_text, cause_of

# How far back an unforeseen error is told.
UNFORESEEN_FRAMES = 6


class TsyncError(Exception):
    """Base of every error that tsync-stream raises itself."""


class ConfigurationError(TsyncError):
    """A setting is wrong, or a server refuses what the settings say: only a person can mend it."""

    def __init__(self, problems: list[str] | str) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class MongoRefused(ConfigurationError):
    """MongoDB refuses our user, or something that it wants to do. A connection of before may be refused for ever."""


class DependencyUnavailable(TsyncError):
    """A server is down, slow or busy. `doubtful`: a write to a queue or to Typesense may have been done.

    `timed_out`: the server took the request, and may be at work on it still.
    """

    def __init__(self, message: str, *, doubtful: bool = False, timed_out: bool = False) -> None:
        self.doubtful = doubtful
        self.timed_out = timed_out
        super().__init__(message)


class TierRefused(ConfigurationError):
    """A Redis refuses what the settings say of it: it is no tier until a person has mended that."""


class TierUnavailable(DependencyUnavailable):
    """A Redis is out of reach or busy, past its retries. What was asked of it may have been done."""

    def __init__(self, message: str) -> None:
        super().__init__(message, doubtful=True)


class DocumentRejected(TsyncError):
    """One document cannot be written as it is."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class PositionLost(TsyncError):
    """The change stream cannot be resumed from the position we hold."""


class TierLost(TsyncError):
    """The tier is not the one we remember, or cannot take entries."""


class Fenced(TsyncError):
    """Somebody newer holds the lease that this call was made under."""


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
# What products answer that speak MongoDB's protocol, and are not MongoDB: CommandNotFound, CommandNotSupported,
# NotImplemented, "feature not supported", an unknown stage of a pipeline. Waiting does not change that.
MONGO_UNSUPPORTED_CODES = frozenset({59, 115, 238, 303, 40324})
# Whatever Atlas refuses itself, before its MongoDB: credentials, an address, a quota, a feature of shared clusters.
ATLAS_CODE = 8000
# What may mean that no server was reached; a server's own refusals have a code.
_MONGO_CONNECTION = (pymongo.errors.ConnectionFailure, OSError)
REDIS_CONFIGURATION_CODES = frozenset({"NOAUTH", "WRONGPASS", "NOPERM"})
# "ERR DB index is out of range", "ERR invalid DB index": the answers to SELECT.
REDIS_DATABASE_WORDS = "DB index"
# What a script says when the user may not do something of it: Redis 6.2; Redis 7, Valkey.
REDIS_SCRIPT_REFUSALS = ("The user executing the script can't", "ACL failure in script")
# Redis for a command that was renamed or that it is too old for: from us, from a script (6.2; 7, Valkey).
REDIS_UNKNOWN_COMMANDS = ("unknown command", "Unknown Redis command", "Unknown command called")
REDIS_TOO_MANY_CLIENTS = "max number of clients"
_REDIS_COMMAND = re.compile(r"'([a-z]{2,20})(?:\|[a-z]{2,20})?' command")
REDIS_BUSY_CODES = frozenset({"LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN"})
REDIS_CLUSTER_WORDS = "not allowed in cluster mode"
_CLUSTER_ERRORS = (
    redis.exceptions.ClusterCrossSlotError,
    redis.exceptions.AskError,  # a MovedError is one, too
)
# Everything else that Redis answers with an error means that this server is not a queue for us now:
# OOM, READONLY, MISCONF, NOREPLICAS, NOGROUP, WRONGTYPE.


def from_mongo(error: Exception) -> TsyncError:
    """What a MongoDB error means. Unknown codes are waited out: that loses nothing and health shows them.

    Never doubtful: nothing that is written to MongoDB can land in Typesense later, and what reads may be repeated.
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
            f"MONGODB_URI: this server is not supported, MongoDB 4.4 or newer is needed: it cannot do what was asked "
            f"of it (code {code})"
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
    return "MONGODB_URI, and there tlsCAFile" if cause in {UNTRUSTED, NO_CERTIFICATE} else "MONGODB_URI"


def from_redis(error: Exception, tier: str) -> TsyncError:
    """What a Redis error means for `tier` ("primary" or "backup")."""
    if isinstance(error, TsyncError):
        return error
    name = type(error).__name__
    code = redis_code(error)
    refusal = _redis_refusal(error, code, tier)
    if refusal:
        return TierRefused(f"{tier.upper()}_REDIS_{refusal}")
    if REDIS_TOO_MANY_CLIENTS in str(error):
        return TierUnavailable(f"{tier} Redis: it has as many clients as its `maxclients` allows")
    unreachable = isinstance(error, redis.exceptions.ConnectionError | redis.exceptions.TimeoutError | OSError)
    if code in REDIS_BUSY_CODES:
        return TierUnavailable(f"{tier} Redis: {code}")
    if unreachable:
        cause, prefix = cause_of(error), f"{tier.upper()}_REDIS_"
        words = name if cause == UNKNOWN else f"{cause} ({prefix}HOST, {prefix}PORT)"
        return TierUnavailable(f"{tier} Redis: {words}")
    return TierLost(f"{tier} Redis answers {code or name}")


def _redis_refusal(error: Exception, code: str, tier: str) -> str:
    """What only a person can repair about a Redis, from the setting's last word on; "" for any other error."""
    text = str(error)
    if code == "NOPERM" or any(words in text for words in REDIS_SCRIPT_REFUSALS):
        command = _REDIS_COMMAND.search(text)
        what = f"run `{command[1]}`" if command else "do what the queue needs"
        return (
            f"PASSWORD: the {tier} Redis does not let its user {what} (NOPERM); "
            f"allow it `+@all` on the keys that begin with {tier.upper()}_REDIS_QUEUE_KEY"
        )
    if code in REDIS_CONFIGURATION_CODES or isinstance(error, redis.exceptions.AuthenticationError):
        return f"PASSWORD: the {tier} Redis refuses it ({code or type(error).__name__})"
    if isinstance(error, _CLUSTER_ERRORS) or REDIS_CLUSTER_WORDS in text:
        return f"HOST: {redis_cluster(tier)}"
    if not isinstance(error, redis.exceptions.ResponseError):
        return ""
    if REDIS_DATABASE_WORDS in text:
        return f"DB: the {tier} Redis has no database of this number"
    if any(words in text for words in REDIS_UNKNOWN_COMMANDS):
        return f"HOST: the {tier} Redis lacks a command that the queue needs (it is renamed, or older than Redis 6.2)"
    return ""


def redis_cluster(tier: str) -> str:
    """Why a Redis Cluster is refused."""
    return f"the {tier} Redis is a Redis Cluster, which cannot be a queue here; name a server that is none"


def redis_code(error: Exception) -> str:
    """The upper-case word that a Redis error begins with, or "" (redis-py strips some: it maps them to classes)."""
    classes = {
        redis.exceptions.BusyLoadingError: "LOADING",
        redis.exceptions.OutOfMemoryError: "OOM",
        redis.exceptions.ReadOnlyError: "READONLY",
        redis.exceptions.NoPermissionError: "NOPERM",
        redis.exceptions.MasterDownError: "MASTERDOWN",  # which is a ClusterDownError for redis-py
        redis.exceptions.ClusterDownError: "CLUSTERDOWN",
        redis.exceptions.TryAgainError: "TRYAGAIN",
    }
    for error_class, code in classes.items():
        if isinstance(error, error_class):
            return code
    word = str(error).partition(" ")[0].rstrip(":")
    return word if word.isupper() and word.isalpha() else ""


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


def without_frames(error: TsyncError) -> TsyncError:
    """The error alone: its traceback and its causes hold on to all that was in hand where it was raised.

    For whoever keeps an error while work goes on, when what was in hand may be large: documents, a request.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


def unforeseen(error: BaseException) -> str:
    """An error that nobody foresaw, for the log: its type and where it came from, innermost first.

    Not its words, and no source lines: either may hold a document's content.
    """
    frames = traceback.extract_tb(error.__traceback__)[-UNFORESEEN_FRAMES:]
    places = [f"{frame.name} ({PurePath(frame.filename).name}:{frame.lineno})" for frame in reversed(frames)]
    cause = f", caused by {type(error.__cause__).__name__}" if error.__cause__ is not None else ""
    return f"{type(error).__name__}{cause} in {', called by '.join(places) or 'a place unknown'}"
