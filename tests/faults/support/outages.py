"""Outages of servers, each as a context manager: the outage lasts as long as the block.

To add one, write a function here and its line in `OUTAGES`; those of Redis are in `redis_outages.py`.
`tests/faults/test_health_names_outages.py` runs them all.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from tests.faults.support.guarded_mongo import GuardedMongo
from tests.faults.support.trial import Trial
from tests.support.proxy import Proxy
from tests.support.stack import typesense_client
from tsync_stream.embedded import Server

# The API key of the replicas, which can be revoked without affecting the tests.
REPLICAS_KEY = "the-replicas-key"
NEEDED_ACTIONS = ["collections:*", "documents:*", "stats.json:list", "metrics.json:list"]

WORK_COMMANDS = ["find", "aggregate", "getMore", "insert", "update", "delete", "listCollections"]
SLOW_MS = 3_000
SLOW_TYPESENSE_S = 8.0


@dataclass
class Place:
    """Where an outage happens: the trial with its guarded mongod, and the proxies to the other servers."""

    trial: Trial
    proxy: Proxy  # before Typesense
    redis_proxies: Mapping[str, Proxy]  # by tier

    @property
    def mongo(self) -> GuardedMongo:
        """The guarded mongod."""
        server = self.trial.stack.mongo
        assert isinstance(server, GuardedMongo)
        return server


Outage: TypeAlias = Callable[[Place], AbstractContextManager[None]]


def killed(server: Callable[[Place], Server]) -> Outage:
    """kill -9, and a restart at the end."""

    @contextmanager
    def outage(place: Place) -> Iterator[None]:
        server(place).kill()
        try:
            yield
        finally:
            server(place).start()

    return outage


def frozen(server: Callable[[Place], Server]) -> Outage:
    """It keeps its connections and does not answer."""

    @contextmanager
    def outage(place: Place) -> Iterator[None]:
        server(place).freeze()
        try:
            yield
        finally:
            server(place).thaw()

    return outage


@contextmanager
def mongo_credentials(place: Place) -> Iterator[None]:
    """The replicas' user is dropped and recreated with the same password: older connections stay useless."""
    place.mongo.drop_user()
    try:
        yield
    finally:
        place.mongo.create_user(place.trial.names)


@contextmanager
def mongo_source_role(place: Place) -> Iterator[None]:
    """The right to read the source is revoked; the state database still works."""
    roles = place.mongo.roles(place.trial.names)
    place.mongo.set_roles([role for role in roles if role["db"] != place.trial.names.database])
    try:
        yield
    finally:
        place.mongo.set_roles(roles)


@contextmanager
def mongo_state_role(place: Place) -> Iterator[None]:
    """The state database may be read but not written."""
    roles = place.mongo.roles(place.trial.names)
    place.mongo.set_roles([{**role, "role": "read"} for role in roles])
    try:
        yield
    finally:
        place.mongo.set_roles(roles)


def _mongo_fails(commands: list[str], **how: object) -> Outage:
    @contextmanager
    def outage(place: Place) -> Iterator[None]:
        place.mongo.fail_commands(commands, **how)
        try:
            yield
        finally:
            place.mongo.fail_nothing()

    return outage


def make_key(place: Place, actions: list[str]) -> None:
    """Create the replicas' key with these rights."""
    with typesense_client(place.trial.stack) as client:
        key = {"description": "replicas", "actions": actions, "collections": [".*"], "value": REPLICAS_KEY}
        client.post("/keys", json=key).raise_for_status()


def remove_keys(place: Place) -> None:
    """Remove every key but the server's own, which the tests use."""
    with typesense_client(place.trial.stack) as client:
        for key in client.get("/keys").raise_for_status().json()["keys"]:
            client.delete(f"/keys/{key['id']}").raise_for_status()


@contextmanager
def _with_key(place: Place, actions: list[str]) -> Iterator[None]:
    remove_keys(place)
    if actions:
        make_key(place, actions)
    try:
        yield
    finally:
        remove_keys(place)
        make_key(place, NEEDED_ACTIONS)


def typesense_credentials(place: Place) -> AbstractContextManager[None]:
    """The replicas' key is revoked, and created again."""
    return _with_key(place, [])


def typesense_import(place: Place) -> AbstractContextManager[None]:
    """The replicas' key may do everything except import."""
    return _with_key(place, ["collections:*", "documents:get", "documents:export", "documents:delete"])


@contextmanager
def typesense_slow(place: Place) -> Iterator[None]:
    """Most requests take longer than their deadline."""
    place.proxy.delay(SLOW_TYPESENSE_S)
    try:
        yield
    finally:
        place.proxy.restore()


OUTAGES: Mapping[str, Outage] = {
    "MongoDB is killed": killed(lambda place: place.mongo),
    "MongoDB is frozen": frozen(lambda place: place.mongo),
    "MongoDB refuses the credentials": mongo_credentials,
    "MongoDB refuses to read the source": mongo_source_role,
    "MongoDB refuses to write our state": mongo_state_role,
    "MongoDB refuses the change stream": _mongo_fails(["aggregate", "getMore"], errorCode=13),
    "MongoDB is slow": _mongo_fails(WORK_COMMANDS, blockConnection=True, blockTimeMS=SLOW_MS),
    "Typesense is killed": killed(lambda place: place.trial.stack.typesense),
    "Typesense is frozen": frozen(lambda place: place.trial.stack.typesense),
    "Typesense refuses the credentials": typesense_credentials,
    "Typesense refuses imports": typesense_import,
    "Typesense is slow": typesense_slow,
}
