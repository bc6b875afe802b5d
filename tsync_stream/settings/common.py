"""What the replicas of one pipeline must have in common, and what each of them may have of its own.

Invariants: every setting is in exactly one class, so that a new one cannot be forgotten. Pure but for the schema file,
which is read. No secret is compared: keys and passwords are rotated one replica after the other.
"""

import hashlib
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import orjson

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.settings.load import Settings
from tsync_stream.settings.table import SETTINGS, Setting

TIERS = ("PRIMARY", "BACKUP")

PLACE = frozenset({"MONGODB_URI", "STATE_DATABASE"})
"""Where the pipeline's own state is: replicas that agree on these are of one pipeline, whatever the URI looks like."""

COMMON = (
    "MONGODB_DATABASE",
    "MONGODB_COLLECTION",
    "TYPESENSE_HOST",
    "TYPESENSE_PORT",
    "TYPESENSE_PROTOCOL",
    "TYPESENSE_COLLECTION_NAME",
    # How long a write may be under way decides when another replica may take it for dead.
    "TYPESENSE_CONNECTION_TIMEOUT",
    "TYPESENSE_SCHEMA_FILE",
    "ROUTE_NAME",
    "DATE_UNIT",
    "ON_REJECT",
    "PARTITIONS",
    "LEASE_TTL",
    *(f"{tier}_REDIS_{name}" for tier in TIERS for name in ("HOST", "PORT", "DB", "QUEUE_KEY")),
)
"""What decides which document is written where, as what, by whom, and when that is surely over."""

OWN = frozenset(
    {
        "TYPESENSE_API_KEY",
        "TYPESENSE_TRUST_PROXY_ENV",
        "TYPESENSE_KEEPALIVE_TIMEOUT",
        "TYPESENSE_MAX_RETRIES",
        "TYPESENSE_RETRY_BACKOFF",
        "MAX_BUFFER_SIZE",
        "BATCH_SIZE",
        "FLUSH_INTERVAL",
        "FAIL_BACK_AFTER",
        "MAX_BACKLOG",
        "SYNC_LANES",
        "IMPORT_MAX_BYTES",
        "MASS_DELETE_SHARE",
        "DEAD_LETTER_ALERT_SHARE",
        "TYPESENSE_MAX_FIELDS",
        "REDIS_MANAGE_PERSISTENCE",
        "WEB_BIND",
        "WEB_PORT",
        "LOG_LEVEL",
        "TSYNC_EMBEDDED",
        "TSYNC_EMBEDDED_DIR",
        "MONGOD_EXECUTABLE",
        "REDIS_SERVER_EXECUTABLE",
        "TYPESENSE_SERVER_EXECUTABLE",
        *(
            f"{tier}_REDIS_{name}"
            for tier in TIERS
            for name in (
                "PASSWORD",
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
        ),
    }
)
"""What concerns one process alone, and what may change from one to the next while a pipeline runs."""


def common_settings(settings: Settings) -> dict[str, str]:
    """What this replica must have in common with the others: names, and values in one form.

    Raises `ConfigurationError` if the schema file cannot be read.
    """
    by_name = {setting.name: setting for setting in SETTINGS}
    return {name: _canonical(by_name[name], attrgetter(by_name[name].field)(settings)) for name in COMMON}


def digest(common: Mapping[str, str]) -> str:
    """Equal for replicas that have all of it in common."""
    return hashlib.sha256(orjson.dumps(dict(common), option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def differences(stored: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    """`DATE_UNIT is ms here, and s there` for each that both know; another version of ours may know more (pure)."""
    names = [name for name in ours if name in stored and stored[name] != ours[name]]
    return [f"{name} is {ours[name] or 'empty'} here, and {stored[name] or 'empty'} there" for name in names]


def _canonical(setting: Setting, value: Any) -> str:
    if setting.name == "TYPESENSE_SCHEMA_FILE":
        return "" if value is None else _content(setting.name, value)
    if setting.name == "TYPESENSE_HOST":
        return ",".join(sorted(host.lower() for host in value))
    shown = setting.form.show(value)
    return shown.lower() if setting.name.endswith("_HOST") else shown


def _content(name: str, path: Any) -> str:
    """A file is what it says, wherever it is and however it is laid out."""
    try:
        content = orjson.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{name}: it cannot be read ({type(error).__name__})") from error
    found = hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return f"a file with the digest {found[:12]}"
