"""How a Redis server keeps the queue on disk: what the settings ask for, what it has, and bringing the two together.

Invariants: only `save` and `appendonly` are ever set, and only by `apply_server_settings`, which says so, and which
REDIS_MANAGE_PERSISTENCE=false keeps from it; everything else is compared. What is set is read back before it is
believed.
A server that shows or changes nothing (CONFIG is closed on many managed ones) is no error: its owner is told the lines
for redis.conf instead.
"""

import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from redis.exceptions import ResponseError

from tsync_stream.queue.redis_replies import read_configuration
from tsync_stream.settings.load import RedisSettings

log = logging.getLogger(__name__)

# `redis_connections.ask_each` of a client that speaks RESP2.
Ask: TypeAlias = Callable[..., Awaitable[list[Any]]]

POLICY, APPEND_ONLY, SAVE = "maxmemory-policy", "appendonly", "save"
APPEND_FILENAME, RDB_FILENAME = "appendfilename", "dbfilename"
# Redis takes these while it runs. It refuses the file names then, and the policy is its owner's decision.
SETTABLE = (SAVE, APPEND_ONLY)


@dataclass(frozen=True, slots=True)
class Directive:
    """A directive as redis.conf should have it; `setting` is the variable that asks for it, "" for none."""

    name: str
    value: str
    setting: str

    @property
    def line(self) -> str:
        """The line for redis.conf. File names are quoted there; none of ours needs more than that."""
        quote = '"' if self.name in {APPEND_FILENAME, RDB_FILENAME} else ""
        return f"{self.name} {quote}{self.value}{quote}"


@dataclass(frozen=True, slots=True)
class Difference:
    """A directive that the server has otherwise: as `found`."""

    directive: Directive
    found: str

    def __str__(self) -> str:
        wanted = self.directive
        because = f" ({wanted.setting})" if wanted.setting else ""
        return f'`{wanted.name}` is "{self.found}" and should be "{wanted.value}"{because}'


def directives(settings: RedisSettings) -> list[Directive]:
    """What redis.conf should say (pure). The name of an append-only file that is not written does not matter."""
    prefix = f"{settings.name.upper()}_REDIS_"
    wanted = [
        Directive(POLICY, "noeviction", ""),
        Directive(APPEND_ONLY, "yes" if settings.append_only else "no", f"{prefix}APPEND_ONLY"),
        # Redis counts whole seconds; one change within them is enough for a snapshot.
        Directive(SAVE, f"{max(1, math.ceil(settings.save_interval_s))} 1", f"{prefix}SAVE_INTERVAL"),
        Directive(RDB_FILENAME, settings.rdb_filename, f"{prefix}RDB_FILENAME"),
    ]
    if settings.append_only:
        wanted.append(Directive(APPEND_FILENAME, settings.append_filename, f"{prefix}APPEND_FILENAME"))
    return wanted


def differences(settings: RedisSettings, found: Mapping[str, str]) -> list[Difference]:
    """What is not as the settings say (pure). Directives that were not found are left out."""
    return [
        Difference(directive, found[directive.name])
        for directive in directives(settings)
        if directive.name in found and " ".join(found[directive.name].split()) != directive.value
    ]


async def read_directives(ask: Ask, settings: RedisSettings) -> dict[str, str]:
    """What the server has; empty if it does not let us see. Raises redis-py's errors if it is not there."""
    # Redis 6.2 takes one name at a time.
    answers = await ask(*(("CONFIG", "GET", directive.name) for directive in directives(settings)))
    if any(isinstance(answer, ResponseError) for answer in answers):  # renamed, disabled, or not permitted
        return {}
    found: dict[str, str] = {}
    for answer in answers:
        found |= read_configuration(answer)
    return found


async def apply_server_settings(ask: Ask, settings: RedisSettings, *, manage: bool = True) -> list[str]:
    """Set `save` and `appendonly` as the settings say, unless `manage` is off; returns a warning for the rest.

    Each warning has the line for redis.conf. Raises redis-py's errors if the server is not there.
    """
    title = f"{settings.name} Redis"
    found = await read_directives(ask, settings)
    if not found:
        lines = ", ".join(f"`{directive.line}`" for directive in directives(settings))
        return [f"{title}: it does not show its settings; they should be as redis.conf makes them with {lines}"]
    different = differences(settings, found)
    chosen = [difference.directive for difference in different if difference.directive.name in SETTABLE and manage]
    if chosen:
        await ask(*(("CONFIG", "SET", directive.name, directive.value) for directive in chosen))
        found = await read_directives(ask, settings)  # a server may answer OK and leave it as it is
    left = {difference.directive.name for difference in differences(settings, found)} if found else set()
    warnings = []
    for difference in different:
        wanted = difference.directive
        if wanted in chosen and found and wanted.name not in left:
            log.warning(
                '%s at %s:%d: `%s` was "%s" and is "%s" now, as %s says; put `%s` into redis.conf, or a restart '
                "undoes it; REDIS_MANAGE_PERSISTENCE=false leaves the server as it is",
                *(title, settings.host, settings.port),
                *(wanted.name, difference.found, wanted.value, wanted.setting, wanted.line),
            )
        else:
            tried = ", and the server does not let us change it" if wanted in chosen else ""
            warnings.append(f"{title}: {difference}{tried}; put `{wanted.line}` into redis.conf")
    return warnings
