"""What redis-py's errors mean for a tier, as errors of our own.

Invariant: messages carry names, codes and settings, never a key, an entry or a password.
"""

import re

import redis.exceptions

from tsync_stream.core.causes import AUTHORITY_CAUSES, CLIENT_CERTIFICATE_CAUSES, TLS_CAUSES, UNKNOWN, cause_of
from tsync_stream.core.errors import TierLost, TierRefused, TierUnavailable, TsyncError

REDIS_CONFIGURATION_CODES = frozenset({"NOAUTH", "WRONGPASS", "NOPERM"})
# "ERR DB index is out of range", "ERR invalid DB index": the answers to SELECT.
REDIS_DATABASE_WORDS = "DB index"
# From a script whose user lacks a permission: Redis 6.2; Redis 7, Valkey.
REDIS_SCRIPT_REFUSALS = ("The user executing the script can't", "ACL failure in script")
# For a command that was renamed, or that the server is too old for: from us, from a script (6.2; 7, Valkey).
REDIS_UNKNOWN_COMMANDS = ("unknown command", "Unknown Redis command", "Unknown command called")
REDIS_TOO_MANY_CLIENTS = "max number of clients"
_REDIS_COMMAND = re.compile(r"'([a-z]{2,20})(?:\|[a-z]{2,20})?' command")
REDIS_BUSY_CODES = frozenset({"LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN"})
REDIS_CLUSTER_WORDS = "not allowed in cluster mode"
_CLUSTER_ERRORS = (
    redis.exceptions.ClusterCrossSlotError,
    redis.exceptions.AskError,  # a MovedError is one, too
)
# Any other error means that the server cannot be our queue now:
# OOM, READONLY, MISCONF, NOREPLICAS, NOGROUP, WRONGTYPE.


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
        return TierUnavailable(f"{tier} Redis: it has reached its limit of clients (`maxclients`)")
    unreachable = isinstance(error, redis.exceptions.ConnectionError | redis.exceptions.TimeoutError | OSError)
    if code in REDIS_BUSY_CODES:
        return TierUnavailable(f"{tier} Redis: {code}")
    if unreachable:
        cause, prefix = cause_of(error), f"{tier.upper()}_REDIS_"
        words = name if cause == UNKNOWN else f"{cause} ({_settings_of(cause, prefix)})"
        return TierUnavailable(f"{tier} Redis: {words}")
    return TierLost(f"{tier} Redis answers {code or name}")


def _settings_of(cause: str, prefix: str) -> str:
    """The settings that a failed connection is about."""
    if cause in AUTHORITY_CAUSES:
        return f"{prefix}TLS_CA_FILE"
    if cause in CLIENT_CERTIFICATE_CAUSES:
        return f"{prefix}TLS_CERT_FILE"
    if cause in TLS_CAUSES:
        return f"{prefix}HOST, {prefix}TLS"
    return f"{prefix}HOST, {prefix}PORT"


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
        return f"DB: the {tier} Redis has no database with this number"
    if any(words in text for words in REDIS_UNKNOWN_COMMANDS):
        return f"HOST: the {tier} Redis lacks a command that the queue needs (it is renamed, or older than Redis 6.2)"
    return ""


def redis_cluster(tier: str) -> str:
    """Why a Redis Cluster is refused."""
    return f"the {tier} Redis is a Redis Cluster, which cannot be the queue; name a server that is not part of one"


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
