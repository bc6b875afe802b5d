"""Makes backups when they are due: on the replica that captures, wherever that is by then.

Invariants: each scheduled time is backed up once (`state/backups.py`). A backup that fails never ends anything else: it
is tried a few times, then health says what to do until one succeeds. A MongoDB that cannot be reached ends no attempt.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NoReturn

from tsync_stream.backups.making import BackupFailed, BackupMaker, Made, require_folder
from tsync_stream.backups.schedule import latest_due, next_due
from tsync_stream.core import clock
from tsync_stream.core.errors import ConfigurationError, Fenced, TsyncError, unforeseen
from tsync_stream.core.events import event
from tsync_stream.core.health import Health
from tsync_stream.observe.metrics import Metrics
from tsync_stream.settings.load import BackupSettings
from tsync_stream.state.backups import BackupStore, Failure, KnownBackups, Success

log = logging.getLogger(__name__)

CHECK = "backup"
LOOK_INTERVAL_S = 5.0
MOST_TRIES = 3
RETRY_S = 300.0
UNFORESEEN_PAUSE_S = 600.0
PROGRESS_INTERVAL_S = 1.0


@dataclass(slots=True)
class _Tries:
    """How often the open backup has failed, and when it may be tried again."""

    job: str = ""
    failed: int = 0
    not_before_s: float = float("-inf")

    @property
    def last(self) -> bool:
        """Whether the next try is the last one."""
        return self.failed + 1 >= MOST_TRIES


class ScheduledBackups:
    """The scheduled backups of a deployment, as one replica sees them.

    `captures` returns something true while this replica captures; `now` asks MongoDB for its time.
    """

    def __init__(
        self,
        settings: BackupSettings,
        store: BackupStore,
        maker: BackupMaker,
        replica: str,
        captures: Callable[[], object],
        health: Health,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._store = store
        self._maker = maker
        self._replica = replica
        self._captures = captures
        self._health = health
        self._metrics = metrics
        self._tries = _Tries()
        self._noted_s = float("-inf")

    def __repr__(self) -> str:
        doing = f"making {self._tries.job}" if self._tries.job else "waiting"
        return f"<ScheduledBackups {self._settings.schedule or 'never'}, {doing}>"

    async def run(self) -> NoReturn:
        """Look every few seconds."""
        while True:
            pause_s = LOOK_INTERVAL_S
            try:
                if self._captures():
                    await self.look()
                else:
                    self._forget()
            except TsyncError:  # MongoDB's, which has a check of its own, or another replica captures now
                pass
            except Exception as error:  # noqa: BLE001 - a backup must not end the replica
                text = "backup: unforeseen %s; it is tried again"
                log.error(text, unforeseen(error), extra=event("backup.unforeseen"))  # noqa: TRY400
                pause_s = UNFORESEEN_PAUSE_S
            await asyncio.sleep(pause_s)

    async def look(self) -> None:
        """File what is due, make what is open, and show how the last one ended. Raises the errors of MongoDB calls."""
        now = await self._maker.now()
        known = await self._store.load()
        if self._settings.schedule:
            known = await self._with_due(known, now)
            job = await self._store.take_open(self._replica)
            if job is None and self._tries.failed:  # what failed here, another replica has ended since
                self._tries, known = _Tries(), await self._store.load()
            elif job is not None and await self._try(job):
                known = await self._store.load()
        self._show(known, now)

    async def _with_due(self, known: KnownBackups, now: datetime) -> KnownBackups:
        schedule = self._settings.schedule
        if known.schedule != schedule or known.after is None:
            await self._store.begin_schedule(schedule, now)
        elif due := latest_due(schedule, known.after, now):
            await self._store.file(known, due, now)
        else:
            return known
        return await self._store.load()

    async def _try(self, job: str) -> bool:
        """Make the backup; False if it is to be tried again later."""
        if self._tries.job != job:
            self._tries = _Tries(job)
        tries = self._tries
        if clock.now_s() < tries.not_before_s:
            return False
        log.info("backup %s: began", job, extra=event("backup.began", job=job))
        try:
            folder = require_folder(self._settings.directory)
            made = await self._maker.make(folder, partial(self._note, job), snapshot_needed=not tries.last)
        except (BackupFailed, ConfigurationError) as error:
            if not tries.last:
                self._retry(job, str(error))
                return False
            await self._end(job, Failure(await self._maker.now(), str(error)))
        else:
            await self._end(job, _outcome(made, await self._maker.now(), self._replica))
        self._tries = _Tries()
        return True

    def _retry(self, job: str, why: str) -> None:
        tries = self._tries
        tries.failed, tries.not_before_s = tries.failed + 1, clock.now_s() + RETRY_S
        text = f"{why}; the backup {job} is tried again in {RETRY_S / 60:g} minutes"
        self._health.degraded(CHECK, text)

    async def _end(self, job: str, outcome: Success | Failure) -> None:
        if not await self._store.end(job, self._replica, outcome):
            raise Fenced("another replica makes this backup")
        if isinstance(outcome, Success):
            self._metrics.backups.labels("done").inc()
            text = "backup %s: done, %s is written (%d bytes, %.1f s)"
            what = outcome.file, outcome.size, outcome.took_s
            log.info(text, job, *what, extra=event("backup.done", job=job))
        else:
            self._metrics.backups.labels("failed").inc()  # health says why

    async def _note(self, job: str, progress: Mapping[str, Any]) -> None:
        """Raises `Fenced` if another replica captures now, and makes this backup."""
        now_s = clock.now_s()
        if "copied" in progress and now_s - self._noted_s < PROGRESS_INTERVAL_S:
            return
        self._noted_s = now_s
        if not self._captures() or not await self._store.save_progress(job, self._replica, progress):
            raise Fenced("another replica captures, and makes this backup")

    def _show(self, known: KnownBackups, now: datetime) -> None:
        self._metrics.show_backup(known.done)
        failing = known.failing
        if not self._settings.schedule or (failing is None and not self._tries.failed):
            self._health.green(CHECK)
        elif failing is not None and not self._tries.failed:
            due = next_due(self._settings.schedule, now)
            again = "" if due is None else f"; the next one is due at {due:%Y-%m-%d %H:%M} UTC"
            text = f"the last backup failed: {failing.error}{again}. Once that is repaired, run `tsync backup`"
            self._health.degraded(CHECK, text, needs_person=True)

    def _forget(self) -> None:
        """Another replica captures, and reports."""
        self._tries = _Tries()
        self._metrics.show_backup(None)
        self._health.green(CHECK)


def _outcome(made: Made, at: datetime, replica: str) -> Success | Failure:
    if made.problem:
        return Failure(at, f"{made.path} is written, but Typesense has made no snapshot: {made.problem}")
    return Success(at, made.size, made.took_s, str(made.path), replica)
