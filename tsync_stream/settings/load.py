"""Reads every setting of `table`, checks them together, and returns them as frozen dataclasses.

Invariants: either all settings are valid, or every problem is reported in one ConfigurationError. Secrets (the API key,
passwords, the MongoDB URI) appear in no message, no `repr` and no `describe()`.
"""

import operator
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.settings.setting import Setting
from tsync_stream.settings.table import SETTINGS, settings_table
from tsync_stream.settings.texts import read_texts

TIERS = ("PRIMARY", "BACKUP")

# ---- what the rest of the program sees; fields that end in _s are in seconds ----


@dataclass(frozen=True, slots=True)
class MongoSettings:
    """The source: one collection of one database."""

    uri: str = field(repr=False)
    database: str
    collection: str


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
    trust_proxy_env: bool = False

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
    """One of the two Redis tiers of the queue."""

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
    fail_back_after_s: float
    embedded: bool
    embedded_dir: Path
    mongod_executable: Path | None
    redis_server_executable: Path | None
    typesense_server_executable: Path | None
    web_bind: str
    web_port: int
    log_level: str

    @property
    def longest_request_s(self) -> float:
        """The deadline of a request to Typesense with a single slow document.

        A renewed lease is trusted for 0.9 LEASE_TTL and renewed at least every third of it, so half of it always
        remains.
        """
        usual_s = self.typesense.connection_timeout_s
        return max(usual_s, min(self.lease_ttl_s / 2, MAX_DEADLINES_FOR_ONE * usual_s))

    def describe(self) -> dict[str, str]:
        """Every setting's name and its value as text, without secrets: fit for a log."""
        values = ((setting, operator.attrgetter(setting.field)(self)) for setting in SETTINGS)
        return {setting.name: setting.form.show(value) for setting, value in values}


# ---- reading ----


def load_settings(directory: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read all settings from `environ` (os.environ), then from `.env` in `directory` (the working directory).

    Raises ConfigurationError with every problem: no setting is used unless all are valid.
    """
    directory = (directory or Path.cwd()).absolute()
    return _settings(read_texts(directory, environ), directory)


def default_settings() -> Settings:
    """Every setting at its default, whatever the environment says."""
    return _settings({}, Path.cwd().absolute())


def _settings(texts: Mapping[str, str], directory: Path) -> Settings:
    values: dict[str, Any] = {}
    problems: list[str] = []
    for setting in SETTINGS:
        text = texts.get(setting.name, setting.default)
        try:
            values[setting.name] = _read(setting, text, directory)
        except ValueError as error:
            problems.append(setting.problem(text, str(error)))
    problems += _broken_rules(values)
    if problems:
        raise ConfigurationError(problems)
    # Resolved here, so that replicas compare the name itself, however it was given.
    values["ROUTE_NAME"] = values["ROUTE_NAME"] or values["MONGODB_COLLECTION"]
    return _build(values)


def _read(setting: Setting, text: str, directory: Path) -> Any:
    value = setting.form.parse(text)
    if isinstance(value, Path):
        value = directory / value
    setting.form.inspect(value)
    return value


def _build(values: Mapping[str, Any]) -> Settings:
    def part(name: str) -> dict[str, Any]:
        places = ((setting.field.rpartition("."), values[setting.name]) for setting in SETTINGS)
        return {field: value for (place, _, field), value in places if place == name}

    return Settings(
        mongo=MongoSettings(**part("mongo")),
        typesense=TypesenseSettings(**part("typesense")),
        buffer=BufferSettings(**part("buffer")),
        primary_redis=RedisSettings(name="primary", **part("primary_redis")),
        backup_redis=RedisSettings(name="backup", **part("backup_redis")),
        **part(""),
    )


# ---- rules between settings ----


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on several settings that are valid by themselves; `otherwise` is formatted with their values."""

    names: tuple[str, ...]
    holds: Callable[..., bool]
    otherwise: str


def _outlives_requests(lease_ttl_s: float, timeout_s: float) -> bool:
    # Three times 400ms is slightly more than 1.2s in floats.
    return lease_ttl_s + 1e-9 >= 3 * timeout_s


def _different_queues(*places: object) -> bool:
    def server(host: object) -> object:
        return "localhost" if host in {"localhost", "127.0.0.1", "::1"} else str(host).lower()

    primary, backup = places[:4], places[4:]
    return (server(primary[0]), *primary[1:]) != (server(backup[0]), *backup[1:])


RULES = (
    Rule(
        ("BATCH_SIZE", "MAX_BUFFER_SIZE"),
        operator.le,
        "BATCH_SIZE={} is larger than MAX_BUFFER_SIZE={}, so no batch could ever fill: lower it",
    ),
    Rule(
        ("BATCH_SIZE", "MAX_BACKLOG"),
        operator.le,
        "BATCH_SIZE={} is larger than MAX_BACKLOG={}, so no batch would ever fit into the queue: lower it",
    ),
    Rule(
        ("SYNC_LANES", "PARTITIONS"),
        operator.le,
        "SYNC_LANES={} is larger than PARTITIONS={}, but each lane needs a partition of its own: lower it",
    ),
    Rule(
        ("LEASE_TTL", "TYPESENSE_CONNECTION_TIMEOUT"),
        _outlives_requests,
        "LEASE_TTL={} is less than three times TYPESENSE_CONNECTION_TIMEOUT={}, so a request could outlive "
        "the lease it "
        "is sent under: raise the first, or lower the second",
    ),
    Rule(
        ("STATE_DATABASE", "MONGODB_DATABASE"),
        # MongoDB refuses a second database whose name differs only in case.
        lambda state, source: state.lower() != source.lower(),
        "STATE_DATABASE={} and MONGODB_DATABASE={} are the same database: set another STATE_DATABASE",
    ),
    Rule(
        ("MONGODB_DATABASE", "MONGODB_COLLECTION"),
        lambda database, collection: len(f"{database}.{collection}".encode()) <= 255,
        "MONGODB_DATABASE={} and MONGODB_COLLECTION={} together are longer than the 255 bytes that MongoDB allows",
    ),
    Rule(
        tuple(f"{tier}_REDIS_{name}" for tier in TIERS for name in ("HOST", "PORT", "DB", "QUEUE_KEY")),
        _different_queues,
        "PRIMARY_REDIS_* and BACKUP_REDIS_* name the same queue ({}:{}, database {}, key {}): "
        "set another server, database or BACKUP_REDIS_QUEUE_KEY",
    ),
    *(
        Rule(
            (f"{tier}_REDIS_MIN_IDLE_CONNS", f"{tier}_REDIS_POOL_SIZE"),
            operator.le,
            f"{tier}_REDIS_MIN_IDLE_CONNS={{}} is larger than {tier}_REDIS_POOL_SIZE={{}}: lower it",
        )
        for tier in TIERS
    ),
    *(
        Rule(
            (f"{tier}_REDIS_APPEND_FILENAME", f"{tier}_REDIS_RDB_FILENAME"),
            operator.ne,
            f"{tier}_REDIS_APPEND_FILENAME={{}} and {tier}_REDIS_RDB_FILENAME={{}} are the same file: rename one",
        )
        for tier in TIERS
    ),
)


def _broken_rules(values: Mapping[str, Any]) -> list[str]:
    """A sentence for each broken rule. Rules about values that are not valid by themselves are skipped."""
    forms = {setting.name: setting.form for setting in SETTINGS}
    problems = []
    for rule in RULES:
        if all(name in values for name in rule.names):
            given = [values[name] for name in rule.names]
            if not rule.holds(*given):
                shown = (forms[name].show(values[name]) for name in rule.names)
                problems.append(rule.otherwise.format(*shown))
    return problems


# ---- for people ----


def lines_for_exit(error: ConfigurationError) -> str:
    """What a person reads before the program exits with 2: a heading, each problem, and what to do."""
    count = len(error.problems)
    lines = [f"tsync-stream cannot start: {count} {'problem' if count == 1 else 'problems'}"]
    lines += [f"  - {problem}" for problem in error.problems]
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
