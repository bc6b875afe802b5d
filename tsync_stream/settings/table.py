"""The table of all settings: `load` reads the environment by it, and docs/settings.md is generated from it.

Invariants: a default has the setting's own form, and is valid. Each field of `load.Settings` has exactly one row.
"""

from collections.abc import Iterable

from tsync_stream.settings import addresses, forms
from tsync_stream.settings.backup_table import BACKUPS
from tsync_stream.settings.effects import effect_of
from tsync_stream.settings.redis_table import BACKUP_REDIS, BOTH_REDIS, PRIMARY_REDIS
from tsync_stream.settings.routes_table import ROUTES
from tsync_stream.settings.setting import Group, Setting
from tsync_stream.settings.typesense_table import TYPESENSE

MONGODB = (
    Setting(
        "MONGODB_URI",
        "mongodb://localhost:27017",
        "mongo.uri",
        addresses.MONGODB_URI,
        "the replica set to read from; it also holds the state database",
    ),
    Setting(
        "MONGODB_URI_FILE",
        "",
        "mongo.uri_file",
        forms.SECRET_FILE,
        "a file that holds MONGODB_URI; a change is taken up within seconds",
    ),
    Setting(
        "MONGODB_DATABASE",
        "neatlisting",
        "mongo.database",
        addresses.MONGODB_DATABASE,
        "the database of the source collection",
    ),
    Setting(
        "MONGODB_COLLECTION",
        "listings",
        "mongo.collection",
        addresses.MONGODB_COLLECTION,
        "the source collection",
    ),
)

BUFFER = (
    Setting(
        "MAX_BUFFER_SIZE",
        "1000",
        "buffer.max_buffer_size",
        forms.whole_number(1, 1_000_000, of="changes"),
        "changes held in memory between two stages; the first stage waits while it is full",
    ),
    Setting(
        "BATCH_SIZE",
        "100",
        "buffer.batch_size",
        forms.whole_number(1, 10_000, of="changes"),
        "changes of a partition that are written together; up to 1,000 in total while even more are waiting",
    ),
    Setting(
        "FLUSH_INTERVAL",
        "5",
        "buffer.flush_interval_s",
        forms.duration("1ms", "1h"),
        "longest time that a change lingers, in all stages together, so that others share its batch; a single change "
        "never lingers, and several do for about 0.1 s at most, so more than 0.2 s changes nothing",
    ),
)


PIPELINE = (
    Setting(
        "ROUTE_NAME",
        "",
        "route_name",
        forms.ROUTE_NAME,
        "name of the route from the source to Typesense, which its state, dead letters, jobs and metrics carry; "
        "empty: the name of MONGODB_COLLECTION",
    ),
    Setting(
        "STATE_DATABASE",
        "tsync",
        "state_database",
        addresses.MONGODB_DATABASE,
        "the database for positions, leases, jobs and dead letters, on the MongoDB of MONGODB_URI",
    ),
    Setting(
        "PARTITIONS",
        "8",
        "partitions",
        forms.whole_number(1, 1024),
        "parts of the queue; each is synced by one replica at a time",
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
        "how long a better tier must be healthy before the queue fails back to it; doubled each time it "
        "soon fails again",
    ),
    Setting(
        "MAX_BACKLOG",
        "10000000",
        "max_backlog",
        forms.whole_number(1, 10**12, of="entries"),
        "entries in the queue at which capture pauses; later changes wait in MongoDB's oplog",
    ),
    Setting(
        "SYNC_LANES",
        "2",
        "sync_lanes",
        forms.whole_number(1, 1024, of="batches"),
        "batches that a replica syncs at the same time, each from different partitions; at most PARTITIONS",
    ),
    Setting(
        "IMPORT_MAX_BYTES",
        "8MB",
        "import_max_bytes",
        forms.size_in_bytes("64KB", "1GB"),
        "size at which an import is sent, however few documents it contains",
    ),
    Setting(
        "TYPESENSE_SCHEMA_FILE",
        "",
        "typesense.schema_file",
        forms.SCHEMA_FILE,
        "schema to create the Typesense collection with; empty: the types are found in a sample of the source",
    ),
    Setting(
        "TYPESENSE_MAX_FIELDS",
        "5000",
        "max_fields",
        forms.whole_number(1, 1_000_000, of="fields"),
        "health is red while the Typesense collection has at least this many fields; from 1,000 on it is degraded",
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
        "a sweep that would delete a larger share of the Typesense collection stops, and asks a person",
    ),
    Setting(
        "ON_REJECT",
        "keep",
        "on_reject",
        forms.choice("keep", "delete"),
        "when a new version of a document is refused: keep the older one in Typesense, or delete it",
    ),
    Setting(
        "DEAD_LETTER_ALERT_SHARE",
        "0.01",
        "dead_letter_alert_share",
        forms.SHARE,
        "health is red while a larger share of the source's documents has open dead letters; up to that it is degraded",
    ),
    Setting(
        "VERIFY_RATE",
        "50",
        "verify_rate",
        forms.whole_number(0, 100_000, of="documents"),
        "documents a second, of all routes together, that are compared in the background, again and again; what "
        "differs is repaired. 0: none",
    ),
    Setting(
        "JOBS_YIELD_TO_SEARCHES",
        "true",
        "jobs_yield_to_searches",
        forms.BOOLEAN,
        "whether a first load, and any other job, goes more slowly while searches take twice as long as usual "
        "([details](performance.md#limits)); the API key needs `stats.json:list` for that",
    ),
)

SERVICE = (
    Setting(
        "WEB_BIND",
        "127.0.0.1",
        "web_bind",
        addresses.HOST,
        "the address that the dashboard, health and metrics are served on",
    ),
    Setting("WEB_PORT", "6066", "web_port", forms.PORT, "its port"),
    Setting(
        "API_TOKEN",
        "",
        "api_token",
        forms.API_TOKEN,
        "what the dashboard asks for: to show anything, unless WEB_BIND is a loopback address, and always to change "
        "something; empty: nothing can be changed there",
    ),
    Setting(
        "API_TOKEN_FILE",
        "",
        "api_token_file",
        forms.SECRET_FILE,
        "a file that holds API_TOKEN; a change is taken up at once",
    ),
    Setting(
        "DASHBOARD_SHOW_VALUES",
        "false",
        "dashboard_show_values",
        forms.BOOLEAN,
        "show the contents of documents in the dashboard, and the servers' words about refused ones, which may quote "
        "them",
    ),
    Setting(
        "OTLP_ENDPOINT",
        "",
        "otlp_endpoint",
        forms.OTLP_URL,
        "where the metrics go by OTLP over HTTP, beside `/metrics`; empty: nowhere. Needs the extra `otel`",
    ),
    Setting(
        "LOG_LEVEL",
        "INFO",
        "log_level",
        forms.choice("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        "the least severe level that is logged",
    ),
    Setting(
        "LOG_FORMAT",
        "auto",
        "log_format",
        forms.choice("auto", "text", "json"),
        "how a worker logs: JSON lines, plain lines, or plain lines that are coloured on a terminal ([logs](logs.md))",
    ),
)

EMBEDDED = (
    Setting(
        "TSYNC_EMBEDDED",
        "false",
        "embedded",
        forms.BOOLEAN,
        "start MongoDB, both Redis servers and Typesense on this machine, and use them instead of those named above",
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
    Group("Routes", ROUTES),
    Group("Web pages and log", SERVICE),
    Group("Backups", BACKUPS),
    Group("Embedded stack", EMBEDDED),
)

SETTINGS: tuple[Setting, ...] = tuple(setting for group in GROUPS for setting in group.settings)


def settings_table() -> str:
    """The Markdown tables of docs/settings.md: one for each group, in the order of `GROUPS`."""
    return "\n".join(_group_lines())


def _group_lines() -> Iterable[str]:
    for group in GROUPS:
        yield f"## {group.title}\n"
        yield "| name | default | form | meaning | a change |"
        yield "| --- | --- | --- | --- | --- |"
        for setting in group.settings:
            default = f"`{setting.default}`" if setting.default else "(empty)"
            form, effect = setting.form.needs, effect_of(setting.name)
            yield f"| `{setting.name}` | {default} | {form} | {setting.meaning} | {effect} |"
        yield ""
