"""Can one Redis server hold the queue? Changes nothing: the probe removes its own keys at once."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import redis.exceptions

from tsync_stream.check.findings import DEADLINE_S, Finding, Row, note, version_numbers, wrong
from tsync_stream.check.tls import of_redis, tls_fix
from tsync_stream.core.causes import CLOSED, cause_of
from tsync_stream.core.errors import TierRefused, TsyncError
from tsync_stream.queue.redis_client import ask_each, connect
from tsync_stream.queue.redis_config import APPEND_ONLY, POLICY, differences, directives, read_directives
from tsync_stream.queue.redis_errors import from_redis, redis_code
from tsync_stream.queue.redis_probe import probe
from tsync_stream.queue.redis_replies import is_cluster, read_info
from tsync_stream.settings.load import RedisSettings

OLDEST_VERSION = (6, 2)


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """What one look saw. `error` is set if the server could not be asked, `refusal` if it refuses the queue's work.

    `info` is empty where INFO is closed to us, `configuration` where CONFIG is.
    """

    error: Exception | None = None
    info: Mapping[str, str] = field(default_factory=dict)
    configuration: Mapping[str, str] = field(default_factory=dict)
    refusal: TsyncError | None = None


async def gather_redis(settings: RedisSettings) -> RedisFacts:
    """Examine the server; never raises for what it does or does not answer."""
    # No retries: a person is waiting, and can repeat the command.
    client: Any = connect(replace(settings, max_retries=0))
    try:
        async with asyncio.timeout(DEADLINE_S):
            info = read_info((await ask_each(client, ("INFO",)))[0])
            if _is_set(info, "loading"):  # it answers only INFO
                return RedisFacts(None, info)
            configuration = await read_directives(partial(ask_each, client), settings)
            return RedisFacts(None, info, configuration, await _refusal(client, settings))
    except (redis.exceptions.RedisError, OSError, TimeoutError) as error:
        return RedisFacts(error)
    finally:
        await client.connection_pool.disconnect()


async def _refusal(client: Any, settings: RedisSettings) -> TsyncError | None:
    try:
        await probe(client, settings)
    except (redis.exceptions.ResponseError, TsyncError) as error:
        return from_redis(error, settings.name)
    return None


def judge_redis(settings: RedisSettings, facts: RedisFacts, other: RedisFacts | None = None) -> Row:
    """The row of this server (pure). `other` has the facts of the other tier's server."""
    findings: list[Finding] = []
    if facts.error is not None:
        findings.append(_unusable(settings, facts.error))
    else:
        if is_cluster(facts.info):
            findings.append(wrong("it is a Redis Cluster, which cannot hold the queue", _name_another(settings)))
        findings += _version(facts.info)
        findings += _state(facts.info)
        findings += _persistence(settings, facts)
        if not findings or all(finding.level == "note" for finding in findings):  # else the reason is known
            findings += _work(settings, facts.refusal)
        if other is not None and facts.info.get("run_id") and facts.info["run_id"] == other.info.get("run_id"):
            text = "both tiers are on this server: if it fails, both are lost"
            findings.append(note(text, f"set {_prefix(settings)}HOST and {_prefix(settings)}PORT to another server"))
    return Row(
        dependency=f"Redis ({settings.name})",
        address=f"{settings.host}:{settings.port}",
        # A server that refuses the password or the database is reachable.
        reachable=facts.error is None or not _silent(facts.error),
        version=_version_text(facts.info),
        findings=findings,
    )


def _unusable(settings: RedisSettings, error: Exception) -> Finding:
    prefix = _prefix(settings)
    code = redis_code(error)
    if code in {"NOAUTH", "WRONGPASS"} or isinstance(error, redis.exceptions.AuthenticationError):
        if settings.password:
            return wrong("the password is refused", f"set {prefix}PASSWORD to the server's password, or leave it empty")
        return wrong("it requires a password", f"set {prefix}PASSWORD")
    if code == "NOPERM":
        return _work_refused(settings, from_redis(error, settings.name))
    if code == "LOADING":
        return wrong("it is loading its files", "wait: large files take minutes")
    if "DB index is out of range" in str(error):
        return wrong(f"it has no database {settings.db}", f"lower {prefix}DB, or raise `databases` in redis.conf")
    if _silent(error):
        cause = cause_of(error)
        fix = tls_fix(cause, of_redis(settings)) or f"start the server, or correct {prefix}HOST and {prefix}PORT"
        if cause == CLOSED and not settings.use_tls:
            fix += f"; if it speaks TLS, set {prefix}TLS=true"
        if cause == CLOSED and settings.use_tls and settings.tls.cert_file is None:
            # Since TLS 1.3 a server refuses after the handshake, and closes before we have read why.
            fix += f"; if it requires a client certificate, set {of_redis(settings).certificate}"
        return wrong(f"no answer at {settings.host}:{settings.port} ({cause})", fix)
    return wrong(
        f"{settings.host}:{settings.port} does not answer like Redis ({code or type(error).__name__})",
        f"set {prefix}HOST and {prefix}PORT to a Redis or Valkey server",
    )


def _work(settings: RedisSettings, refusal: TsyncError | None) -> Iterator[Finding]:
    if refusal is not None:
        yield _work_refused(settings, refusal)


def _work_refused(settings: RedisSettings, refusal: TsyncError) -> Finding:
    if isinstance(refusal, TierRefused):
        return wrong(str(refusal), "give the user the permissions that the queue needs:", acl_line(settings))
    return wrong(
        f"it cannot do the queue's work: {refusal}", "look for the cause in the server's log and configuration"
    )


def acl_line(settings: RedisSettings) -> str:
    """The command that grants the permissions which the queue needs."""
    return f"ACL SETUSER {settings.username or 'default'} ~{settings.queue_key}:* +@all"


def _version(info: Mapping[str, str]) -> Iterator[Finding]:
    version = info.get("redis_version", "")
    if version and version_numbers(version) < OLDEST_VERSION:
        yield wrong(f"version {version} is too old", "install Redis 6.2 or newer, or Valkey")


def _state(info: Mapping[str, str]) -> Iterator[Finding]:
    if _is_set(info, "loading"):
        yield wrong("it is loading its files", "wait: large files take minutes")
    if info.get("role") in {"slave", "replica"}:
        yield wrong(
            "it is a replica and takes no writes", "use the address of its master, or the one that Sentinel manages"
        )
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        text = f"maxmemory-policy is {policy}: a full server would evict parts of the queue"
        yield wrong(
            text, "put this line into redis.conf, and set it at run time with `CONFIG SET`:", f"{POLICY} noeviction"
        )
    for name, what in (
        ("aof_last_write_status", "the last write to its append-only file failed"),
        ("rdb_last_bgsave_status", "its last snapshot failed, so it may refuse writes"),
    ):
        if info.get(name, "ok") != "ok":
            yield wrong(
                what,
                "look for the cause in the server's log: most often the disk is full, or the server may "
                "not write to its folder",
            )


def _name_another(settings: RedisSettings) -> str:
    return (
        f"set {_prefix(settings)}HOST to a server that is not part of a cluster: the queue reads several keys at once, "
        "which a cluster keeps in different slots"
    )


def _persistence(settings: RedisSettings, facts: RedisFacts) -> Iterator[Finding]:
    """INFO says whether there is an append-only file even where CONFIG is closed."""
    aof_off = settings.append_only and facts.info.get("aof_enabled") == "0"
    if aof_off:
        text = f"its append-only file (AOF) is off, but {_prefix(settings)}APPEND_ONLY is true"
        fix = "a worker turns it on if the server permits it; to keep it on, put this line into redis.conf:"
        yield wrong(text, fix, f"{APPEND_ONLY} yes")
    if not facts.configuration and not _is_set(facts.info, "loading"):
        lines = [directive.line for directive in directives(settings)]
        yield note("its configuration cannot be seen (CONFIG is closed)", "check that it matches these lines:", *lines)
    for difference in differences(settings, facts.configuration):
        name = difference.directive.name
        if name != POLICY and not (name == APPEND_ONLY and aof_off):
            yield note(f"{difference}", "put this line into redis.conf:", difference.directive.line)


def _version_text(info: Mapping[str, str]) -> str:
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return info.get("redis_version", "")


def _is_set(info: Mapping[str, str], name: str) -> bool:
    return info.get(name, "0") not in {"", "0"}


def _silent(error: Exception) -> bool:
    """No server answered. redis-py also calls refused passwords and loading servers connection errors."""
    answered = isinstance(
        error,
        redis.exceptions.AuthenticationError | redis.exceptions.BusyLoadingError | redis.exceptions.InvalidResponse,
    )
    return not answered and isinstance(
        error, redis.exceptions.ConnectionError | redis.exceptions.TimeoutError | OSError | TimeoutError
    )


def _prefix(settings: RedisSettings) -> str:
    return f"{settings.name.upper()}_REDIS_"
