"""What `check` finds wrong with MongoDB and Typesense for some routes: missing rights above all. Changes nothing."""

import asyncio
from dataclasses import dataclass

from tsync_stream.check.findings import Finding
from tsync_stream.check.mongo import gather_mongo, judge_mongo
from tsync_stream.check.typesense import gather_typesense, judge_typesense
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.load import Settings


@dataclass(frozen=True, slots=True)
class Rights:
    """What is wrong, and Typesense's release (empty: unknown)."""

    findings: tuple[Finding, ...] = ()
    version: str = ""


async def rights(settings: Settings, table: RouteTable) -> Rights:
    """Examine both servers, within about `findings.DEADLINE_S`; never raises for what a server does."""
    typesense = settings.typesense
    mongo_facts, nodes = await asyncio.gather(
        gather_mongo(settings, table),
        asyncio.gather(*(gather_typesense(typesense, table, url) for url in typesense.node_urls)),
    )
    rows = [judge_mongo(settings, table, mongo_facts)]
    rows += [
        judge_typesense(typesense, table, url, facts) for url, facts in zip(typesense.node_urls, nodes, strict=True)
    ]
    wrong = tuple(finding for row in rows for finding in row.findings if finding.level == "wrong")
    return Rights(wrong, next((row.version for row in rows[1:] if row.version), ""))
