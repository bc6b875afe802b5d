"""Takes up changes of `.env`, the routes file, and what they name, while the worker runs; a SIGHUP looks at once.

Files are read and judged as at a start. Invariants: files with any problem change nothing, and health says so until
they are corrected. What can be taken up is taken up as a whole; what needs a restart is named, and keeps its value.
No value of a setting is logged.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tsync_stream.core import clock
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.events import event
from tsync_stream.core.file_watch import POLL_S, looks, stamp_of
from tsync_stream.core.health import Health
from tsync_stream.core.tasks import end_tasks
from tsync_stream.observe.metrics import Metrics
from tsync_stream.routes.declared import declared_routes
from tsync_stream.routes.table import RouteTable
from tsync_stream.routes.watched import schema_files_of, table_anew, transform_files
from tsync_stream.settings.common import common_settings
from tsync_stream.settings.difference import ROUTES_FILE, Difference, difference, with_changes
from tsync_stream.settings.in_force import InForce, files_of
from tsync_stream.settings.load import Settings
from tsync_stream.settings.routes_file import NAME as ROUTES_FILE_NAME
from tsync_stream.settings.texts import dotenv_texts, hidden

log = logging.getLogger(__name__)

CHECK = "reload"
ROUTES = "routes"
# Files must have been left alone for so long: an editor may empty one before it writes it.
SETTLED_S = 0.3
MOST_SETTLING_LOOKS = 30
MOST_PROBLEMS = 5


@dataclass(frozen=True, slots=True)
class Actions:
    """What a reload does outside of itself.

    `read` reads all settings and raises `ConfigurationError`; it blocks. `at_once` takes up the values of these names.
    `stages` makes the stages anew; it raises `ConfigurationError` if they cannot be made, and has changed nothing then.
    """

    read: Callable[[], Settings]
    at_once: Callable[[Settings, Collection[str]], Awaitable[None]]
    stages: Callable[[InForce], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Found:
    """What the files say now, without a problem."""

    settings: Settings
    table: RouteTable
    dotenv: Mapping[str, str]


class Reload:
    """`run` watches until it is cancelled by `stop`. `in_force` is what the process works with now."""

    def __init__(self, in_force: InForce, directory: Path, actions: Actions, health: Health, metrics: Metrics) -> None:
        self.in_force = in_force
        self._directory = directory
        self._actions = actions
        self._health = health
        self._metrics = metrics
        self._due = asyncio.Event()
        self._asked = False
        self._applying = asyncio.Lock()
        self._table = declared_routes(in_force.settings)
        self._dotenv: Mapping[str, str] = dotenv_texts(directory)
        self._stamps = self._stamps_now(self._paths())
        self._modules: dict[Path, tuple[str, object]] = {}  # as they were imported
        self._blamed = ""  # the files that were refused
        self._looked_s = clock.now_s()
        self._show()

    def __repr__(self) -> str:
        refused = f", {self._blamed} refused" if self._blamed else ""
        return f"<Reload of {len(self._stamps)} files{refused}, {self.in_force}>"

    def now(self) -> None:
        """Look at once, as a SIGHUP asks for, and say what was found even if it is nothing."""
        self._asked = True
        self._due.set()

    async def run(self) -> None:
        """Look whenever a file changed or somebody asks, until cancelled."""
        while True:
            watching = asyncio.create_task(self._watch())
            try:
                await self._due.wait()
            finally:
                await end_tasks([watching])
            self._due.clear()
            async with self._applying:
                await self._look()

    async def stop(self, task: "asyncio.Task[None]") -> None:
        """End the task that runs this; what is being taken up is taken up first."""
        async with self._applying:
            await end_tasks([task])

    # ---- watching ----

    async def _watch(self) -> None:
        async for _ in looks(list(self._stamps)):
            again = self._blamed and clock.now_s() - self._looked_s >= POLL_S  # what is missing may be anywhere
            if again or self._stamps_now(self._stamps) != self._stamps or self._news_of_modules():
                self._due.set()

    def _paths(self) -> list[Path]:
        settings = self.in_force.settings
        fixed = [self._directory / ".env", self._directory / ROUTES_FILE_NAME]
        return list(dict.fromkeys([*fixed, *files_of(settings), *schema_files_of(settings)]))

    def _stamps_now(self, paths: Collection[Path]) -> dict[Path, object]:
        return {path: stamp_of(path) for path in paths}

    async def _settled(self) -> list[Path]:
        """Wait until the files stay as they are; returns those that differ from what was read last."""
        stamps = self._stamps_now(self._stamps)
        for _ in range(MOST_SETTLING_LOOKS):
            await asyncio.sleep(SETTLED_S)
            before, stamps = stamps, self._stamps_now(self._stamps)
            if stamps == before:
                break
        changed = [path for path, stamp in stamps.items() if stamp != self._stamps[path]]
        self._stamps = stamps
        return changed

    def _changed_modules(self) -> list[str]:
        """Transforms whose modules are not what was imported; imported ones are remembered as they are first seen."""
        for path, name in transform_files(self._table).items():
            self._modules.setdefault(path, (name, stamp_of(path)))
        return [f"transform `{name}`" for path, (name, stamp) in self._modules.items() if stamp_of(path) != stamp]

    def _news_of_modules(self) -> bool:
        return not set(self._changed_modules()) <= set(self.in_force.restart_for)

    # ---- taking up ----

    async def _look(self) -> None:
        asked, self._asked = self._asked, False
        changed = await self._settled()
        self._looked_s = clock.now_s()
        try:
            found = await asyncio.to_thread(self._read)
            differs = self._differs(found, changed)
            await self._take_up(found, differs)
        except ConfigurationError as error:
            self._refuse(error, changed)
        else:
            self._say_what_is_hidden(found.dotenv)
            self._report(differs, asked=asked)

    def _read(self) -> Found:
        """Read everything again. Raises `ConfigurationError` with every problem."""
        path = self._directory / ".env"
        if self._dotenv and not path.exists():
            raise ConfigurationError([f"{path.name} is gone: put it back, or restart the worker to do without it"])
        settings = self._actions.read()
        return Found(settings, table_anew(settings), dotenv_texts(self._directory))

    def _differs(self, found: Found, changed: Collection[Path]) -> Difference:
        before, after = self.in_force, found.settings
        files = files_of(after)
        stages = [files[path] for path in changed if "_TLS_" in files.get(path, "")]
        # How fast routes are written, and how they are changed, is no part of a version: it changes nothing they show.
        of_routes = [(table.version, table.max_rates, table.reindexed) for table in (found.table, self._table)]
        if before.settings.routes_file and after.routes_file and of_routes[0] != of_routes[1]:
            stages.append(ROUTES)
        common = common_settings(after)  # it may differ by the content of a file alone
        restart = [name for name, value in common.items() if before.common.get(name, value) != value]
        return difference(before.settings, after).plus(stages=stages, restart=[*restart, *self._changed_modules()])

    async def _take_up(self, found: Found, differs: Difference) -> None:
        before, after = self.in_force, found.settings
        if differs.stages:
            # Secrets follow, one by one: their servers may not accept them yet.
            instead_of = self._table.version if ROUTES in differs.stages else ""
            now = before.after(with_changes(before.settings, after, differs.stages), instead_of)
            await self._actions.stages(now)
            self.in_force = now
        now, taken = self.in_force, [*differs.at_once, *differs.stages]
        now.settings = with_changes(now.settings, after, taken)
        if differs.at_once:
            await self._actions.at_once(now.settings, differs.at_once)
        if taken:
            now.since = datetime.now(UTC)
        if ROUTES_FILE not in differs.restart:
            self._table = found.table

    # ---- telling ----

    def _report(self, differs: Difference, *, asked: bool) -> None:
        now, taken = self.in_force, [*differs.at_once, *differs.stages]
        news = set(differs.restart) - set(now.restart_for)
        now.restart_for = differs.restart
        self._blamed = ""
        self._stamps |= self._stamps_now([path for path in self._paths() if path not in self._stamps])
        self._health.green(CHECK)
        self._show()
        if taken:
            self._metrics.reloads.labels("applied").inc()
            log.info("reload: %s: now in force", ", ".join(taken), extra=event("settings.reloaded"))
        elif news:
            self._metrics.reloads.labels("restart needed").inc()
        if differs.restart and (news or asked):
            log.warning(
                "reload: a restart is needed for %s; until then the values before stay in force",
                ", ".join(differs.restart),
                extra=event("settings.restart_needed"),
            )
        if asked and not differs:
            log.info("reload: nothing has changed", extra=event("settings.unchanged"))

    def _refuse(self, error: ConfigurationError, changed: Collection[Path]) -> None:
        if changed or not self._blamed:
            self._blamed = ", ".join(sorted(path.name for path in changed)) or "the settings"
            self._metrics.reloads.labels("refused").inc()
            log.error("reload: %s refused", self._blamed, extra=event("settings.refused"))
        problems = error.problems[:MOST_PROBLEMS]
        left = len(error.problems) - len(problems)
        more = f"; and {left} more (`tsync check` shows all)" if left else ""
        self._health.degraded(
            CHECK,
            f"{self._blamed} cannot be used as changed, and all settings and routes before stay in force: "
            f"{'; '.join(problems)}{more}. Correct this, and it is taken up within seconds",
            needs_person=True,
        )

    def _say_what_is_hidden(self, dotenv: Mapping[str, str]) -> None:
        for name in hidden(self._dotenv, dotenv):
            log.warning(
                "reload: %s changed in .env without effect: the environment of the process has it too, and takes "
                "precedence",
                name,
                extra=event("settings.hidden"),
            )
        self._dotenv = dotenv

    def _show(self) -> None:
        self._metrics.settings_loaded_timestamp_seconds.set(self.in_force.since.timestamp())
        self._metrics.settings_pending.set(len(self.in_force.restart_for))
