"""Accounts on secured servers with exactly the rights of docs/security.md, word for word."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from tests.support.stack import ONE_COLLECTION, Names, mongo_client, redis_client, typesense_client
from tsync_stream.embedded import EmbeddedStack, RedisServer

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
TIERS = ("PRIMARY", "BACKUP")


class Guarded(Protocol):
    """What makes a connection string."""

    def uri_of(self, user: str, password: str) -> str:
        """The connection string of a user."""


class Accounts:
    """The accounts of one deployment: a MongoDB user, a user on each Redis, and a Typesense key.

    `secrets` holds what was given out, by the name of its setting.
    """

    def __init__(self, stack: EmbeddedStack, names: Names) -> None:
        self._stack = stack
        self._names = names
        # Two deployments of one test have different names.
        self.user = f"{names.token}-{names.collection.removeprefix(names.token)}-{names.state_database}"
        self.secrets: dict[str, str] = {}
        self._keys: list[int] = []

    def make(self) -> None:
        """Make them all."""
        self.make_mongo_user(f"m0ngo-secret-{self._names.token}")
        for tier in TIERS:
            self.set_redis_password(tier, f"r3dis-secret-{tier}-{self._names.token}")
        self.secrets["TYPESENSE_API_KEY"] = self.make_key()

    def environment(self) -> dict[str, str]:
        """The settings that name the accounts."""
        return {**self.secrets, **{f"{tier}_REDIS_USERNAME": self.user for tier in TIERS}}

    def remove(self) -> None:
        """Remove them all."""
        with mongo_client(self._stack) as client:
            client.admin.command("dropUser", self.user)
            client.admin.command("dropRole", self.user)
        for tier in TIERS:
            self.call(tier, "ACL", "DELUSER", self.user)
            self.call(tier, "ACL", "SAVE")
        with typesense_client(self._stack) as typesense:
            for key in self._keys:
                typesense.delete(f"/keys/{key}")  # one that a test has deleted is not found

    def make_mongo_user(self, password: str) -> None:
        """A user with the documented role for what the deployment reads."""
        names = self._names
        role = recipe(names.reads, "json")
        text = role.replace('"neatlisting"', f'"{names.database}"').replace('"listings"', f'"{names.collection}"')
        described = json.loads(text.replace('"tsync"', f'"{names.state_database}"'))
        with mongo_client(self._stack) as client:
            client.admin.command({"createRole": self.user, **described})
            client.admin.command("createUser", self.user, pwd=password, roles=[self.user])
        mongo: Guarded = self._stack.mongo  # type: ignore[assignment]
        self.secrets["MONGODB_URI"] = mongo.uri_of(self.user, password)

    def set_redis_password(self, tier: str, password: str) -> None:
        """Make the ACL user of one tier, or give it another password alone."""
        key = {"PRIMARY": self._names.primary_queue_key, "BACKUP": self._names.backup_queue_key}[tier]
        words = recipe("Redis", "text").replace("typesense_sync_queue:", f"{key}:").split()
        self.call(tier, *[{"tsync": self.user, ">PASSWORD": f">{password}"}.get(word, word) for word in words])
        self.call(tier, "ACL", "SAVE")
        self.secrets[f"{tier}_REDIS_PASSWORD"] = password

    def call(self, tier: str, *command: str) -> Any:
        """One command, as Redis' administrator."""
        servers: dict[str, RedisServer] = {"PRIMARY": self._stack.primary_redis, "BACKUP": self._stack.backup_redis}
        with redis_client(servers[tier]) as client:
            return client.execute_command(*command)  # type: ignore[no-untyped-call]

    def make_key(self) -> str:
        """A further Typesense key with the documented rights for the deployment's collections."""
        names, described = self._names, json.loads(recipe("Typesense", "json"))
        target = names.typesense_collection if names.reads == ONE_COLLECTION else f"{names.token}_.*"
        described["collections"] = [each.replace("listings", target) for each in described["collections"]]
        with typesense_client(self._stack) as client:
            made = client.post("/keys", json=described).raise_for_status().json()
        self._keys.append(int(made["id"]))
        return str(made["value"])


@contextmanager
def snapshot_key(stack: EmbeddedStack) -> Iterator[str]:
    """A key that may make snapshots and nothing else. `tsync backup` needs no more, docs/security.md says."""
    wanted = {"description": "a test's", "actions": ["snapshot:create"], "collections": ["*"]}
    with typesense_client(stack) as typesense:
        made = typesense.post("/keys", json=wanted).raise_for_status().json()
        yield made["value"]
        typesense.delete(f"/keys/{made['id']}").raise_for_status()


def recipe(title: str, language: str, number: int = 0) -> str:
    """A block of a language under a heading of docs/security.md; 0 is the first one."""
    page = PAGE.read_text(encoding="utf-8")
    section = page[re.search(rf"^### {re.escape(title)}.*$", page, re.MULTILINE).end() :]  # type: ignore[union-attr]
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", section.partition("\n### ")[0], re.DOTALL)
    assert len(blocks) > number, f"{title} has only {len(blocks)} blocks of {language}"
    return blocks[number]
