"""Which settings the replicas of one pipeline must share, and which each of them may choose.

Invariants: every setting is in exactly one class, so a new one cannot be forgotten. Secrets are not compared, because
keys and passwords are rotated one replica at a time. Pure, except that the schema file is read.
"""

import hashlib
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import orjson

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.settings.load import Settings
from tsync_stream.settings.redis_table import CONNECTION, QUEUE_PLACE, of_each_tier
from tsync_stream.settings.routes_file import REPLACED
from tsync_stream.settings.setting import Setting
from tsync_stream.settings.table import SETTINGS

PLACE = frozenset({"MONGODB_URI", "MONGODB_URI_FILE", "STATE_DATABASE"})
"""Where the pipeline's state is. Replicas that reach the same state are one pipeline, however the URI is written."""

COMMON = (
    "MONGODB_DATABASE",
    "MONGODB_COLLECTION",
    "TYPESENSE_HOST",
    "TYPESENSE_PORT",
    "TYPESENSE_PROTOCOL",
    "TYPESENSE_COLLECTION_NAME",
    # How long a write may be in flight decides when another replica may consider it dead.
    "TYPESENSE_CONNECTION_TIMEOUT",
    "TYPESENSE_SCHEMA_FILE",
    "ROUTE_NAME",
    "ROUTES_FILE",
    "DATE_UNIT",
    "ON_REJECT",
    "PARTITIONS",
    "LEASE_TTL",
    *of_each_tier(*QUEUE_PLACE),
)
"""What decides which document is written where, in what form, by whom, and when a write is certainly over."""

OWN = frozenset(
    {
        "TYPESENSE_API_KEY",
        "TYPESENSE_API_KEY_FILE",
        "TYPESENSE_TLS_CA_FILE",
        "TYPESENSE_TLS_CERT_FILE",
        "TYPESENSE_TLS_KEY_FILE",
        "TYPESENSE_TLS_VERIFY",
        "TYPESENSE_TRUST_PROXY_ENV",
        "TYPESENSE_KEEPALIVE_TIMEOUT",
        "TYPESENSE_MAX_RATE",
        "TYPESENSE_MAX_RETRIES",
        "TYPESENSE_RETRY_BACKOFF",
        "MAX_BUFFER_SIZE",
        "BATCH_SIZE",
        "FLUSH_INTERVAL",
        "FAIL_BACK_AFTER",
        "TRANSFORM_TIMEOUT",
        "FAN_OUT_INLINE",
        "MAX_BACKLOG",
        "SYNC_LANES",
        "IMPORT_MAX_BYTES",
        "MASS_DELETE_SHARE",
        "DEAD_LETTER_ALERT_SHARE",
        "VERIFY_RATE",
        "JOBS_YIELD_TO_SEARCHES",
        "TYPESENSE_MAX_FIELDS",
        "BACKUP_DIRECTORY",
        "BACKUP_TYPESENSE_PATH",
        "BACKUP_SCHEDULE",
        "BACKUP_KEEP",
        "BACKUP_KEEP_FOR",
        "REDIS_MANAGE_PERSISTENCE",
        "WEB_BIND",
        "WEB_PORT",
        "API_TOKEN",
        "API_TOKEN_FILE",
        "DASHBOARD_SHOW_VALUES",
        "OTLP_ENDPOINT",
        "LOG_LEVEL",
        "LOG_FORMAT",
        "TSYNC_EMBEDDED",
        "TSYNC_EMBEDDED_DIR",
        "MONGOD_EXECUTABLE",
        "REDIS_SERVER_EXECUTABLE",
        "TYPESENSE_SERVER_EXECUTABLE",
        *of_each_tier(*CONNECTION),
    }
)
"""What concerns one process alone, and may differ between replicas while a pipeline runs."""


def common_settings(settings: Settings) -> dict[str, str]:
    """The shared settings of this replica: names, and values in a canonical form.

    Where there is a routes file, what it replaces is left out. Its content may differ for a while, as it does when the
    replicas are restarted one after the other: `RouteTable.version` tells who has which.
    Raises `ConfigurationError` if the schema file cannot be read.
    """
    by_name = {setting.name: setting for setting in SETTINGS}
    names = (name for name in COMMON if settings.routes_file is None or name not in REPLACED)
    return {name: _canonical(by_name[name], attrgetter(by_name[name].field)(settings)) for name in names}


def digest(common: Mapping[str, str]) -> str:
    """A digest that is equal for replicas with equal shared settings."""
    return hashlib.sha256(orjson.dumps(dict(common), option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def differences(stored: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    """`DATE_UNIT is ms here, and s there` for each that both know; another version may know more settings (pure)."""
    names = [name for name in ours if name in stored and stored[name] != ours[name]]
    return [f"{name} is {ours[name] or 'empty'} here, and {stored[name] or 'empty'} there" for name in names]


def _canonical(setting: Setting, value: Any) -> str:
    if setting.name == "TYPESENSE_SCHEMA_FILE":
        return "" if value is None else _content(setting.name, value)
    if setting.name == "ROUTES_FILE":
        return "" if value is None else "set"
    if setting.name == "TYPESENSE_HOST":
        return ",".join(sorted(host.lower() for host in value))
    shown = setting.form.show(value)
    return shown.lower() if setting.name.endswith("_HOST") else shown


def _content(name: str, path: Any) -> str:
    """A file counts by its JSON content, not by its path or layout."""
    try:
        content = orjson.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{name}: the file cannot be read ({type(error).__name__})") from error
    found = hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return f"a file with the digest {found[:12]}"
