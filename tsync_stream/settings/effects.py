"""When a running worker takes up a change of a setting. docs/settings.md shows it beside each of them.

Invariant: what is not named here needs a restart. So a new setting is safe until somebody has thought about it, and no
setting that replicas must have in common changes while they run. A MONGODB_URI must lead to the same state.
"""

from typing import Literal, TypeAlias

from tsync_stream.settings.redis_table import CONNECTION, of_each_tier

Effect: TypeAlias = Literal["at once", "stages", "restart"]

_PASSWORDS = of_each_tier("PASSWORD")

AT_ONCE = frozenset(
    {
        "LOG_LEVEL",
        "LOG_FORMAT",
        "TYPESENSE_API_KEY",
        "API_TOKEN",
        "DASHBOARD_SHOW_VALUES",
        *_PASSWORDS,
    }
)
"""Taken up while the work goes on."""

STAGES = frozenset(
    {
        "MONGODB_URI",
        "MONGODB_URI_FILE",
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
        "TYPESENSE_MAX_FIELDS",
        "MAX_BUFFER_SIZE",
        "BATCH_SIZE",
        "FLUSH_INTERVAL",
        "FAIL_BACK_AFTER",
        "MAX_BACKLOG",
        "IMPORT_MAX_BYTES",
        "MASS_DELETE_SHARE",
        "DEAD_LETTER_ALERT_SHARE",
        "VERIFY_RATE",
        "JOBS_YIELD_TO_SEARCHES",
        "BACKUP_DIRECTORY",
        "BACKUP_TYPESENSE_PATH",
        "BACKUP_SCHEDULE",
        "BACKUP_KEEP",
        "BACKUP_KEEP_FOR",
        "ROUTES_FILE",
        "TRANSFORM_TIMEOUT",
        "FAN_OUT_INLINE",
        "REDIS_MANAGE_PERSISTENCE",
        "OTLP_ENDPOINT",
        *(name for name in of_each_tier(*CONNECTION) if name not in _PASSWORDS),
    }
)
"""Taken up by making the replica's stages anew, inside the process: it pauses for about two seconds."""


def effect_of(name: str) -> Effect:
    """When a change of this setting takes effect (pure)."""
    return "at once" if name in AT_ONCE else "stages" if name in STAGES else "restart"
