"""Every fault that a server can answer with, and what it means: wait, ask a person, reconcile, or the next epoch."""

import ssl
from typing import Any

import aiohttp
import httpx
import pymongo.errors
import pytest
import redis.exceptions
import typesense.exceptions
from aiohttp.client_reqrep import ConnectionKey
from redis._parsers.base import BaseParser
from typesense.request_handler import RequestHandler

from tsync_stream.core import errors
from tsync_stream.core.errors import (
    ConfigurationError,
    DependencyUnavailable,
    DocumentRejected,
    Fenced,
    MongoRefused,
    PositionLost,
    RouteUnusable,
    TierLost,
    TierRefused,
    TierUnavailable,
    TsyncError,
)
from tsync_stream.queue.redis_errors import from_redis
from tsync_stream.sink.errors import CollectionMissing, RequestRefused, check_status, from_typesense
from tsync_stream.sink.http import ConnectionBroken
from tsync_stream.source.errors import from_mongo

# What servers say may hold anything: it must not come out again.
SECRET = "mongodb://ada:hunter2@db and a document's text"


def mongo(code: int) -> pymongo.errors.OperationFailure:
    return pymongo.errors.OperationFailure(SECRET, code, {"errmsg": SECRET, "code": code})


def labelled(code: int) -> pymongo.errors.OperationFailure:
    """As MongoDB marks what ends a change stream for good, whatever its code."""
    labels = ["NonResumableChangeStreamError"]
    return pymongo.errors.OperationFailure(SECRET, code, {"errmsg": SECRET, "code": code, "errorLabels": labels})


def redis_says(line: str) -> Exception:
    """What redis-py makes of an error line of the server."""
    error: Exception = BaseParser.parse_error(line)  # type: ignore[no-untyped-call]
    return error


def typesense_answers(status: int) -> Exception:
    """What Typesense's client makes of an HTTP status."""
    error: Exception = RequestHandler._get_exception(status)(status, SECRET)
    return error


# MongoDB

MONGO: list[tuple[str, Exception, type[TsyncError]]] = [
    ("ChangeStreamHistoryLost: the oplog rolled over", mongo(286), PositionLost),
    ("ChangeStreamFatalError: an unknown token", mongo(280), PositionLost),
    ("InvalidResumeToken: after an invalidate", mongo(260), PositionLost),
    ("CappedPositionLost", mongo(136), PositionLost),
    ("whatever MongoDB says cannot be resumed", labelled(31_337), PositionLost),
    ("Unauthorized", mongo(13), MongoRefused),
    ("AuthenticationFailed", mongo(18), MongoRefused),
    ("what Atlas refuses", mongo(8000), MongoRefused),
    *(
        (f"a product that is not MongoDB, {code}", mongo(code), ConfigurationError)
        for code in (59, 115, 238, 303, 40324)
    ),
    ("a server without a replica set", mongo(40573), ConfigurationError),
    ("settings that contradict each other", pymongo.errors.ConfigurationError(SECRET), ConfigurationError),
    ("a URI that cannot be read", pymongo.errors.InvalidURI(SECRET), ConfigurationError),
    ("connection refused", pymongo.errors.ConnectionFailure(SECRET), DependencyUnavailable),
    ("connection reset", pymongo.errors.AutoReconnect(SECRET), DependencyUnavailable),
    ("time-out on the network", pymongo.errors.NetworkTimeout(SECRET), DependencyUnavailable),
    ("no server to select", pymongo.errors.ServerSelectionTimeoutError(SECRET), DependencyUnavailable),
    ("no connection in the pool", pymongo.errors.WaitQueueTimeoutError(SECRET), DependencyUnavailable),
    ("stepped down", pymongo.errors.NotPrimaryError(SECRET, {"code": 10107}), DependencyUnavailable),
    ("NotWritablePrimary", mongo(10107), DependencyUnavailable),
    ("PrimarySteppedDown", mongo(189), DependencyUnavailable),
    ("InterruptedDueToReplStateChange", mongo(11602), DependencyUnavailable),
    ("HostUnreachable", mongo(6), DependencyUnavailable),
    ("CursorNotFound", pymongo.errors.CursorNotFound(SECRET, 43), DependencyUnavailable),
    ("MaxTimeMSExpired", pymongo.errors.ExecutionTimeout(SECRET, 50), DependencyUnavailable),
    ("the majority takes too long", pymongo.errors.WTimeoutError(SECRET, 64), DependencyUnavailable),
    ("a write concern's error", pymongo.errors.WriteConcernError(SECRET, 64), DependencyUnavailable),
    ("errors in a bulk", pymongo.errors.BulkWriteError({"writeErrors": [], "text": SECRET}), DependencyUnavailable),
    ("OutOfDiskSpace", mongo(14031), DependencyUnavailable),
    ("a code that nobody has seen", mongo(31_337_000), DependencyUnavailable),
    ("no code at all", pymongo.errors.PyMongoError(SECRET), DependencyUnavailable),
]


@pytest.mark.parametrize(("error", "kind"), [row[1:] for row in MONGO], ids=[row[0] for row in MONGO])
def test_what_mongodb_means(error: Exception, kind: type[TsyncError]) -> None:
    translated = from_mongo(error)
    assert type(translated) is kind
    assert_silent(translated, error)
    if isinstance(translated, DependencyUnavailable):
        assert not translated.in_doubt, "nothing that is written to MongoDB lands in Typesense later"
    if isinstance(translated, ConfigurationError):
        assert str(translated).startswith("MONGODB_URI: ")


# Redis

REDIS: list[tuple[str, Exception, type[TsyncError]]] = [
    ("NOAUTH", redis_says("NOAUTH Authentication required."), TierRefused),
    ("WRONGPASS", redis_says(f"WRONGPASS invalid username-password pair {SECRET}"), TierRefused),
    ("a wrong password for Redis 5", redis_says("ERR invalid password"), TierRefused),
    ("a password where none is set", redis_says("ERR Client sent AUTH, but no password is set"), TierRefused),
    ("NOPERM", redis_says(f"NOPERM this user has no permissions {SECRET}"), TierRefused),
    ("NOPERM in a script, 7", redis_says(f"ERR ACL failure in script: User {SECRET} has no permissions"), TierRefused),
    (
        "NOPERM in a script, 6.2",
        redis_says(
            "ERR Error running script (call to f_1): @user_script:17: @user_script: 17: "
            "The user executing the script can't run this command or subcommand"
        ),
        TierRefused,
    ),
    ("an unknown command", redis_says(f"ERR unknown command 'XAUTOCLAIM' {SECRET}"), TierRefused),
    (
        "one unknown in a script, 6.2",
        redis_says(
            "ERR Error running script (call to f_1): @user_script:1: "
            "@user_script: 1: Unknown Redis command called from Lua script"
        ),
        TierRefused,
    ),
    (
        "one unknown in a script, 7",
        redis_says("ERR Unknown command called from script script: on @user_script:1."),
        TierRefused,
    ),
    ("CROSSSLOT", redis_says("CROSSSLOT Keys in request don't hash to the same slot"), TierRefused),
    ("MOVED", redis_says("MOVED 3999 127.0.0.1:6381"), TierRefused),
    ("ASK", redis_says("ASK 3999 127.0.0.1:6381"), TierRefused),
    ("a database number for a cluster", redis_says("ERR SELECT is not allowed in cluster mode"), TierRefused),
    ("a database that is not there", redis_says("ERR DB index is out of range"), TierRefused),
    ("a database that no server has", redis_says("ERR invalid DB index"), TierRefused),
    ("LOADING", redis_says("LOADING Redis is loading the dataset in memory"), TierUnavailable),
    ("BUSY", redis_says("BUSY Redis is busy running a script."), TierUnavailable),
    ("CLUSTERDOWN", redis_says("CLUSTERDOWN The cluster is down"), TierUnavailable),
    ("TRYAGAIN", redis_says("TRYAGAIN Multiple keys request during rehashing of slot"), TierUnavailable),
    ("MASTERDOWN", redis_says("MASTERDOWN Link with MASTER is down"), TierUnavailable),
    ("too many clients", redis_says("ERR max number of clients reached"), TierUnavailable),
    ("connection refused", redis.exceptions.ConnectionError(SECRET), TierUnavailable),
    ("no connection in the pool", redis.exceptions.MaxConnectionsError(SECRET), TierUnavailable),
    ("time-out", redis.exceptions.TimeoutError(SECRET), TierUnavailable),
    ("connection reset", ConnectionResetError(104, SECRET), TierUnavailable),
    ("no route", OSError(113, SECRET), TierUnavailable),
    ("OOM", redis_says(f"OOM command not allowed when used memory > 'maxmemory'. {SECRET}"), TierLost),
    ("OOM inside a script on Redis 6.2", redis_says(f"ERR Error running script: -OOM {SECRET}"), TierLost),
    ("READONLY", redis_says("READONLY You can't write against a read only replica."), TierLost),
    ("MISCONF", redis_says(f"MISCONF Redis is configured to save RDB snapshots {SECRET}"), TierLost),
    ("NOREPLICAS", redis_says("NOREPLICAS Not enough good replicas to write."), TierLost),
    ("NOGROUP", redis_says(f"NOGROUP No such key '{SECRET}' or consumer group"), TierLost),
    ("WRONGTYPE", redis_says("WRONGTYPE Operation against a key holding the wrong kind of value"), TierLost),
    ("BUSYGROUP", redis_says("BUSYGROUP Consumer Group name already exists"), TierLost),
    ("a deleted stream wakes a reader", redis_says("UNBLOCKED the stream key no longer exists"), TierLost),
    ("no such key", redis_says("ERR no such key"), TierLost),
    ("EXECABORT", redis_says("EXECABORT Transaction discarded because of previous errors."), TierLost),
    (
        "no memory in a script on Redis 7",
        redis_says(f"OOM command not allowed {SECRET} script: on @user_script:1."),
        TierLost,
    ),
    ("words that nobody has seen", redis_says(f"ERR {SECRET}"), TierLost),
]


@pytest.mark.parametrize(("error", "kind"), [row[1:] for row in REDIS], ids=[row[0] for row in REDIS])
@pytest.mark.parametrize("tier", ["primary", "backup"])
def test_what_redis_means(error: Exception, kind: type[TsyncError], tier: str) -> None:
    translated = from_redis(error, tier)
    assert type(translated) is kind
    assert tier in str(translated)
    assert_silent(translated, error)
    if isinstance(translated, DependencyUnavailable):
        assert translated.in_doubt, "an append may have been done though its answer is an error"
    if isinstance(translated, ConfigurationError):
        text = str(translated)
        setting = "DB" if "database" in text else "HOST" if "Cluster" in text or "command" in text else "PASSWORD"
        assert text.startswith(f"{tier.upper()}_REDIS_{setting}: ")


def test_the_command_that_a_user_may_not_run_is_named_and_nothing_else() -> None:
    for text in (
        "NOPERM User default has no permissions to run the 'script|load' command",
        "NOPERM this user has no permissions to run the 'script' command or its subcommand",
    ):
        assert "does not let its user run `script` (NOPERM)" in str(from_redis(redis_says(text), "backup"))
    text = "NOPERM User 'hunter2' has no permissions to run the 'hunter2;' command"
    assert "hunter2" not in str(from_redis(redis_says(text), "backup"))


@pytest.mark.parametrize("code", ["OOM", "READONLY", "MISCONF", "NOREPLICAS", "NOGROUP", "LOADING", "BUSY"])
def test_health_names_the_code_that_redis_answers_with(code: str) -> None:
    assert code in str(from_redis(redis_says(f"{code} some more words"), "primary"))


# Typesense

DOUBTFUL, CERTAIN = True, False

TYPESENSE_STATUS: dict[int, type[TsyncError]] = {
    400: RequestRefused,
    401: ConfigurationError,
    403: RequestRefused,
    404: CollectionMissing,
    408: DependencyUnavailable,
    409: DependencyUnavailable,
    422: DependencyUnavailable,
    429: DependencyUnavailable,
    500: DependencyUnavailable,
    502: DependencyUnavailable,
    503: DependencyUnavailable,
    504: DependencyUnavailable,
    418: RequestRefused,
    599: DependencyUnavailable,
}
CONNECTION_KEY = ConnectionKey("127.0.0.1", 8108, False, True, None, None, None)
TYPESENSE_TRANSPORT: list[tuple[Exception, bool]] = [
    (httpx.ConnectError(SECRET), CERTAIN),
    (httpx.ConnectTimeout(SECRET), CERTAIN),
    (httpx.PoolTimeout(SECRET), CERTAIN),
    (httpx.ReadTimeout(SECRET), DOUBTFUL),
    (httpx.WriteTimeout(SECRET), DOUBTFUL),
    (httpx.ReadError(SECRET), DOUBTFUL),
    (httpx.WriteError(SECRET), DOUBTFUL),
    (httpx.CloseError(SECRET), DOUBTFUL),
    (httpx.RemoteProtocolError(SECRET), DOUBTFUL),
    (httpx.ProxyError(SECRET), DOUBTFUL),
    (httpx.DecodingError(SECRET), DOUBTFUL),
    (httpx.TooManyRedirects(SECRET), DOUBTFUL),
    (TimeoutError(SECRET), DOUBTFUL),
    (aiohttp.ClientConnectorError(CONNECTION_KEY, OSError(SECRET)), CERTAIN),
    (aiohttp.ClientConnectorDNSError(CONNECTION_KEY, OSError(SECRET)), CERTAIN),
    (aiohttp.ClientConnectorCertificateError(CONNECTION_KEY, ssl.CertificateError(SECRET)), CERTAIN),
    (aiohttp.ConnectionTimeoutError(SECRET), CERTAIN),
    (aiohttp.SocketTimeoutError(SECRET), DOUBTFUL),
    (aiohttp.ServerDisconnectedError(SECRET), DOUBTFUL),
    (aiohttp.ClientOSError(SECRET), DOUBTFUL),
    (aiohttp.ClientPayloadError(SECRET), DOUBTFUL),
    (ConnectionBroken(SECRET), DOUBTFUL),
    (typesense.exceptions.HTTPStatus0Error(SECRET), DOUBTFUL),
    (typesense.exceptions.Timeout(SECRET), DOUBTFUL),
    (typesense.exceptions.TypesenseClientError(SECRET), DOUBTFUL),
]


@pytest.mark.parametrize(("status", "kind"), TYPESENSE_STATUS.items())
def test_what_a_status_of_typesense_means(status: int, kind: type[TsyncError]) -> None:
    error = typesense_answers(status)
    translated = from_typesense(error)
    assert type(translated) is kind
    assert_silent(translated, error)
    if isinstance(translated, DependencyUnavailable):
        assert translated.in_doubt


@pytest.mark.parametrize("status", TYPESENSE_STATUS)
def test_a_status_means_the_same_whoever_sent_the_request(status: int) -> None:
    by_package = from_typesense(typesense_answers(status), "an import")
    with pytest.raises(TsyncError) as caught:
        check_status(status, "an import", in_doubt=True, body=b'{"message": "its own words"}')
    assert type(caught.value) is type(by_package)
    assert getattr(caught.value, "in_doubt", None) == getattr(by_package, "in_doubt", None)
    assert str(caught.value) == str(by_package)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"null", b'{"message": 7}', b'{"error": "x"}'])
@pytest.mark.parametrize("status", [400, 403, 405, 406, 413, 414, 415, 431, 451])
def test_a_refusal_that_is_not_typesenses_own_names_what_stands_before_it(status: int, body: bytes) -> None:
    with pytest.raises(RequestRefused, match="proxy") as caught:
        check_status(status, "an import", body=body)
    assert caught.value.words == ""
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("status", "body", "in_doubt"),
    [
        (503, b'{"message": "Not Ready or Lagging"}', False),
        (503, b'{"message": "something else"}', True),
        (503, b"<html>Service Unavailable</html>", True),
        (500, b'{"message": "Not Ready or Lagging"}', True),
    ],
    ids=["Typesense starts", "other words", "a proxy", "another status"],
)
def test_a_write_that_typesense_says_it_has_not_looked_at_is_not_in_doubt(
    status: int, body: bytes, *, in_doubt: bool
) -> None:
    with pytest.raises(DependencyUnavailable) as caught:
        check_status(status, "an import", in_doubt=True, body=body)
    assert caught.value.in_doubt == in_doubt


@pytest.mark.parametrize("status", [408, 409, 422, 423, 425, 429])
def test_a_refusal_that_passes_by_itself_is_waited_for(status: int) -> None:
    with pytest.raises(DependencyUnavailable):
        check_status(status, "an import")


@pytest.mark.parametrize(
    ("status", "setting"),
    [
        (401, "TYPESENSE_API_KEY"),
        (403, "TYPESENSE_API_KEY"),
        (404, "TYPESENSE_COLLECTION_NAME"),
        (400, "TYPESENSE_SCHEMA_FILE"),
    ],
)
def test_the_setting_to_fix_for_typesense_is_named(status: int, setting: str) -> None:
    assert str(from_typesense(typesense_answers(status))).startswith(f"{setting}: ")


@pytest.mark.parametrize(
    ("error", "in_doubt"), TYPESENSE_TRANSPORT, ids=[type(error).__name__ for error, _ in TYPESENSE_TRANSPORT]
)
def test_a_request_to_typesense_is_in_doubt_unless_it_was_surely_never_sent(error: Exception, in_doubt: bool) -> None:
    translated = from_typesense(error)
    assert isinstance(translated, DependencyUnavailable)
    assert translated.in_doubt is in_doubt
    assert_silent(translated, error)


# All of them

OURS: list[TsyncError] = [
    ConfigurationError("WEB_PORT: taken"),
    MongoRefused("MONGODB_URI: refused"),
    RouteUnusable("route listings: refused"),
    TierRefused("PRIMARY_REDIS_PASSWORD: refused"),
    DependencyUnavailable("away"),
    TierUnavailable("primary Redis: away"),
    DocumentRejected("unusable id", "it is an empty text"),
    PositionLost("gone"),
    TierLost("wiped"),
    Fenced("newer"),
]


@pytest.mark.parametrize("error", OURS, ids=lambda error: type(error).__name__)
def test_an_error_of_ours_stays_what_it_is(error: TsyncError) -> None:
    assert from_mongo(error) is error
    assert from_redis(error, "primary") is error
    assert from_typesense(error) is error


def test_only_these_kinds_and_their_base_exist() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TsyncError)}
    assert kinds == {TsyncError, *(type(error) for error in OURS)}, "a new kind belongs into these tables too"


def test_a_configuration_error_shows_every_problem() -> None:
    assert str(ConfigurationError(["A: wrong", "B: wrong"])) == "A: wrong\nB: wrong"
    assert ConfigurationError("A: wrong").problems == ["A: wrong"]


def test_a_refused_document_has_a_class_of_reasons_and_details() -> None:
    rejected = DocumentRejected("unusable id", "it is an empty text")
    assert (rejected.reason, rejected.detail) == ("unusable id", "it is an empty text")
    assert str(rejected) == "unusable id: it is an empty text"


def test_an_unforeseen_error_tells_where_it_came_from_and_nothing_of_what_it_held() -> None:
    def inner(document: str) -> None:
        raise KeyError(document)

    def outer() -> None:
        try:
            inner(SECRET)
        except KeyError as error:
            raise ValueError(SECRET) from error

    with pytest.raises(ValueError, match="hunter2") as caught:
        outer()
    told = errors.unforeseen(caught.value)
    assert told.startswith("ValueError, caused by KeyError in outer (test_errors.py:")
    assert "test_an_unforeseen_error" in told
    assert "hunter2" not in told
    assert "SECRET" not in told


def assert_silent(translated: TsyncError, original: Exception) -> None:
    shown: list[Any] = [str(translated), repr(translated)]
    for secret in ("hunter2", "ada", "document's"):
        assert not any(secret in text for text in shown), f"{type(original).__name__} tells its secrets"
