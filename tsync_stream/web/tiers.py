"""The tiers of the queue as the dashboard shows them: which one is the queue, and why (pure)."""

from collections.abc import Mapping, Sequence
from typing import Any

from tsync_stream.core.model import BACKUP, MONGO, PRIMARY
from tsync_stream.observe.conditions import Condition
from tsync_stream.settings.forms import show_duration

TITLES = {PRIMARY: "Primary Redis", BACKUP: "Backup Redis", MONGO: "MongoDB"}
# What the health of a replica calls the server of a tier.
_SERVERS = {PRIMARY: PRIMARY, BACKUP: BACKUP, MONGO: "mongodb"}


def tiers_json(
    configured: Sequence[str],
    current: str | None,
    servers: Mapping[str, Condition],
    suspect: str | None,
    fail_back_after_s: float,
) -> list[dict[str, Any]]:
    """Each tier, the best first: its name and title, its state in a word, and why it is that.

    `configured` are the names of those that the settings name; MongoDB is always one. `servers` are as this replica
    sees them. States: `active`, `reserve`, `unreachable`, `refusing`, `left out`.
    """
    order = [PRIMARY, BACKUP, MONGO]
    found = []
    for tier in order:
        state, why = _state(tier, configured, servers)
        if tier == current:
            state, why = "active", _why_active(tier, order, configured, servers, suspect)
        elif state == "reserve":
            better = current is not None and order.index(tier) < order.index(current)
            healthy = show_duration(fail_back_after_s)
            why = (
                f"It answers; the queue fails back to it once it has been healthy for {healthy}."
                if better
                else "It would be the queue if the better ones were lost."
            )
        found.append({"name": tier, "title": TITLES[tier], "state": state, "why": why})
    return found


def _state(tier: str, configured: Sequence[str], servers: Mapping[str, Condition]) -> tuple[str, str]:
    if tier not in configured:
        return "left out", f"{tier.upper()}_REDIS_HOST is empty."
    server = servers.get(_SERVERS[tier])
    if server is None or server.state.word == "reachable":
        return "reserve", ""
    return server.state.word, server.state.text


def _why_active(
    tier: str, order: Sequence[str], configured: Sequence[str], servers: Mapping[str, Condition], suspect: str | None
) -> str:
    if suspect:
        return f"It is suspect: {suspect}. The next epoch opens."
    better = [other for other in order[: order.index(tier)] if other in configured]
    if not better:
        return "It is the first choice." if tier == PRIMARY else "No Redis before it is configured."
    lost = [TITLES[other] for other in better if _state(other, configured, servers)[0] != "reserve"]
    if lost:
        return f"{' and '.join(lost)} cannot be used now."
    return f"{' and '.join(TITLES[other] for other in better)} was lost, and is not trusted again yet."
