"""In which state the parts of a replica are, and since when: stages, servers, routes and partitions.

Invariant: what is known here was known to the parts already; nothing asks a server. A state is a word of a short list,
so that what reads it (a page, a dashboard) can tell them apart.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tsync_stream.core import clock
from tsync_stream.core.clock import Moment
from tsync_stream.core.health import Health
from tsync_stream.state.pipeline import Pipeline

LOOK_INTERVAL_S = 1.0

STAGES, SERVERS, ROUTES, PARTITIONS = "stages", "servers", "routes", "partitions"


class State(NamedTuple):
    """The state of one part in a word, and what there is to say about it."""

    word: str
    text: str = ""


class Condition(NamedTuple):
    """The state of one part, and since when its word is that."""

    state: State
    since: Moment


States = Mapping[str, Mapping[str, State]]  # by group, then by the part's name


class Conditions:
    """`look()` returns the present states; `by_group` is what was seen last."""

    def __init__(self, look: Callable[[], States]) -> None:
        self._look = look
        self.by_group: dict[str, dict[str, Condition]] = {}

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(parts)} {group}" for group, parts in self.by_group.items())
        return f"<Conditions of {counts or 'nothing yet'}>"

    async def run(self) -> None:
        """Look once a second, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_INTERVAL_S)

    def look(self) -> None:
        """Look once; a part that is gone is forgotten."""
        now = clock.moment()
        self.by_group = {
            group: {name: self._condition(group, name, state, now) for name, state in parts.items()}
            for group, parts in self._look().items()
        }

    def _condition(self, group: str, name: str, state: State, now: Moment) -> Condition:
        before = self.by_group.get(group, {}).get(name)
        return Condition(state, before.since if before is not None and before.state.word == state.word else now)


def servers(checks: Mapping[str, str], health: Health) -> dict[str, State]:
    """The servers, by name, from the health check of each (pure).

    `reachable`; `unreachable`, which is waited out; or `refusing`, which a person must repair.
    """
    found = {}
    for name, check in checks.items():
        problem = health.problems.get(check)
        word = "reachable" if problem is None else "refusing" if problem.needs_person else "unreachable"
        found[name] = State(word, "" if problem is None else problem.text)
    return found


def routes(names: Mapping[str, object], pipeline: Pipeline | None) -> dict[str, State]:
    """The declared routes, by name, from the epoch document (pure).

    `live`; `reconciling`; `suspended`, which a person must repair; or `unknown` before a replica captures for it.
    """
    known = {} if pipeline is None else pipeline.routes
    found = {}
    for name in names:
        state = known.get(name)
        if state is None:
            found[name] = State("unknown")
        elif state.suspended is not None:
            found[name] = State("suspended", state.suspended.reason)
        elif state.reconcile is not None:
            paused = ", paused by a person" if state.reconcile.paused else ""
            found[name] = State("reconciling", f"{state.reconcile.reason}{paused}")
        else:
            found[name] = State("live")
    return found


def stages(capture: str, partitions: Mapping[int, str]) -> dict[str, State]:
    """The stages, by name, from the state of the capture and that of each partition of ours (pure)."""
    return {
        "capture": State(capture),
        "persist": State("working" if capture in {"reading", "paused"} else "standby"),
        "sync": worst(partitions, ("retrying", "claiming", "working", "standby")),
    }


def worst(words: Mapping[int, str], order: Sequence[str]) -> State:
    """The first word of `order` that any partition has; the last one, if none has any of them (pure)."""
    return State(next((word for word in order if word in words.values()), order[-1]))
