"""Which servers this replica reaches. It looks every second or two, whether it needs them now or not.

A server is *unreachable* once it has not answered for one LEASE_TTL, and *reachable* once it has answered for a whole
LEASE_TTL. Both travel with the lease renewals: a replica that cannot reach what another reports as reachable stands
aside until it can. Between the two lies the time in which some replicas have not noticed yet that an outage began, or
ended.

Health tells sooner: after `TOLD_AFTER_S` without an answer, or at once when a Redis refuses; and green again when
nothing has failed for `GREEN_AFTER_S`. A look asks for what the work needs (`replica.py`) and takes at most
`LOOK_DEADLINE_S`, because a server that is slower is as good as down.
Invariant: a replica that holds nothing and has nothing to do looks all the same.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from tsync_stream.core import clock
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, TierRefused, TsyncError
from tsync_stream.core.health import Health
from tsync_stream.core.model import BACKUP, PRIMARY
from tsync_stream.core.tasks import all_to_end
from tsync_stream.core.wake import Wake

# Between looks while the server answers, and while it does not; shorter if LEASE_TTL is short.
CALM_INTERVAL_S = 2.0
LOOK_INTERVAL_S = 1.0
LOOKS_PER_PATIENCE = 5
LOOK_DEADLINE_S = 1.0
# Together they make one long outage of looks that fail now and then.
TOLD_AFTER_S = 5.0
GREEN_AFTER_S = 5.0

MONGODB, TYPESENSE = "mongodb", "typesense"
TITLES = {MONGODB: "MongoDB", TYPESENSE: "Typesense", PRIMARY: "the primary Redis", BACKUP: "the backup Redis"}

# Of a server's collections, in one look.
MOST_TRIED = 5

Look = Callable[[], Awaitable[object]]


@dataclass(slots=True)
class _Seen:
    """When a server last answered a look, and when one last failed."""

    answered_s: float
    failed_s: float

    @property
    def away(self) -> bool:
        return self.failed_s > self.answered_s


class Reach:
    """`looks` are calls, by server name, that return if the server does its work. `wake` rings when one does so again.

    `present_tier()` names the tier that is the queue now; losing another one is merely losing a reserve.
    """

    def __init__(
        self,
        looks: Mapping[str, Look],
        patience_s: float,
        wake: Wake,
        health: Health,
        present_tier: Callable[[], str | None],
    ) -> None:
        self._looks = looks
        self._patience_s = patience_s
        self._wake = wake
        self._health = health
        self._present_tier = present_tier
        self._seen = {name: _Seen(clock.now_s(), clock.now_s()) for name in looks}

    def __repr__(self) -> str:
        states = (f"{name}: {'away' if seen.away else 'answers'}" for name, seen in self._seen.items())
        return f"Reach({', '.join(states)})"

    @property
    def checks(self) -> dict[str, str]:
        """The health check of each server, by the server's name."""
        return {name: _check(name) for name in self._looks}

    def report(self) -> dict[str, list[str]]:
        """The names of the servers that are `unreachable` for this replica, and of those that are `reachable`."""
        oldest_s = clock.now_s() - self._patience_s
        return {
            "unreachable": sorted(name for name, seen in self._seen.items() if seen.answered_s < oldest_s),
            "reachable": sorted(name for name, seen in self._seen.items() if seen.failed_s < oldest_s),
        }

    async def run(self) -> None:
        """Keep looking until cancelled. No server's silence delays the look at another."""
        await all_to_end([self._watch(name, look) for name, look in self._looks.items()])

    async def _watch(self, name: str, look: Look) -> None:
        while True:
            await self._look(name, look)
            interval_s = LOOK_INTERVAL_S if self._seen[name].away else CALM_INTERVAL_S
            await asyncio.sleep(min(interval_s, self._patience_s / LOOKS_PER_PATIENCE))

    async def _look(self, name: str, look: Look) -> None:
        seen = self._seen[name]
        try:
            async with asyncio.timeout(LOOK_DEADLINE_S):
                await look()
        except (TsyncError, TimeoutError) as error:
            seen.failed_s = clock.now_s()
            # A refusal is an answer, and does not pass by itself.
            if isinstance(error, TierRefused) or seen.failed_s - seen.answered_s >= TOLD_AFTER_S:
                self._tell(name, error)
        else:
            if seen.away:
                self._wake.ring()
            seen.answered_s = clock.now_s()
            if seen.answered_s - seen.failed_s >= GREEN_AFTER_S:
                self._health.green(_check(name))

    def _tell(self, name: str, error: TsyncError | TimeoutError) -> None:
        title = TITLES.get(name, name)
        refused = isinstance(error, ConfigurationError)
        text = str(error) if isinstance(error, TsyncError) else f"{title}: no answer within {LOOK_DEADLINE_S:g} s"
        if name in {PRIMARY, BACKUP} and name != self._present_tier():
            reserve = f"{text}; the work goes on, but {title} could not take over the queue now"
            self._health.degraded(_check(name), reserve, needs_person=refused)
            return
        waits = f"{title} is the queue, which moves to another tier if this continues"
        if name not in {PRIMARY, BACKUP}:
            waits = "nothing is lost: changes are synced once it answers again"
        self._health.fault(_check(name), f"{text}; {waits}", needs_person=refused)


def _check(name: str) -> str:
    return f"server {name}"


class OneAtATime:
    """A look that cannot be cancelled: one runs at a time, and an answer that comes late counts as a failure.

    The driver's calls continue in their thread when nobody waits for them any more. With a new call for each look, a
    frozen server would occupy all of the driver's threads and leave none for the leases.
    """

    def __init__(self, title: str, look: Look) -> None:
        self._title = title
        self._look = look
        self._task: asyncio.Task[object] | None = None
        self._began_s = 0.0

    async def __call__(self) -> None:
        """Look, or wait for the look that is still running."""
        if self._task is None:
            self._began_s = clock.now_s()
            self._task = asyncio.ensure_future(self._look())
        task = self._task
        await asyncio.wait([task])
        self._task = None
        task.result()
        if clock.now_s() - self._began_s > LOOK_DEADLINE_S:
            raise DependencyUnavailable(f"{self._title}: it takes longer than {LOOK_DEADLINE_S:g} s to answer")


class AnyOf:
    """A look at one of several collections of a server: the server is well if one of them answers.

    What is wrong with a single one, such as a missing right, is a matter of its route alone. The next look begins with
    the one that answered.
    """

    def __init__(self, looks: Iterable[Look]) -> None:
        self._looks = deque(looks)

    async def __call__(self) -> None:
        """Look at a few of them, one after the other, until one answers. Raises what the last one raises."""
        for _ in range(min(MOST_TRIED, len(self._looks)) - 1):
            try:
                await self._looks[0]()
            except ConfigurationError:
                self._looks.rotate(-1)
            else:
                return
        try:
            await self._looks[0]()
        except ConfigurationError:
            self._looks.rotate(-1)
            raise
