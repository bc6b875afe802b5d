"""Outages of one of the two Redis servers, each as a context manager: the outage lasts as long as the block."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.faults.support import damage
from tests.faults.support.outages import Outage, Place, frozen, killed
from tests.support.redis_rights import without
from tsync_stream.embedded import RedisServer

SLOW_REDIS_S = 8.0


def _server(tier: str, place: Place) -> RedisServer:
    stack = place.trial.stack
    return {"primary": stack.primary_redis, "backup": stack.backup_redis}[tier]


def _credentials(tier: str) -> Outage:
    @contextmanager
    def outage(place: Place) -> Iterator[None]:
        """The password changes, and changes back at the end."""
        server = _server(tier, place)
        damage.change_password(server)
        try:
            yield
        finally:
            damage.change_password_back(server)

    return outage


def _without(tier: str, *rules: str) -> Outage:
    @contextmanager
    def outage(place: Place) -> Iterator[None]:
        """Rights are revoked, also for open connections, and given back at the end."""
        with without(_server(tier, place), *rules):
            yield

    return outage


@contextmanager
def probe_alone(place: Place) -> Iterator[None]:
    """The primary Redis allows every probe and none of the work: no probe can tell."""
    key = place.trial.names.primary_queue_key
    with without(place.trial.stack.primary_redis, "resetkeys", f"~{key}:{{probe-*", f"~{key}:probe-*"):
        yield


def _slow(tier: str) -> Outage:
    @contextmanager
    def outage(place: Place) -> Iterator[None]:
        """Most answers arrive after their deadline."""
        place.redis_proxies[tier].delay(SLOW_REDIS_S)
        try:
            yield
        finally:
            place.redis_proxies[tier].restore()

    return outage


def _outages(tier: str, refused: str) -> dict[str, Outage]:
    name = f"the {tier} Redis"
    return {
        f"{name} is killed": killed(lambda place: _server(tier, place)),
        f"{name} is frozen": frozen(lambda place: _server(tier, place)),
        f"{name} refuses the credentials": _credentials(tier),
        f"{name} resets the user": _without(tier, "reset"),
        f"{name} refuses {refused}": _without(tier, f"-{refused}"),
        f"{name} is slow": _slow(tier),
    }


REDIS_OUTAGES: Mapping[str, Outage] = {
    **_outages("primary", "xreadgroup"),
    **_outages("backup", "evalsha"),
    "the primary Redis allows the probe alone": probe_alone,
}
