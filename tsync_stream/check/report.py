"""`check`: is every server that a worker needs reachable and set up correctly? All are examined at once.

Invariants: nothing is changed anywhere. One row per dependency (per node of a Typesense cluster), in a fixed order.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tsync_stream.check.findings import Finding, Row
from tsync_stream.check.mongo import gather_mongo, judge_mongo
from tsync_stream.check.redis import gather_redis, judge_redis
from tsync_stream.check.typesense import gather_typesense, judge_typesense
from tsync_stream.settings.load import Settings


async def check_dependencies(settings: Settings) -> list[Row]:
    """Examine all of them, within about `findings.DEADLINE_S`; never raises for what a server does."""
    typesense = settings.typesense
    mongo, primary, backup, nodes = await asyncio.gather(
        gather_mongo(settings),
        gather_redis(settings.primary_redis),
        gather_redis(settings.backup_redis),
        asyncio.gather(*(gather_typesense(typesense, url) for url in typesense.node_urls)),
    )
    schema = None if typesense.schema_file is None else typesense.schema_file.read_text(encoding="utf-8")
    return [
        judge_mongo(settings, mongo),
        judge_redis(settings.primary_redis, primary),
        judge_redis(settings.backup_redis, backup, other=primary),
        *(
            judge_typesense(typesense, url, facts, schema)
            for url, facts in zip(typesense.node_urls, nodes, strict=True)
        ),
    ]


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


def render(rows: Sequence[Row], warnings: Sequence[str]) -> RenderableType:
    """The table for people, and a verdict (pure)."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False)
    table.add_column("dependency", overflow="fold", max_width=40)
    table.add_column("reachable", no_wrap=True)
    table.add_column("version", no_wrap=True)
    table.add_column("findings, and how to fix them", overflow="fold")
    for row in rows:
        dependency = Text.assemble(row.dependency, "\n", (row.address, "dim"))
        reachable = Text("yes", "green") if row.reachable else Text("no", "bold red")
        table.add_row(dependency, reachable, row.version or "?", _findings(row.findings))
    parts: list[RenderableType] = [table]
    parts += [Text(f"warning: {warning}", "yellow") for warning in warnings]
    count = sum(finding.level == "wrong" for row in rows for finding in row.findings)
    if count:
        parts.append(Text(f"{count} {'problem' if count == 1 else 'problems'} found", "bold red"))
    else:
        parts.append(Text("no problems found", "bold green"))
    return Group(*parts)


def _findings(findings: Sequence[Finding]) -> RenderableType:
    if not findings:
        return Text("none", "dim")
    parts: list[RenderableType] = []
    for finding in findings:
        style = "red" if finding.level == "wrong" else "cyan"
        parts.append(Text.assemble((f"{finding.level}: ", f"bold {style}"), finding.text))
        if finding.fix:
            parts.append(Padding(Text(f"→ {finding.fix}"), (0, 0, 0, 2)))
        parts += [Padding(Text(line, "bold"), (0, 0, 0, 4)) for line in finding.lines]
    return Group(*parts)
