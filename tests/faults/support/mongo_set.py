"""A MongoDB replica set of three nodes, for elections, which one node cannot show."""

import copy
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import AutoReconnect, ConnectionFailure, OperationFailure

from tests.support.waiting import wait_for
from tests.support.worker import free_ports
from tsync_stream.embedded import EmbeddedStack, MongoServer
from tsync_stream.embedded.supervised import LOOPBACK, accepts_connections

NODES = 3


class Node(MongoServer):
    """One mongod of the set; ready when it answers. `three_nodes` initiates the set."""

    def _probe(self) -> str | None:
        if not accepts_connections(self.port):
            return None
        with closing(direct_client(self)) as client:
            try:
                return str(client.admin.command("buildInfo")["version"])
            except (ConnectionFailure, OperationFailure):
                return None


class MongoSet(MongoServer):
    """The set, in the place of a stack's single server."""

    nodes: list[Node]

    @property
    def uri(self) -> str:
        hosts = ",".join(f"{LOOPBACK}:{node.port}" for node in self.nodes)
        return f"mongodb://{hosts}/?replicaSet=rs0"


def direct_client(node: Node) -> MongoClient[dict[str, Any]]:
    """A client of this one node."""
    return MongoClient(LOOPBACK, node.port, directConnection=True, serverSelectionTimeoutMS=2_000)


def primary(nodes: list[Node]) -> Node | None:
    """The current primary, if there is one."""
    for node in nodes:
        with closing(direct_client(node)) as client, suppress(ConnectionFailure, OperationFailure):
            if client.admin.command("hello").get("isWritablePrimary"):
                return node
    return None


def step_down(nodes: list[Node]) -> None:
    """Make the primary step down; returns when another node is primary."""
    before = primary(nodes)
    assert before is not None
    with closing(direct_client(before)) as client, suppress(AutoReconnect):
        client.admin.command("replSetStepDown", 10, secondaryCatchUpPeriodSecs=5)
    wait_for(lambda: primary(nodes) not in {None, before}, 30.0, "no other node becomes primary")


@contextmanager
def three_nodes(stack: EmbeddedStack, directory: Path) -> Iterator[tuple[EmbeddedStack, list[Node]]]:
    """The same stack, with three mongods in place of its one."""
    nodes = [Node(f"mongo{number}", directory, ["--wiredTigerCacheSizeGB", "0.25"]) for number in range(NODES)]
    try:
        for node, port in zip(nodes, free_ports(NODES), strict=True):
            node.executable = stack.mongo.executable
            node.ports = {"port": port}
            node.launch()
        for node in nodes:
            node.wait_ready()
        members = [{"_id": number, "host": f"{LOOPBACK}:{node.port}"} for number, node in enumerate(nodes)]
        settings = {"electionTimeoutMillis": 1_000}
        with closing(direct_client(nodes[0])) as client:
            client.admin.command("replSetInitiate", {"_id": "rs0", "members": members, "settings": settings})
        wait_for(lambda: primary(nodes) is not None, 60.0, "the set has no primary")
        with_set = copy.copy(stack)
        with_set.mongo = MongoSet("mongo", directory, [])
        with_set.mongo.nodes = nodes
        yield with_set, nodes
    finally:
        for node in nodes:
            node.kill()  # on SIGTERM, a primary would wait for its followers first
