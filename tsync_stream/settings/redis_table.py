"""The settings of the two Redis tiers. They have the same names but for a prefix, and differ in a few defaults only."""

from typing import Any

from tsync_stream.settings import addresses, forms
from tsync_stream.settings.setting import Setting

TIERS = ("PRIMARY", "BACKUP")

QUEUE_PLACE = ("HOST", "PORT", "DB", "QUEUE_KEY")
"""Where a tier's queue is: the same for all replicas, as long as they run."""

CONNECTION = (
    "USERNAME",
    "PASSWORD",
    "PASSWORD_FILE",
    "TLS",
    "TLS_CA_FILE",
    "TLS_CERT_FILE",
    "TLS_KEY_FILE",
    "TLS_VERIFY",
    "POOL_SIZE",
    "MIN_IDLE_CONNS",
    "MAX_RETRIES",
    "RETRY_BACKOFF",
    "CONN_MAX_LIFETIME",
    "SAVE_INTERVAL",
    "APPEND_ONLY",
    "APPEND_FILENAME",
    "RDB_FILENAME",
)
"""How a replica uses it: its own affair, and free to change while it runs."""


def of_each_tier(*names: str) -> tuple[str, ...]:
    """The full names of these settings, of both tiers (pure)."""
    return tuple(f"{tier}_REDIS_{name}" for tier in TIERS for name in names)


def _redis(tier: str, port: str, queue_key: str, append_filename: str, rdb_filename: str) -> tuple[Setting, ...]:
    """The rows of one tier."""

    def row(suffix: str, default: str, field: str, form: forms.Form[Any], meaning: str) -> Setting:
        return Setting(f"{tier.upper()}_REDIS_{suffix}", default, f"{tier}_redis.{field}", form, meaning)

    connections = forms.whole_number(1, 10_000, of="connections")
    idle_connections = forms.whole_number(0, 10_000, of="connections")
    retries = forms.whole_number(0, 100, of="retries")
    pause = forms.duration("1ms", "1m")
    long = forms.duration("1s", "720h")
    in_file = f"a file that holds {tier.upper()}_REDIS_PASSWORD"
    authorities = "the only authorities that are trusted to sign its certificate; empty: public ones"
    unverified = (
        "whether its certificate and host name are checked; false lets anybody in between read and change everything"
    )
    return (
        row("HOST", "localhost", "host", addresses.OPTIONAL_HOST, f"the {tier} queue's server; empty: do without it"),
        row("PORT", port, "port", forms.PORT, "its port"),
        row("USERNAME", "", "username", forms.USERNAME, "the ACL user; empty: `default`"),
        row("PASSWORD", "", "password", forms.PASSWORD, "its password; empty: connect without one"),
        row("PASSWORD_FILE", "", "password_file", forms.SECRET_FILE, f"{in_file}; a change is taken up within seconds"),
        row("TLS", "false", "use_tls", forms.BOOLEAN, "whether connections use TLS"),
        row("TLS_CA_FILE", "", "tls.ca_file", forms.CA_FILE, authorities),
        row("TLS_CERT_FILE", "", "tls.cert_file", forms.PEM_FILE, "our own certificate, if the server requires one"),
        row("TLS_KEY_FILE", "", "tls.key_file", forms.PEM_FILE, "the key of that certificate"),
        row("TLS_VERIFY", "true", "tls.verify", forms.BOOLEAN, unverified),
        row("DB", "0", "db", forms.whole_number(0, 65535), "the number of the logical database"),
        row("QUEUE_KEY", queue_key, "queue_key", addresses.QUEUE_KEY, "the beginning of every key's name"),
        row("POOL_SIZE", "10", "pool_size", connections, "the most connections that are open at once"),
        row("MIN_IDLE_CONNS", "5", "min_idle_conns", idle_connections, "connections kept open from the start"),
        row("MAX_RETRIES", "3", "max_retries", retries, "retries of a call until this tier is suspect"),
        row("RETRY_BACKOFF", "100ms", "retry_backoff_s", pause, "pause before the first retry; later pauses grow"),
        row("CONN_MAX_LIFETIME", "1h", "conn_max_lifetime_s", long, "age at which a connection is replaced"),
        row("SAVE_INTERVAL", "300s", "save_interval_s", long, "time between the server's RDB snapshots"),
        row("APPEND_ONLY", "true", "append_only", forms.BOOLEAN, "whether the server keeps an append-only file (AOF)"),
        row("APPEND_FILENAME", append_filename, "append_filename", forms.FILE_NAME, "the AOF's name"),
        row("RDB_FILENAME", rdb_filename, "rdb_filename", forms.FILE_NAME, "the RDB snapshot's name"),
    )


PRIMARY_REDIS = _redis("primary", "6379", "typesense_sync_queue", "appendonly.aof", "dump.rdb")
BACKUP_REDIS = _redis("backup", "6380", "typesense_sync_queue_backup", "appendonly_backup.aof", "dump_backup.rdb")

BOTH_REDIS = (
    Setting(
        "REDIS_MANAGE_PERSISTENCE",
        "true",
        "redis_manage_persistence",
        forms.BOOLEAN,
        "a worker configures `save` and `appendonly` on both servers as set above; false: it only compares and warns",
    ),
)
