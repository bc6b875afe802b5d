"""The whole deployment as the dashboard shows it, from one look and from what this replica knows itself (pure).

Invariants: whichever replica answers, it says the same of the deployment; only `servers` are as this replica sees them.
What is not known is None, and `problem` says why. Nothing here holds the content of a document.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tsync_stream.core import __version__, clock
from tsync_stream.core.health import Health
from tsync_stream.core.model import MONGO
from tsync_stream.observe.conditions import SERVERS, Condition
from tsync_stream.observe.health_report import ReplicaView
from tsync_stream.observe.status import Status, as_json
from tsync_stream.settings.load import Settings
from tsync_stream.web.jobs_view import jobs_json
from tsync_stream.web.look import Seen, Shown
from tsync_stream.web.problems import problems_json, worst_level
from tsync_stream.web.tiers import tiers_json


@dataclass(frozen=True, slots=True)
class Here:
    """What this replica knows without asking: its settings, its health, and its view. `token`: whether one is set."""

    settings: Settings
    health: Health
    view: ReplicaView
    token: bool


def overview_json(shown: Shown, here: Here) -> dict[str, Any]:
    """Everything but dead letters and history; the keys of `status --json` are here too."""
    seen = shown.seen
    live = [] if seen is None else seen.status.live
    problems = problems_json(here.health, here.view.replica, live)
    servers = here.view.by_group.get(SERVERS, {})
    return {
        "version": __version__,
        "replica": here.view.replica,
        "phase": here.view.phase,
        "level": worst_level(problems),
        "problems": problems,
        "servers": _servers(servers),
        "actions": here.token,
        "values": here.settings.dashboard_show_values,
        "problem": shown.problem or None,
        "at": None if seen is None else seen.at,
        "age_s": None if seen is None else round(max(0.0, clock.now_s() - seen.at_s), 1),
        **_of_look(seen, servers, here.settings),
    }


def _of_look(seen: Seen | None, servers: Mapping[str, Condition], settings: Settings) -> dict[str, Any]:
    if seen is None:
        return {"status": None}
    status = seen.status
    pipeline = status.pipeline
    tiers = tiers_json(
        [*(redis.name for redis in settings.redis_tiers), MONGO],
        None if pipeline is None else pipeline.epoch.tier,
        servers,
        None if pipeline is None or pipeline.tier_suspect is None else pipeline.tier_suspect.reason,
        settings.fail_back_after_s,
    )
    told = as_json(status)
    told["jobs"] = jobs_json(status, seen.ended, seen.refreshes)
    return {"status": {**told, "tiers": tiers, "stages": _stages(status)}}


def _stages(status: Status) -> dict[str, str | None]:
    """What the deployment's capture and sync do, in a word: that of whoever captures, and of the busiest owner."""
    capturing = status.capturing
    words = [str(replica.statistics.get("stages", {}).get("sync", "standby")) for replica in status.live]
    order = ("retrying", "claiming", "working", "standby")
    return {
        "capture": None if capturing is None else capturing.statistics.get("stages", {}).get("capture"),
        "sync": next((word for word in order if word in words), None),
    }


def _servers(servers: Mapping[str, Condition]) -> dict[str, dict[str, Any]]:
    return {
        name: {"state": found.state.word, "text": found.state.text, "since": found.since.at}
        for name, found in servers.items()
    }


def history_json(seen: Seen | None) -> dict[str, Any]:
    """The last fifteen minutes, the oldest sample first: `[time, captured/s, synced/s, lag in seconds or None]`."""
    samples = [] if seen is None else seen.history
    return {
        "names": ["at", "captured_per_s", "synced_per_s", "lag_s"],
        "samples": [[at, each.captured_per_s, each.synced_per_s, each.lag_s] for at, each in samples],
        "now": None if seen is None else seen.at,
    }
