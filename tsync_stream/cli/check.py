"""`check`: prints what is wrong with the settings and the servers, and how to fix it. Changes nothing."""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tsync_stream.check import report
from tsync_stream.check.findings import Finding, Row
from tsync_stream.cli.shared import EXIT_WRONG, console, print_json, reachable_settings
from tsync_stream.settings.load import Settings
from tsync_stream.settings.texts import unused


async def run_check(settings: Settings, *, as_json: bool) -> int:
    """Print the findings, for people or as JSON; 1 if anything is wrong.

    Variables that look like misspelt settings are listed as warnings, which leave the exit code alone.
    """
    warnings = unused(Path.cwd())
    rows = await report.check_dependencies(reachable_settings(settings))
    if as_json:
        print_json(report.as_json(rows, warnings))
    else:
        console().print(render(rows, warnings))
    return 0 if report.all_healthy(rows) else EXIT_WRONG


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
        table.add_row(dependency, reachable, row.version or "?", render_findings(row.findings))
    parts: list[RenderableType] = [table]
    parts += [Text(f"warning: {warning}", "yellow") for warning in warnings]
    count = sum(finding.level == "wrong" for row in rows for finding in row.findings)
    if count:
        parts.append(Text(f"{count} {'problem' if count == 1 else 'problems'} found", "bold red"))
    else:
        parts.append(Text("no problems found", "bold green"))
    return Group(*parts)


def render_findings(findings: Sequence[Finding]) -> RenderableType:
    """Findings with how to fix them (pure)."""
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
