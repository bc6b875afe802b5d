"""`check`: is every server that a worker needs reachable and set up correctly? All are examined at once.

Invariants: nothing is changed anywhere. One row per dependency (per node of a Typesense cluster), in a fixed order.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from tsync_stream.check.findings import Row, note
from tsync_stream.check.mongo import gather_mongo, judge_mongo
from tsync_stream.check.redis import gather_redis, judge_redis
from tsync_stream.check.typesense import gather_typesense, judge_typesense
from tsync_stream.routes.declared import declared_routes
from tsync_stream.settings.cautions import left_out, unverified
from tsync_stream.settings.load import Settings

TRUST = "name the authority that signed it instead (docs/security.md)"


async def check_dependencies(settings: Settings) -> list[Row]:
    """Examine all of them, within about `findings.DEADLINE_S`; never raises for what a server does."""
    typesense, table = settings.typesense, declared_routes(settings)
    mongo, redis, nodes = await asyncio.gather(
        gather_mongo(settings, table),
        asyncio.gather(*map(gather_redis, settings.redis_tiers)),
        asyncio.gather(*(gather_typesense(typesense, table, url) for url in typesense.node_urls)),
    )
    schema = None if typesense.schema_file is None else typesense.schema_file.read_text(encoding="utf-8")
    rows = [
        with_note(judge_mongo(settings, table, mongo), left_out(settings)),
        *(
            judge_redis(tier, facts, other=redis[0] if facts is not redis[0] else None)
            for tier, facts in zip(settings.redis_tiers, redis, strict=True)
        ),
        *map(partial(judge_typesense, typesense, table, schema=schema), typesense.node_urls, nodes),
    ]
    sentences = unverified(settings)
    return [with_note(row, sentences.get(row.dependency, ""), TRUST) for row in rows]


def with_note(row: Row, text: str, fix: str = "") -> Row:
    """The row with a further note, unless its text is empty (pure)."""
    return replace(row, findings=[note(text, fix), *row.findings]) if text else row


def all_healthy(rows: Sequence[Row]) -> bool:
    """Nothing is wrong anywhere (pure)."""
    return all(row.healthy for row in rows)


def as_json(rows: Sequence[Row], warnings: Sequence[str]) -> dict[str, Any]:
    """What `--json` prints (pure)."""
    return {
        "ok": all_healthy(rows),
        "warnings": list(warnings),
        "dependencies": [
            {
                "dependency": row.dependency,
                "address": row.address,
                "ok": row.healthy,
                "reachable": row.reachable,
                "version": row.version or None,
                "findings": [
                    {"level": finding.level, "text": finding.text, "fix": finding.fix, "lines": list(finding.lines)}
                    for finding in row.findings
                ],
            }
            for row in rows
        ],
    }
