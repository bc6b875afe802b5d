"""`check`: prints what is wrong with the settings and the servers, and how to fix it. Changes nothing."""

from pathlib import Path

from tsync_stream.check import report
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
        console().print(report.render(rows, warnings))
    return 0 if report.all_healthy(rows) else EXIT_WRONG
