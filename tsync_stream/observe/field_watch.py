"""Watches how many fields each Typesense collection has: documents add fields, and too many slow Typesense down."""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress

from tsync_stream.core.errors import TsyncError
from tsync_stream.core.health import Health
from tsync_stream.routes.table import RouteTable
from tsync_stream.sink.live_schema import LOOK_INTERVAL_S, LiveSchema
from tsync_stream.sink.many_fields import MANY_FIELDS, about_many_fields

CHECK = "fields"


async def watch_fields(schemas: Mapping[str, LiveSchema], table: RouteTable, health: Health, most: int) -> None:
    """Read the live schema of every route every `LOOK_INTERVAL_S`, until cancelled. `most` is TYPESENSE_MAX_FIELDS."""

    async def look(route: str) -> None:
        with suppress(TsyncError):  # sync reports what is wrong with Typesense
            plan = await schemas[route].look()
            report_fields(health, table.title(CHECK, route), table[route].route.target, plan.types, most)

    while True:
        await asyncio.sleep(LOOK_INTERVAL_S)
        await asyncio.gather(*map(look, table))


def report_fields(health: Health, check: str, collection: str, fields: Collection[str], most: int) -> None:
    """Set the health check from the names of the fields: the text says how many there are, and what to do about it."""
    count = len(fields)
    if count < min(MANY_FIELDS, most):
        health.green(check)
        return
    text = about_many_fields(collection, fields)
    if count >= most:
        health.red(check, f"{text}. The limit is TYPESENSE_MAX_FIELDS ({most:,})", needs_person=True)
    else:
        health.degraded(
            check, f"{text}. From TYPESENSE_MAX_FIELDS ({most:,}) fields on, health is red", needs_person=True
        )
