"""The table of all settings: `settings/load.py` reads by it, and docs/settings.md is made from it.

Invariants: a default is written in the setting's own form and fits it.
`field` names one field of `Settings`, and each field of `Settings` has one row here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tsync_stream.settings import forms as forms


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable. `field` is where its value goes in `Settings`, with a dot for a part of it."""

    name: str
    default: str
    field: str
    form: forms.Form[Any]
    meaning: str

    def problem(self, text: str, reason: str) -> str:
        """What to tell the person who wrote `text`; a secret's text is left out."""
        given = f"{self.name} (its value is not shown)" if self.form.secret else f"{self.name}={text[:100]!r}"
        if not text and not reason:
            reason = "it is set, but empty; leave it out to have the default"
        because = f" ({reason})" if reason else ""
        example = self.form.example or self.default
        advice = f", for example {self.name}={example}" if example else ""
        return f"{given} does not fit{because}: it needs {self.form.needs}{advice}"


@dataclass(frozen=True, slots=True)
class Group:
    """Settings that are documented together."""

    title: str
    settings: tuple[Setting, ...]


MONGODB = (
    Setting(
        "MONGODB_URI",
        "mongodb://localhost:27017",
        "mongo.uri",
        forms.MONGODB_URI,
        "the replica set to read from; the state database is on it too",
    ),
    Setting(
        "MONGODB_DATABASE",
        "neatlisting",
        "mongo.database",
        forms.MONGODB_DATABASE,
        "database of the source collection",
    ),
    Setting(
        "MONGODB_COLLECTION",
        "listings",
        "mongo.collection",
        forms.MONGODB_COLLECTION,
        "the source collection",
    ),
)

TYPESENSE = (
    Setting(
        "TYPESENSE_API_KEY",
        "xyz",
        "typesense.api_key",
        forms.API_KEY,
        "may read and write the collection, and create it if it is missing",
    ),
    Setting(
        "TYPESENSE_HOST",
        "localhost",
        "typesense.hosts",
        forms.HOSTS,
        "the server; several names are the nodes of one cluster",
    ),
    Setting("TYPESENSE_PORT", "8108", "typesense.port", forms.PORT, "its port, the same on every node"),
    Setting(
        "TYPESENSE_PROTOCOL",
        "http",
        "typesense.protocol",
        forms.choice("http", "https"),
        "its protocol, the same on every node",
    ),
    Setting(
        "TYPESENSE_COLLECTION_NAME",
        "listings",
        "typesense.collection_name",
        forms.TYPESENSE_COLLECTION,
        "the collection that is kept equal to the source",
    ),
    Setting(
        "TYPESENSE_CONNECTION_TIMEOUT",
        "5s",
        "typesense.connection_timeout_s",
        forms.duration("100ms", "10m"),
        "total deadline of one request, from connecting to the last byte of the answer",
    ),
    Setting(
        "TYPESENSE_KEEPALIVE_TIMEOUT",
        "30s",
        "typesense.keepalive_timeout_s",
        forms.duration("1s", "1h"),
        "how long an idle connection stays open",
    ),
    Setting(
        "TYPESENSE_MAX_RETRIES",
        "3",
        "typesense.max_retries",
        forms.whole_number(1, 100, of="attempts"),
        "attempts to write a batch before it waits for Typesense to recover; no batch is ever given up",
    ),
    Setting(
        "TYPESENSE_RETRY_BACKOFF",
        "100ms",
        "typesense.retry_backoff_s",
        forms.duration("1ms", "1m"),
        "pause after the first failed attempt; the pauses after it grow exponentially",
    ),
    Setting(
        "TYPESENSE_TRUST_PROXY_ENV",
        "false",
        "typesense.trust_proxy_env",
        forms.BOOLEAN,
        "go to Typesense through the proxy of HTTP_PROXY, HTTPS_PROXY and NO_PROXY, which then sees the API key",
    ),
)

BUFFER = (
    Setting(
        "MAX_BUFFER_SIZE",
        "1000",
        "buffer.max_buffer_size",
        forms.whole_number(1, 1_000_000, of="changes"),
        "changes held in memory between two stages; when it is full, the stage before waits",
    ),
    Setting(
        "BATCH_SIZE",
        "100",
        "buffer.batch_size",
        forms.whole_number(1, 10_000, of="changes"),
        "changes of a partition that are written together; up to 1,000 in all while more than that wait",
    ),
    Setting(
        "FLUSH_INTERVAL",
        "5",
        "buffer.flush_interval_s",
        forms.duration("1ms", "1h"),
        "longest time a change waits for its batch to fill; it does not wait while the next stage is idle",
    ),
)


def _redis(tier: str, port: str, queue_key: str, append_filename: str, rdb_filename: str) -> tuple[Setting, ...]:
    """The settings of one Redis tier; the two tiers differ in a few defaults only."""

    def row(suffix: str, default: str, field: str, form: forms.Form[Any], meaning: str) -> Setting:
        return Setting(f"{tier.upper()}_REDIS_{suffix}", default, f"{tier}_redis.{field}", form, meaning)

    connections = forms.whole_number(1, 10_000, of="connections")
    idle_connections = forms.whole_number(0, 10_000, of="connections")
    retries = forms.whole_number(0, 100, of="retries")
    pause = forms.duration("1ms", "1m")
    long = forms.duration("1s", "720h")
    return (
        row("HOST", "localhost", "host", forms.HOST, f"the {tier} queue's server"),
        row("PORT", port, "port", forms.PORT, "its port"),
        row("PASSWORD", "", "password", forms.PASSWORD, "empty: connect without one"),
        row("DB", "0", "db", forms.whole_number(0, 65535), "number of the logical database"),
        row("QUEUE_KEY", queue_key, "queue_key", forms.QUEUE_KEY, "what the name of every key begins with"),
        row("POOL_SIZE", "10", "pool_size", connections, "connections open at once, at most"),
        row("MIN_IDLE_CONNS", "5", "min_idle_conns", idle_connections, "connections kept open from the start"),
        row("MAX_RETRIES", "3", "max_retries", retries, "retries of a call until this tier is suspect"),
        row("RETRY_BACKOFF", "100ms", "retry_backoff_s", pause, "pause before the first retry; it grows"),
        row("CONN_MAX_LIFETIME", "1h", "conn_max_lifetime_s", long, "a connection this old is replaced"),
        row("SAVE_INTERVAL", "300s", "save_interval_s", long, "time between the server's RDB snapshots"),
        row("APPEND_ONLY", "true", "append_only", forms.BOOLEAN, "the server keeps an append-only file (AOF)"),
        row("APPEND_FILENAME", append_filename, "append_filename", forms.FILE_NAME, "name of the AOF"),
        row("RDB_FILENAME", rdb_filename, "rdb_filename", forms.FILE_NAME, "name of the RDB snapshot"),
    )


PRIMARY_REDIS = _redis("primary", "6379", "typesense_sync_queue", "appendonly.aof", "dump.rdb")
BACKUP_REDIS = _redis("backup", "6380", "typesense_sync_queue_backup", "appendonly_backup.aof", "dump_backup.rdb")

BOTH_REDIS = (
    Setting(
        "REDIS_MANAGE_PERSISTENCE",
        "true",
        "redis_manage_persistence",
        forms.BOOLEAN,
        "a worker sets `save` and `appendonly` of both servers as set above; false: it compares and warns",
    ),
)

PIPELINE = (
    Setting(
        "ROUTE_NAME",
        "",
        "route_name",
        forms.ROUTE_NAME,
        "name of the route from source to target: its state, dead letters, rechecks, jobs and metrics carry it; "
        "empty: the name of MONGODB_COLLECTION",
    ),
    Setting(
        "STATE_DATABASE",
        "tsync",
        "state_database",
        forms.MONGODB_DATABASE,
        "where positions, leases, jobs and dead letters are kept, on the MongoDB of MONGODB_URI",
    ),
    Setting(
        "PARTITIONS",
        "8",
        "partitions",
        forms.whole_number(1, 1024),
        "parts that the queue is divided into; each is synced by one replica at a time",
    ),
    Setting(
        "LEASE_TTL",
        "15s",
        "lease_ttl_s",
        forms.duration("1s", "1h"),
        "how long a replica may be silent before others take over its work; "
        "at least three times TYPESENSE_CONNECTION_TIMEOUT",
    ),
    Setting(
        "FAIL_BACK_AFTER",
        "30s",
        "fail_back_after_s",
        forms.duration("1s", "1h"),
        "how long a better tier must be well before the queue goes back to it; doubled each time it fails again soon",
    ),
    Setting(
        "MAX_BACKLOG",
        "10000000",
        "max_backlog",
        forms.whole_number(1, 10**12, of="entries"),
        "entries in the queue at which capture pauses; further changes wait in MongoDB's oplog",
    ),
    Setting(
        "SYNC_LANES",
        "2",
        "sync_lanes",
        forms.whole_number(1, 1024, of="batches"),
        "batches on their way to Typesense at once, each from other partitions; at most PARTITIONS",
    ),
    Setting(
        "IMPORT_MAX_BYTES",
        "8MB",
        "import_max_bytes",
        forms.size_in_bytes("64KB", "1GB"),
        "an import this large is sent, however few documents it holds",
    ),
    Setting(
        "TYPESENSE_SCHEMA_FILE",
        "",
        "typesense.schema_file",
        forms.SCHEMA_FILE,
        "schema for creating the Typesense collection; empty: Typesense detects the type of every field",
    ),
    Setting(
        "TYPESENSE_MAX_FIELDS",
        "5000",
        "max_fields",
        forms.whole_number(1, 1_000_000, of="fields"),
        "health is red while the Typesense collection has so many fields or more; from 1,000 on it is degraded",
    ),
    Setting(
        "DATE_UNIT",
        "s",
        "date_unit",
        forms.choice("s", "ms"),
        "unit of dates in Typesense: whole seconds or milliseconds since 1970",
    ),
    Setting(
        "MASS_DELETE_SHARE",
        "0.2",
        "mass_delete_share",
        forms.SHARE,
        "a sweep that would delete more of the Typesense collection than this stops and asks",
    ),
    Setting(
        "ON_REJECT",
        "keep",
        "on_reject",
        forms.choice("keep", "delete"),
        "when a new version of a document is refused, keep the older one in Typesense, or delete it",
    ),
    Setting(
        "DEAD_LETTER_ALERT_SHARE",
        "0.01",
        "dead_letter_alert_share",
        forms.SHARE,
        "health is red while more of the source's documents than this have an open dead letter; below it is degraded",
    ),
)

SERVICE = (
    Setting(
        "WEB_BIND",
        "127.0.0.1",
        "web_bind",
        forms.HOST,
        "address that health, metrics and dashboard are served on",
    ),
    Setting("WEB_PORT", "6066", "web_port", forms.PORT, "its port"),
    Setting(
        "LOG_LEVEL",
        "INFO",
        "log_level",
        forms.choice("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        "least severe messages that are logged",
    ),
)

EMBEDDED = (
    Setting(
        "TSYNC_EMBEDDED",
        "false",
        "embedded",
        forms.BOOLEAN,
        "start MongoDB, both Redis servers and Typesense on this machine and use them, not those named above",
    ),
    Setting("TSYNC_EMBEDDED_DIR", ".tsync", "embedded_dir", forms.DIRECTORY, "where these servers keep their data"),
    Setting(
        "MONGOD_EXECUTABLE",
        "",
        "mongod_executable",
        forms.EXECUTABLE,
        "the MongoDB server to start; empty: look for one",
    ),
    Setting(
        "REDIS_SERVER_EXECUTABLE",
        "",
        "redis_server_executable",
        forms.EXECUTABLE,
        "the Redis or Valkey server to start; empty: look for one",
    ),
    Setting(
        "TYPESENSE_SERVER_EXECUTABLE",
        "",
        "typesense_server_executable",
        forms.EXECUTABLE,
        "the Typesense server to start; empty: look for one",
    ),
)

GROUPS: tuple[Group, ...] = (
    Group("MongoDB", MONGODB),
    Group("Typesense", TYPESENSE),
    Group("Buffers", BUFFER),
    Group("Primary Redis", PRIMARY_REDIS),
    Group("Backup Redis", BACKUP_REDIS),
    Group("Both Redis", BOTH_REDIS),
    Group("Pipeline", PIPELINE),
    Group("Web pages and log", SERVICE),
    Group("Embedded stack", EMBEDDED),
)

SETTINGS: tuple[Setting, ...] = tuple(setting for group in GROUPS for setting in group.settings)


def settings_table() -> str:
    """The Markdown tables of docs/settings.md: one for each group, in the order of `GROUPS`."""
    return "\n".join(_group_lines())


def _group_lines() -> Iterable[str]:
    for group in GROUPS:
        yield f"## {group.title}\n"
        yield "| name | default | form | meaning |"
        yield "| --- | --- | --- | --- |"
        for setting in group.settings:
            default = f"`{setting.default}`" if setting.default else "(empty)"
            yield f"| `{setting.name}` | {default} | {setting.form.needs} | {setting.meaning} |"
        yield ""
