"""Reads every setting of `table`, checks them together, and returns them as frozen dataclasses.

Invariants: either all settings are valid, or every problem is reported in one ConfigurationError. Secrets (the API key,
passwords, the MongoDB URI) appear in no message, no `repr` and no `describe()`. What the routes file holds is checked
by `routes/`, which knows routes; here it is only read.
"""

import operator
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.settings.routes_file import REPLACED, RoutesFile, present_file, read_routes_file
from tsync_stream.settings.rules import broken_rules
from tsync_stream.settings.secrets import SECRETS, SUFFIX, given_twice, read_secret, without_empty, without_files
from tsync_stream.settings.setting import Setting
from tsync_stream.settings.table import SETTINGS, settings_table
from tsync_stream.settings.texts import read_texts
from tsync_stream.settings.tls import VERIFIED, TlsSettings, tls_problems

# ---- what the rest of the program sees; fields that end in _s are in seconds ----


@dataclass(frozen=True, slots=True)
class MongoSettings:
    """The source: one collection of one database."""

    uri: str = field(repr=False)
    database: str
    collection: str
    uri_file: Path | None = None


@dataclass(frozen=True, slots=True)
class TypesenseSettings:
    """The sink: one collection of one server or cluster."""

    api_key: str = field(repr=False)
    hosts: tuple[str, ...]
    port: int
    protocol: str
    collection_name: str
    connection_timeout_s: float
    keepalive_timeout_s: float
    max_retries: int
    retry_backoff_s: float
    schema_file: Path | None
    max_rate: int = 0
    trust_proxy_env: bool = False
    api_key_file: Path | None = None
    tls: TlsSettings = VERIFIED

    @property
    def node_urls(self) -> tuple[str, ...]:
        """The base URL of every node, without a trailing slash; IPv6 addresses are in brackets."""
        names = (f"[{host}]" if ":" in host else host for host in self.hosts)
        return tuple(f"{self.protocol}://{name}:{self.port}" for name in names)


# Capture, before it reads the change stream again, and a lane, before it reads the queue again.
STAGES_THAT_LINGER = 2


@dataclass(frozen=True, slots=True)
class BufferSettings:
    """How changes are batched between two stages: counts of changes, and seconds."""

    max_buffer_size: int
    batch_size: int
    flush_interval_s: float

    @property
    def longest_linger_s(self) -> float:
        """How long each of the two stages that linger may do so: together they stay within FLUSH_INTERVAL."""
        return self.flush_interval_s / STAGES_THAT_LINGER


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """One of the two Redis tiers of the queue. `host` is empty if it is left out."""

    name: Literal["primary", "backup"]
    host: str
    port: int
    password: str = field(repr=False)
    db: int
    queue_key: str
    pool_size: int
    min_idle_conns: int
    max_retries: int
    retry_backoff_s: float
    conn_max_lifetime_s: float
    save_interval_s: float
    append_only: bool
    append_filename: str
    rdb_filename: str
    username: str = ""
    password_file: Path | None = None
    use_tls: bool = False
    tls: TlsSettings = VERIFIED


@dataclass(frozen=True, slots=True)
class BackupSettings:
    """Where backups go, and which are kept. `typesense_path` is a folder on the Typesense server.

    `schedule` is a cron expression in UTC, or "".
    """

    directory: Path | None
    typesense_path: str
    schedule: str
    keep: int
    keep_for_s: float | None


_BY_NAME = {setting.name: setting for setting in SETTINGS}

# A slow document gets at most so many times the usual deadline, because its lane waits for it.
MAX_DEADLINES_FOR_ONE = 4


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, read and checked. Paths are absolute; sizes are in bytes."""

    mongo: MongoSettings
    typesense: TypesenseSettings
    buffer: BufferSettings
    primary_redis: RedisSettings
    backup_redis: RedisSettings
    backup: BackupSettings
    redis_manage_persistence: bool
    route_name: str
    state_database: str
    partitions: int
    lease_ttl_s: float
    max_backlog: int
    import_max_bytes: int
    sync_lanes: int
    date_unit: Literal["s", "ms"]
    max_fields: int
    mass_delete_share: float
    on_reject: Literal["keep", "delete"]
    dead_letter_alert_share: float
    verify_rate: int
    jobs_yield_to_searches: bool
    fail_back_after_s: float
    routes_file: RoutesFile | None
    transform_timeout_s: float
    fan_out_inline: int
    embedded: bool
    embedded_dir: Path
    mongod_executable: Path | None
    redis_server_executable: Path | None
    typesense_server_executable: Path | None
    web_bind: str
    web_port: int
    api_token: str = field(repr=False)
    api_token_file: Path | None
    dashboard_show_values: bool
    otlp_endpoint: str
    log_level: str
    log_format: str

    @property
    def longest_request_s(self) -> float:
        """The deadline of a request to Typesense with a single slow document.

        A renewed lease is trusted for 0.9 LEASE_TTL and renewed at least every third of it, so half of it always
        remains.
        """
        usual_s = self.typesense.connection_timeout_s
        return max(usual_s, min(self.lease_ttl_s / 2, MAX_DEADLINES_FOR_ONE * usual_s))

    @property
    def redis_tiers(self) -> tuple[RedisSettings, ...]:
        """The Redis tiers of the queue, the best first. One without a host is left out."""
        return tuple(redis for redis in (self.primary_redis, self.backup_redis) if redis.host)

    def describe(self) -> dict[str, str]:
        """Every setting's name and its value as text, without secrets: fit for a log."""
        values = ((setting, operator.attrgetter(setting.field)(self)) for setting in SETTINGS)
        return {setting.name: setting.form.show(value) for setting, value in values}


# ---- reading ----


class WrongSettings(ConfigurationError):
    """Settings that cannot be used. `routes_file` is the file that was found all the same: it may have problems too."""

    def __init__(self, problems: list[str], routes_file: RoutesFile | None) -> None:
        super().__init__(problems)
        self.routes_file = routes_file


class WrongRoutes(ConfigurationError):
    """A routes file that cannot be used, and whatever else is wrong with the settings."""


def load_settings(directory: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read all settings from `environ` (os.environ), then from `.env` in `directory` (the working directory).

    Raises WrongSettings with every problem: no setting is used unless all are valid.
    """
    directory = (directory or Path.cwd()).absolute()
    texts = read_texts(directory, environ)
    if not texts.get("ROUTES_FILE", "").strip() and (present := present_file(directory)):
        texts["ROUTES_FILE"] = str(present)
    return _settings(texts, directory)


_SERVERS = ("PRIMARY_REDIS_", "BACKUP_REDIS_", "TYPESENSE_")


def with_servers(settings: Settings, environment: Mapping[str, str]) -> Settings:
    """The settings of the process again, with the servers that `environment` names, and with the routes as they are.

    These servers speak no TLS, and their users are the default ones.
    """
    plain = {
        setting.name: setting.default
        for setting in SETTINGS
        if setting.name.startswith(_SERVERS) and ("_TLS" in setting.name or setting.name.endswith("_USERNAME"))
    }
    environ = {**os.environ, **plain, **without_files(environment)}
    return replace(load_settings(environ=environ), routes_file=settings.routes_file)


def default_settings() -> Settings:
    """Every setting at its default, whatever the environment says."""
    return _settings({}, Path.cwd().absolute())


def _settings(texts: Mapping[str, str], directory: Path) -> Settings:
    values: dict[str, Any] = {}
    problems: list[str] = []
    texts = without_empty(texts)
    for setting in SETTINGS:
        text = texts.get(setting.name, setting.default)
        try:
            values[setting.name] = _read(setting, text, directory)
        except ValueError as error:
            problems.append(setting.problem(text, str(error)))
    if path := values.get("ROUTES_FILE"):
        try:
            values["ROUTES_FILE"] = read_routes_file(path, texts)
        except ValueError as error:
            problems.append(_BY_NAME["ROUTES_FILE"].problem(str(path), str(error)))
    problems += given_twice(texts)
    for setting in SECRETS:
        if path := values.get(f"{setting.name}{SUFFIX}"):
            try:
                values[setting.name] = read_secret(path, setting)
            except ValueError as error:
                problems.append(f"{setting.name}{SUFFIX}={str(path)!r} cannot be used: {error}")
    problems += tls_problems(values)
    problems += broken_rules(_in_effect(values), {name: setting.form for name, setting in _BY_NAME.items()})
    if problems:
        file = values.get("ROUTES_FILE")
        raise WrongSettings(problems, file if isinstance(file, RoutesFile) else None)
    if values["ROUTES_FILE"]:
        values["TYPESENSE_SCHEMA_FILE"] = None  # the file says this of every route
    # Resolved here, so that replicas compare the name itself, however it was given.
    values["ROUTE_NAME"] = values["ROUTE_NAME"] or values["MONGODB_COLLECTION"]
    return build(values)


def _in_effect(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are used: a routes file replaces some."""
    return {name: value for name, value in values.items() if not (values.get("ROUTES_FILE") and name in REPLACED)}


def _read(setting: Setting, text: str, directory: Path) -> Any:
    value = setting.form.parse(text)
    if isinstance(value, Path):
        value = directory / value
    setting.form.inspect(value)
    return value


def build(values: Mapping[str, Any]) -> Settings:
    """The settings with these values, by name; all are given (pure)."""

    def part(name: str) -> dict[str, Any]:
        places = ((setting.field.rpartition("."), values[setting.name]) for setting in SETTINGS)
        return {field: value for (place, _, field), value in places if place == name}

    def redis(name: Literal["primary", "backup"]) -> RedisSettings:
        return RedisSettings(name, **part(f"{name}_redis"), tls=TlsSettings(**part(f"{name}_redis.tls")))

    return Settings(
        mongo=MongoSettings(**part("mongo")),
        typesense=TypesenseSettings(**part("typesense"), tls=TlsSettings(**part("typesense.tls"))),
        buffer=BufferSettings(**part("buffer")),
        primary_redis=redis("primary"),
        backup_redis=redis("backup"),
        backup=BackupSettings(**part("backup")),
        **part(""),
    )


# ---- for people ----


def lines_for_exit(error: ConfigurationError) -> str:
    """What a person reads before the program exits with 2: a heading, each problem, and what to do."""
    count = len(error.problems)
    lines = [f"tsync-stream cannot start: {count} {'problem' if count == 1 else 'problems'}"]
    lines += [f"  - {problem}" for problem in error.problems]
    if isinstance(error, WrongRoutes):
        lines.append("docs/routes.md describes the routes file, and docs/settings.md the settings.")
    else:
        lines.append("Set these in the environment or in .env; docs/settings.md describes every setting.")
    return "\n".join(lines)


TABLE_BEGINS = "<!-- settings: begin (written by `python -m tsync_stream.settings.load docs/settings.md`) -->"
TABLE_ENDS = "<!-- settings: end -->"


def with_table(page: str) -> str:
    """The page with the current tables between its two markers. Raises ValueError if a marker is missing."""
    before, after = page[: page.index(TABLE_BEGINS)], page[page.index(TABLE_ENDS) :]
    return f"{before}{TABLE_BEGINS}\n\n{settings_table()}\n{after}"


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(with_table(document.read_text(encoding="utf-8")), encoding="utf-8")
