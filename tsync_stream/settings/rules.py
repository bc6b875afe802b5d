"""The rules that settings keep among each other (pure): each is valid by itself, and some do not fit together."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tsync_stream.settings.forms import Form
from tsync_stream.settings.redis_table import QUEUE_PLACE, TIERS, of_each_tier


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
    if not (primary[0] and backup[0]):
        return True  # one is left out
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
        ("BACKUP_SCHEDULE", "BACKUP_DIRECTORY"),
        lambda schedule, directory: not schedule or directory is not None,
        "BACKUP_SCHEDULE={} has no effect while BACKUP_DIRECTORY is empty{}: name the folder that backups go to",
    ),
    Rule(
        ("MONGODB_DATABASE", "MONGODB_COLLECTION"),
        lambda database, collection: len(f"{database}.{collection}".encode()) <= 255,
        "MONGODB_DATABASE={} and MONGODB_COLLECTION={} together are longer than the 255 bytes that MongoDB allows",
    ),
    Rule(
        of_each_tier(*QUEUE_PLACE),
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


def broken_rules(values: Mapping[str, Any], forms: Mapping[str, Form[Any]]) -> list[str]:
    """A sentence for each broken rule. Rules about values that are absent, or not valid by themselves, are skipped."""
    problems = []
    for rule in RULES:
        if all(name in values for name in rule.names):
            given = [values[name] for name in rule.names]
            if not rule.holds(*given):
                shown = (forms[name].show(values[name]) for name in rule.names)
                problems.append(rule.otherwise.format(*shown))
    return problems
