"""Watches how many fields the Typesense collection has: documents add fields, and too many slow Typesense down."""

import asyncio
from collections.abc import Collection
from contextlib import suppress

from tsync_stream.core.errors import TsyncError
from tsync_stream.core.health import Health
from tsync_stream.settings.load import Settings
from tsync_stream.sink.live_schema import LOOK_INTERVAL_S, LiveSchema
from tsync_stream.sink.many_fields import MANY_FIELDS, about_many_fields

CHECK = "fields"


async def watch_fields(schema: LiveSchema, health: Health, settings: Settings) -> None:
    """Read the live schema every `LOOK_INTERVAL_S`, until cancelled."""
    while True:
        await asyncio.sleep(LOOK_INTERVAL_S)
        with suppress(TsyncError):  # sync reports what is wrong with Typesense
            plan = await schema.look()
            report_fields(health, settings, plan.types)


def report_fields(health: Health, settings: Settings, fields: Collection[str]) -> None:
    """Set the health check from the names of the fields: the text says how many there are, and what to do about it."""
    count, most = len(fields), settings.max_fields
    if count < min(MANY_FIELDS, most):
        health.green(CHECK)
        return
    text = about_many_fields(settings.typesense.collection_name, fields)
    if count >= most:
        health.red(CHECK, f"{text}. The limit is TYPESENSE_MAX_FIELDS ({most:,})", needs_person=True)
    else:
        health.degraded(
            CHECK, f"{text}. From TYPESENSE_MAX_FIELDS ({most:,}) fields on, health is red", needs_person=True
        )
