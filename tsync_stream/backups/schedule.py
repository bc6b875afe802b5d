"""When backups are due, by a cron expression in UTC (pure).

Invariants: of several times that were missed, only the latest is due, so a pipeline that was stopped for a week makes
one backup and not seven. The library is loaded only where there is a schedule.
"""

from datetime import datetime, timedelta


def latest_due(schedule: str, after: datetime, now: datetime) -> datetime | None:
    """The latest time that matches, after `after` and not after `now`; None if there is none.

    Times have a zone, UTC. A time is due from its first second on.
    """
    from cronsim import CronSim

    following_second = now.replace(microsecond=0) + timedelta(seconds=1)
    due = next(CronSim(schedule, following_second, reverse=True), None)
    return due if due is not None and due > after else None


def next_due(schedule: str, now: datetime) -> datetime | None:
    """The next time that matches; None if no time of the next fifty years does."""
    from cronsim import CronSim

    return next(CronSim(schedule, now), None)
