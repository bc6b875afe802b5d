"""How a Redis server persists the queue: what the settings ask for, what the server has, and making them agree.

Invariants: only `save` and `appendonly` are ever set, only by `apply_server_settings`, which logs it, and not with
REDIS_MANAGE_PERSISTENCE=false; everything else is only compared. What was set is read back before it is believed.
A server that shows or changes nothing (many managed ones forbid CONFIG) is no error: its owner gets the lines for
redis.conf instead.
"""

import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from redis.exceptions import ResponseError

from tsync_stream.core.events import event
from tsync_stream.queue.redis_replies import read_configuration
from tsync_stream.settings.load import RedisSettings

log = logging.getLogger(__name__)

# `redis_client.ask_each` of a client that speaks RESP2.
Ask: TypeAlias = Callable[..., Awaitable[list[Any]]]

POLICY, APPEND_ONLY, SAVE = "maxmemory-policy", "appendonly", "save"
APPEND_FILENAME, RDB_FILENAME = "appendfilename", "dbfilename"
# Redis accepts these at runtime. It refuses the file names, and the policy is its owner's decision.
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
    """A directive whose value on the server is `found` instead."""

    directive: Directive
    found: str

    def __str__(self) -> str:
        wanted = self.directive
        because = f" ({wanted.setting})" if wanted.setting else ""
        return f'`{wanted.name}` is "{self.found}" and should be "{wanted.value}"{because}'


def directives(settings: RedisSettings) -> list[Directive]:
    """What redis.conf should say (pure). The name of an append-only file matters only if one is written."""
    prefix = f"{settings.name.upper()}_REDIS_"
    wanted = [
        Directive(POLICY, "noeviction", ""),
        Directive(APPEND_ONLY, "yes" if settings.append_only else "no", f"{prefix}APPEND_ONLY"),
        # Redis takes whole seconds; one change within them is enough for a snapshot.
        Directive(SAVE, f"{max(1, math.ceil(settings.save_interval_s))} 1", f"{prefix}SAVE_INTERVAL"),
        Directive(RDB_FILENAME, settings.rdb_filename, f"{prefix}RDB_FILENAME"),
    ]
    if settings.append_only:
        wanted.append(Directive(APPEND_FILENAME, settings.append_filename, f"{prefix}APPEND_FILENAME"))
    return wanted


def differences(settings: RedisSettings, found: Mapping[str, str]) -> list[Difference]:
    """What differs from the settings (pure). Directives that were not found are left out."""
    return [
        Difference(directive, found[directive.name])
        for directive in directives(settings)
        if directive.name in found and " ".join(found[directive.name].split()) != directive.value
    ]


async def read_directives(ask: Ask, settings: RedisSettings) -> dict[str, str]:
    """The server's directives; empty if it does not show them. Raises redis-py's errors if it cannot be reached."""
    # Redis 6.2 takes one name at a time.
    answers = await ask(*(("CONFIG", "GET", directive.name) for directive in directives(settings)))
    if any(isinstance(answer, ResponseError) for answer in answers):  # renamed, disabled, or not permitted
        return {}
    found: dict[str, str] = {}
    for answer in answers:
        found |= read_configuration(answer)
    return found


async def apply_server_settings(ask: Ask, settings: RedisSettings, *, manage: bool = True) -> list[str]:
    """Set `save` and `appendonly` as the settings say, unless `manage` is off; returns a warning about anything else.

    Each warning has the line for redis.conf. Raises redis-py's errors if the server cannot be reached.
    """
    title = f"{settings.name} Redis"
    found = await read_directives(ask, settings)
    if not found:
        lines = ", ".join(f"`{directive.line}`" for directive in directives(settings))
        return [f"{title}: it does not show its settings; redis.conf should contain {lines}"]
    different = differences(settings, found)
    chosen = [difference.directive for difference in different if difference.directive.name in SETTABLE and manage]
    if chosen:
        await ask(*(("CONFIG", "SET", directive.name, directive.value) for directive in chosen))
        found = await read_directives(ask, settings)  # a server may answer OK and change nothing
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
                extra=event("redis.set", server=title, setting=wanted.setting),
            )
        else:
            tried = ", and the server does not let us change it" if wanted in chosen else ""
            warnings.append(f"{title}: {difference}{tried}; put `{wanted.line}` into redis.conf")
    return warnings
