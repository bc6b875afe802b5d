"""What `faust -A tsync_stream` has beside Faust's own commands: ours, and `worker` in the place of Faust's.

The worker's banner shows what this replica connects.
"""

import os
import platform
from collections.abc import Sequence
from typing import Any, cast

from faust.cli.base import cli
from faust.cli.worker import worker as faust_worker

from tsync_stream.cli import commands
from tsync_stream.cli.declaring import DECLARED
from tsync_stream.cli.process import OurApp
from tsync_stream.core import __version__
from tsync_stream.core.model import Route
from tsync_stream.routes.declared import declared_routes, source_name
from tsync_stream.settings.addresses import redacted_uri
from tsync_stream.settings.load import Settings

MAX_LISTED = 10


class worker(faust_worker):  # noqa: N801 - the class's name is the command's
    """Start a replica.

    It captures MongoDB's changes and keeps Typesense equal. Any number of replicas share the work.
    """

    def banner(self, worker: Any) -> str:
        """The text that is printed before anything starts."""
        app = cast(OurApp, self.app)
        pages = app.web_server_url if app.conf.web_enabled else None
        routes, loop = declared_routes(app.settings).routes, type(worker.loop).__module__
        return banner(app.settings, routes, str(pages).rstrip("/") if pages else "", loop)


def add_commands() -> None:
    """Add what `cli/commands.py` declares."""
    assert commands, "importing it declares them"
    for command in DECLARED.values():
        cli.add_command(command)


def banner(settings: Settings, routes: Sequence[Route], pages: str, loop: str) -> str:
    """Its lines (pure, except for the process's own name and id)."""
    mongo, typesense = settings.mongo, settings.typesense
    if settings.embedded:
        servers = f"the embedded stack in {settings.embedded_dir}"
        source = target = servers
        queue = f"two Redis servers and MongoDB, {servers}"
    else:
        source, target = redacted_uri(mongo.uri), ", ".join(typesense.node_urls)
        redis = "".join(f"{tier.name} Redis {tier.host}:{tier.port}, " for tier in settings.redis_tiers)
        queue = f"{redis}{'then ' if redis else ''}MongoDB (database {settings.state_database})"
    if settings.routes_file is None:
        (route,) = routes
        ends = {
            "source": f"MongoDB {source_name(route)} ({source})",
            "target": f"Typesense {route.target} ({target})",
        }
    else:
        ends = {
            "routes": f"\n{' ' * 11}".join([f"{settings.routes_file.path}:", *_listed(routes)]),
            "source": f"MongoDB ({source})",
            "target": f"Typesense ({target})",
        }
    lines = {
        **ends,
        "queue": queue,
        "pages": f"{pages}/health, {pages}/metrics" if pages else "none (--without-web)",
        "process": f"{os.getpid()} on {platform.node()}, Python {platform.python_version()}, {loop}",
    }
    return "\n".join([f"tsync-stream {__version__}", *(f"  {name:<8} {line}" for name, line in lines.items())])


def _listed(routes: Sequence[Route]) -> list[str]:
    shown = [f"{route.name}: {source_name(route)} to {route.target}" for route in routes[:MAX_LISTED]]
    left = len(routes) - len(shown)
    return [*shown, f"and {left} more"] if left else shown
