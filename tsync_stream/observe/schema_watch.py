"""Watching the live schema: fields appear in it as documents bring them, and too many are a matter of their own."""

import asyncio
from collections.abc import Collection
from contextlib import suppress

from tsync_stream.core.errors import TsyncError
from tsync_stream.core.health import Health
from tsync_stream.settings.load import Settings
from tsync_stream.sink.live_schema import LOOK_INTERVAL_S, LiveSchema
from tsync_stream.sink.many_fields import MANY_FIELDS, about_many_fields

CHECK = "fields"


async def watch_schema(schema: LiveSchema, health: Health, settings: Settings) -> None:
    """Look again and again, until cancelled."""
    while True:
        await asyncio.sleep(LOOK_INTERVAL_S)
        with suppress(TsyncError):  # sync says what is wrong with Typesense
            plan = await schema.look()
            tell_fields(health, settings, plan.types)


def tell_fields(health: Health, settings: Settings, fields: Collection[str]) -> None:
    """Say in health if there are too many fields (their names are given), and what to do about it."""
    count, most = len(fields), settings.max_fields
    if count < min(MANY_FIELDS, most):
        health.green(CHECK)
        return
    text = about_many_fields(settings.typesense.collection_name, fields)
    if count >= most:
        health.red(CHECK, f"{text}. That is TYPESENSE_MAX_FIELDS ({most:,}) or more", needs_person=True)
    else:
        health.degraded(CHECK, f"{text}. It is red from TYPESENSE_MAX_FIELDS ({most:,}) on", needs_person=True)
