"""Takes up secrets that change while the process runs: in files of their own, or among the settings.

Invariants: everything goes on with the secret before until the new one is taken up; meanwhile health is degraded and
says why. A failed attempt is repeated, since a server may learn of the new secret after us.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence

from tsync_stream.core.errors import TsyncError
from tsync_stream.core.events import event
from tsync_stream.core.file_watch import looks
from tsync_stream.core.health import Health
from tsync_stream.settings.secrets import Secret

log = logging.getLogger(__name__)


class Rotation:
    """One secret, and what takes it up.

    `apply` is given the new secret and returns what happened, for the log. If it raises `TsyncError`, nothing happened,
    and it is called again.
    """

    def __init__(self, secret: Secret, apply: Callable[[str], Awaitable[str]]) -> None:
        self.secret = secret
        self._apply = apply
        self._taken_up = secret.value

    def __repr__(self) -> str:
        return f"Rotation({self.secret.origin}{'' if self.secret.value == self._taken_up else ', to be taken up'})"

    def offer(self, value: str) -> None:
        """Another secret, from the settings; the next look takes it up."""
        self.secret.offer(value)

    async def look(self, health: Health) -> None:
        """Take the secret up if it changed."""
        self.secret.look()
        origin, problem = self.secret.origin, self.secret.problem
        check = f"secret {self.secret.name}"
        if problem:
            text = f"{origin}: {problem}; the secret before stays in use until the file is corrected"
            health.degraded(check, text, needs_person=True)
            return
        if self.secret.value != self._taken_up:
            try:
                happened = await self._apply(self.secret.value)
            except TsyncError as error:
                health.degraded(check, f"{origin} changed, and the one before stays in use: {error}; trying again")
                return
            self._taken_up = self.secret.value
            log.info("%s changed: %s", origin, happened, extra=event("secret.changed", setting=origin))
        health.green(check)


async def at_once(_secret: str) -> str:
    """What becomes of a secret that is looked at each time it is needed."""
    return "it is asked for from now on"


async def take_up_rotated(rotations: Sequence[Rotation], health: Health) -> None:
    """Take up every change, until cancelled."""
    watched = [rotation.secret.path for rotation in rotations if rotation.secret.path is not None]
    async for _ in looks(watched):
        for rotation in rotations:
            await rotation.look(health)
