"""Servers that speak TLS only and ask for a client certificate. Each deployment has accounts of its own on them.

mongod and Typesense speak TLS themselves. The wheels' Redis and Valkey are built without it, so a TLS front stands
before each of them, as stunnel would. The tests' own clients are administrators; they reach Redis behind its front.
"""

import ssl
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import trustme
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure

from tests.support.proxy import Proxy
from tests.support.rights import Accounts
from tests.support.stack import Names
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.embedded.servers import REPLICA_SET, MongoServer, TypesenseServer
from tsync_stream.embedded.supervised import LOOPBACK, PROBE_TIMEOUT_S, accepts_connections

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

    def __init__(self, directory: Path, certificates: Certificates, arguments: Sequence[str]) -> None:
        super().__init__("mongo", directory, arguments)
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


class SecuredStack(EmbeddedStack):
    """All servers, to be used through `secured_stack`, which also runs the TLS fronts of both Redis, by tier."""

    def __init__(self, directory: Path, mongod_arguments: Sequence[str]) -> None:
        super().__init__(directory)
        self.directory.mkdir(parents=True)
        self.certificates = Certificates.issue(directory / "certificates")
        self.mongo: TlsMongo = TlsMongo(self.directory, self.certificates, mongod_arguments)
        self.typesense = TlsTypesense(self.directory, self.certificates)
        self.servers |= {"mongo": self.mongo, "typesense": self.typesense}
        for server in (self.primary_redis, self.backup_redis):
            users = self.directory / f"{server.name}.acl"  # without it a restart forgets all users
            users.touch()
            server.extra_arguments += ["--aclfile", str(users)]
        self.fronts: dict[str, Proxy] = {}
        self._accounts: dict[Names, Accounts] = {}

    def environment(self) -> dict[str, str]:
        """How to reach the servers, without any account."""
        found = {**super().environment(), "TYPESENSE_PROTOCOL": "https", "MONGODB_URI": "", "TYPESENSE_API_KEY": ""}
        files = self.certificates
        found["TYPESENSE_TLS_CA_FILE"] = str(files.ca)
        for tier, front in self.fronts.items():
            own = {"CA_FILE": files.ca, "CERT_FILE": files.client, "KEY_FILE": files.client_key}
            found |= {f"{tier}_REDIS_TLS_{name}": str(path) for name, path in own.items()}
            found |= {f"{tier}_REDIS_TLS": "true", f"{tier}_REDIS_PORT": str(front.port)}
        return found

    def settings_of(self, names: Names) -> dict[str, str]:
        """How a deployment reaches them, with its accounts."""
        return {**self.environment(), **self.accounts(names).environment()}

    def accounts(self, names: Names) -> Accounts:
        """The accounts of a deployment, with exactly the documented rights. They are made at the first call."""
        if names not in self._accounts:
            accounts = Accounts(self, names)
            accounts.make()
            self._accounts[names] = accounts
        return self._accounts[names]

    def forget(self, names: Names) -> None:
        """Remove the accounts of a test's deployments."""
        for known in [each for each in self._accounts if each.token == names.token]:
            self._accounts.pop(known).remove()


@contextmanager
def secured_stack(directory: Path, mongod_arguments: Sequence[str]) -> Iterator[SecuredStack]:
    """Start all servers, each behind TLS."""
    stack = SecuredStack(directory, mongod_arguments)
    with stack, ExitStack() as running:
        context = stack.certificates.server_context()
        for tier, server in (("PRIMARY", stack.primary_redis), ("BACKUP", stack.backup_redis)):
            stack.fronts[tier] = running.enter_context(Proxy(server.port, tls=context))
        yield stack
