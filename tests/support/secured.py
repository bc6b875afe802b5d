"""Servers that speak TLS only and ask for a client certificate, and accounts with exactly the documented rights.

mongod and Typesense speak TLS themselves. The wheels' Redis and Valkey are built without it, so a TLS front stands
before each of them, as stunnel would. The rights are those of docs/security.md, word for word.
"""

import json
import re
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import trustme
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure

from tests.support.proxy import Proxy
from tests.support.stack import Names, mongo_client, redis_client, typesense_client
from tsync_stream.embedded import EmbeddedStack, RedisServer
from tsync_stream.embedded.servers import REPLICA_SET, MongoServer, TypesenseServer
from tsync_stream.embedded.supervised import LOOPBACK, PROBE_TIMEOUT_S, accepts_connections

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
ADMIN, ADMINS_PASSWORD = "admin", "adm1n-of-the-tests"


@dataclass(frozen=True)
class Certificates:
    """PEM files: the authority, a server's certificate with its key, and the client's certificate and key."""

    ca: Path
    server: Path
    client: Path
    client_key: Path
    client_both: Path

    @classmethod
    def issue(cls, directory: Path) -> "Certificates":
        """Issue them all, for this machine."""
        directory.mkdir()
        names = ("ca.pem", "server.pem", "client.pem", "client.key", "client-both.pem")
        made = cls(*(directory / name for name in names))
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(made.ca))
        authority.issue_cert("localhost", LOOPBACK).private_key_and_cert_chain_pem.write_to_path(str(made.server))
        client = authority.issue_cert("tsync-stream.example.com")
        client.cert_chain_pems[0].write_to_path(str(made.client))
        client.private_key_pem.write_to_path(str(made.client_key))
        client.private_key_and_cert_chain_pem.write_to_path(str(made.client_both))
        return made

    def server_context(self) -> ssl.SSLContext:
        """A server that lets nobody in without a certificate of the authority."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca)
        context.load_cert_chain(self.server)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


class TlsMongo(MongoServer):
    """mongod with TLS, client certificates and users; `uri` is the administrator's."""

    def __init__(self, directory: Path, certificates: Certificates) -> None:
        super().__init__("mongo", directory, [])
        self._certificates = certificates
        key_file = self.directory.parent / "members.key"
        key_file.touch(mode=0o600)
        key_file.write_text("onlyTheMembersOfTheTestsReplicaSetKnowIt")
        self._members_key = key_file

    @property
    def options(self) -> str:
        """What a URI says of TLS."""
        files = self._certificates
        return f"tls=true&tlsCAFile={files.ca}&tlsCertificateKeyFile={files.client_both}"

    @property
    def uri(self) -> str:
        return self.uri_of(ADMIN, ADMINS_PASSWORD)

    def uri_of(self, user: str, password: str) -> str:
        """The connection string of a user."""
        place = f"{LOOPBACK}:{self.port}"
        return f"mongodb://{user}:{password}@{place}/?replicaSet={REPLICA_SET}&authSource=admin&{self.options}"

    def _arguments(self) -> list[str]:
        files = self._certificates
        return [
            *super()._arguments(),
            *("--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(files.server), "--tlsCAFile", str(files.ca)),
            *("--auth", "--keyFile", str(self._members_key)),
        ]

    def _probe(self) -> str | None:
        if not accepts_connections(self.port):
            return None
        timeout_ms = int(PROBE_TIMEOUT_S * 1000)
        client: MongoClient[dict[str, Any]]
        uri = f"mongodb://{LOOPBACK}:{self.port}/?directConnection=true&{self.options}"
        with MongoClient(uri, serverSelectionTimeoutMS=timeout_ms) as client:
            try:
                hello = client.admin.command("hello")
                if "setName" not in hello:
                    members = [{"_id": 0, "host": f"{LOOPBACK}:{self.port}"}]
                    client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": members})
                if not hello.get("isWritablePrimary"):
                    return None
                with suppress(OperationFailure):  # who comes from this machine may make the first user, nobody else
                    client.admin.command("createUser", ADMIN, pwd=ADMINS_PASSWORD, roles=["root"])
                return str(client.admin.command("buildInfo")["version"])
            except (ConnectionFailure, OperationFailure):
                return None


class TlsTypesense(TypesenseServer):
    """Typesense with its own TLS, which knows no client certificates."""

    def __init__(self, directory: Path, certificates: Certificates) -> None:
        super().__init__("typesense", directory, "b00tstrap-key-of-the-tests")
        self.ca_file = certificates.ca
        self._certificate = certificates.server

    def _arguments(self) -> list[str]:
        certificate = str(self._certificate)
        return [*super()._arguments(), f"--ssl-certificate={certificate}", f"--ssl-certificate-key={certificate}"]

    def _get(self, path: str) -> dict[str, Any]:
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            headers = {"X-TYPESENSE-API-KEY": self.api_key}
            url = f"https://{LOOPBACK}:{self.port}{path}"
            answer: dict[str, Any] = httpx.get(url, headers=headers, verify=context, timeout=PROBE_TIMEOUT_S).json()
        except httpx.HTTPError as error:
            raise OSError from error
        return answer


@dataclass
class Secured:
    """The servers, the ports of the two TLS fronts, and the certificates."""

    stack: EmbeddedStack
    fronts: dict[str, Proxy]
    certificates: Certificates
    mongo: TlsMongo

    def environment(self, names: Names, secrets: "Secrets") -> dict[str, str]:
        """The settings of a worker; its secrets come from files."""
        files = self.certificates
        found = {**names.environment(), **secrets.environment(), "TYPESENSE_TLS_CA_FILE": str(files.ca)}
        found |= {"TYPESENSE_PROTOCOL": "https", "MONGODB_URI": "", "TYPESENSE_API_KEY": ""}
        for tier, front in self.fronts.items():
            own = {
                "PORT": str(front.port),
                "USERNAME": names.token,
                "PASSWORD": "",
                "TLS": "true",
                "TLS_CA_FILE": str(files.ca),
                "TLS_CERT_FILE": str(files.client),
                "TLS_KEY_FILE": str(files.client_key),
            }
            found |= {f"{tier}_REDIS_{name}": text for name, text in own.items()}
        return found


@contextmanager
def secured_stack(directory: Path) -> Iterator[Secured]:
    """Start all servers, each behind TLS."""
    certificates = Certificates.issue(directory / "certificates")
    stack = EmbeddedStack(directory / "stack")
    stack.directory.mkdir()
    mongo = TlsMongo(stack.directory, certificates)
    stack.mongo, stack.typesense = mongo, TlsTypesense(stack.directory, certificates)
    stack.servers |= {"mongo": stack.mongo, "typesense": stack.typesense}
    with stack, ExitStack() as running:
        servers = {"PRIMARY": stack.primary_redis, "BACKUP": stack.backup_redis}
        fronts = {
            tier: running.enter_context(Proxy(server.port, tls=certificates.server_context()))
            for tier, server in servers.items()
        }
        yield Secured(stack, fronts, certificates, mongo)


# ---- the documented rights ----


class Secrets:
    """The secrets of one worker: files in a folder of its own, and accounts on the servers that have these rights."""

    def __init__(self, secured: Secured, names: Names, directory: Path) -> None:
        self._secured = secured
        self._names = names
        self.directory = directory
        directory.mkdir()
        self.used: set[str] = set()

    def environment(self) -> dict[str, str]:
        """The settings that name the files."""
        names = ("MONGODB_URI", "TYPESENSE_API_KEY", "PRIMARY_REDIS_PASSWORD", "BACKUP_REDIS_PASSWORD")
        return {f"{name}_FILE": str(self.directory / name) for name in names}

    def write(self, name: str, text: str) -> None:
        """Replace a file by another, as a person's editor or Kubernetes does."""
        fresh = self.directory / f".{name}"
        fresh.write_text(f"{text}\n")
        fresh.rename(self.directory / name)
        self.used.add(text.partition("@")[0].rpartition(":")[2] if "@" in text else text)

    def make_mongo_user(self, scope: str, password: str) -> None:
        """A user with the documented role for `scope`: "one collection", "one database" or "several databases"."""
        names = self._names
        role = recipe(scope, "json")
        text = role.replace('"neatlisting"', f'"{names.database}"').replace('"listings"', f'"{names.collection}"')
        described = json.loads(text.replace('"tsync"', f'"{names.state_database}"'))
        with mongo_client(self._secured.stack) as client:
            client.admin.command({"createRole": names.token, **described})
            client.admin.command("createUser", names.token, pwd=password, roles=[names.token])
        self.write("MONGODB_URI", self._secured.mongo.uri_of(names.token, password))

    def set_redis_password(self, tier: str, password: str) -> None:
        """Make the ACL user of one tier, or give it another password alone."""
        names, stack = self._names, self._secured.stack
        server = {"PRIMARY": stack.primary_redis, "BACKUP": stack.backup_redis}[tier]
        key = {"PRIMARY": names.primary_queue_key, "BACKUP": names.backup_queue_key}[tier]
        words = recipe("Redis", "text").replace("typesense_sync_queue:", f"{key}:").split()
        words = [{"tsync": names.token, ">PASSWORD": f">{password}"}.get(word, word) for word in words]
        self.call(server, *words)

    def call(self, server: RedisServer, *command: str) -> Any:
        """One command, as Redis' administrator."""
        with redis_client(server) as client:
            return client.execute_command(*command)  # type: ignore[no-untyped-call]

    def make_key(self, *targets: str) -> tuple[int, str]:
        """A Typesense key with the documented rights for these collections, or for that of the names; id and value."""
        described = json.loads(recipe("Typesense", "json"))
        of_a_route, fixed = described["collections"][:2], described["collections"][2:]
        named = targets or [self._names.typesense_collection]
        described["collections"] = [name.replace("listings", target) for target in named for name in of_a_route] + fixed
        with typesense_client(self._secured.stack) as client:
            made = client.post("/keys", json=described).raise_for_status().json()
        return int(made["id"]), str(made["value"])


def recipe(title: str, language: str) -> str:
    """The first block of a language under a heading of docs/security.md."""
    page = PAGE.read_text(encoding="utf-8")
    section = page[re.search(rf"^### {re.escape(title)}.*$", page, re.MULTILINE).end() :]  # type: ignore[union-attr]
    block = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert block is not None, f"{title} has no block of {language}"
    return block[1]
