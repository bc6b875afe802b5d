"""A worker with only the documented rights on servers that speak TLS only, with its secrets in files that change.

The servers are started once for this module: mongod and Typesense with their own TLS, both Redis behind a TLS front.
"""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.acceptance.conftest import Equal, Source
from tests.acceptance.state import State
from tests.support.forked import ForkedWorker
from tests.support.listings import listing, listings
from tests.support.many_routes import ManyRoutes
from tests.support.rights import TIERS, Accounts
from tests.support.secured import Certificates, SecuredStack, secured_stack
from tests.support.stack import FAIL_POINTS, Names, typesense_client
from tests.support.waiting import wait_for
from tests.support.worker import Worker

pytestmark = pytest.mark.timeout(900)  # a full round of every command, on servers of its own


class Secrets:
    """The secrets of a deployment's accounts, in files."""

    def __init__(self, accounts: Accounts, directory: Path) -> None:
        self.accounts = accounts
        self.directory = directory
        self.used: set[str] = set()
        directory.mkdir()
        for name, text in accounts.secrets.items():
            self.write(name, text)

    def environment(self) -> dict[str, str]:
        """The settings that name the files, and leave out what is in them."""
        names = self.accounts.secrets
        return {f"{name}_FILE": str(self.directory / name) for name in names} | dict.fromkeys(names, "")

    def write(self, name: str, text: str) -> None:
        """Replace a file by another, as a person's editor or Kubernetes does."""
        fresh = self.directory / f".{name}"
        fresh.write_text(f"{text}\n")
        fresh.rename(self.directory / name)
        self.used.add(text.partition("@")[0].rpartition(":")[2] if "@" in text else text)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[SecuredStack]:
    """All servers, behind TLS."""
    if request.config.getoption("--secured"):
        yield request.getfixturevalue("stack")
    else:
        with secured_stack(tmp_path_factory.mktemp("secured") / "stack", FAIL_POINTS) as servers:
            yield servers


@pytest.fixture
def secrets(stack: SecuredStack, names: Names, tmp_path: Path) -> Secrets:
    """The accounts of a worker, with the documented rights for what the test marks as `reads`."""
    return Secrets(stack.accounts(names), tmp_path / "secrets")


@pytest.fixture
def worker(
    stack: SecuredStack,
    names: Names,
    source: Source,
    secrets: Secrets,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Worker]:
    """A worker, not started yet; forked unless the test asks for a command of its own."""
    kind = getattr(request, "param", ForkedWorker)
    replica = kind(stack, names, tmp_path, **secrets.environment(), FAIL_BACK_AFTER="2s")
    try:
        yield replica
    finally:
        if replica.running:
            replica.kill()
        if replica.log_path.exists():  # one that only runs commands has none
            print(f"--- the end of the worker's log ---\n{replica.log()[-8000:]}")


def assert_tells_no_secret(secrets: Secrets, *texts: str) -> None:
    """None of them is anywhere, in whole or as a recognisable part."""
    for secret in secrets.used:
        for text in texts:
            assert secret not in text, "a secret is printed"


@pytest.mark.parametrize("worker", [Worker], indirect=True)
def test_a_worker_with_the_documented_rights_alone_keeps_every_promise_over_tls(
    stack: SecuredStack, source: Source, state: State, secrets: Secrets, worker: Worker, equal: Equal
) -> None:
    printed = []

    def run(*arguments: str) -> str:
        done = worker.run_command(*arguments)
        printed.extend([done.stdout, done.stderr])
        assert done.returncode == 0, f"{arguments}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    source.insert_many(listings(300))
    assert "no problems found" in run("check")
    worker.start()
    equal()  # the first load
    source.insert_many(listings(100, seed=2, first=300))
    source.update_many({}, {"$inc": {"rooms": 1}})
    source.delete_many({"_id": {"$in": [document["_id"] for document in source.find().limit(20)]}})
    equal()  # live changes
    wait_for(lambda: worker.health()["status"] == "green", 20.0, lambda: str(worker.health()))

    stack.fronts["PRIMARY"].cut()  # an outage
    source.insert_many(listings(100, seed=3, first=1_000))
    equal()
    stack.fronts["PRIMARY"].restore()
    wait_for(lambda: worker.health()["status"] == "green", 40.0, lambda: str(worker.health()))

    run("reconcile", "--wait")
    assert "0" in run("verify", "--wait")
    source.insert_one({**listing(5_000, random.Random(1)), "rooms": "not a number"})
    state.wait_for_letters(1)
    printed.append(run("dead-letters"))
    source.update_many({"rooms": "not a number"}, {"$set": {"rooms": 3}})
    run("replay", "--all", "--wait")
    equal()
    run("status")
    printed += [str(worker.health()), str(worker.metrics()), worker.log(), str(psutil.Process(worker.pid).cmdline())]
    assert_tells_no_secret(secrets, *printed)
    assert not re.search(r"may not|NOPERM|not allowed", worker.log()), worker.log()


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("near", marks=pytest.mark.reads("one database")),
        pytest.param("far", marks=pytest.mark.reads("several databases")),
    ],
)
def test_several_routes_need_the_documented_rights_alone(
    stack: SecuredStack, names: Names, source: Source, worker: Worker, tmp_path: Path, place: str
) -> None:
    """A route that shows documents of another collection, and one of another collection or database beside it."""
    client = source.database.client
    routes = ManyRoutes(stack, names, client, tmp_path)
    client[routes.near].create_collection("sellers")
    routes.declare({"plain": (getattr(routes, place), "articles"), "joined": (routes.near, "products")})
    with routes.file.open("a") as file:
        file.write("    lookups: [{from: sellers, local: seller_id, as: seller, fields: [name]}]\n")
    worker.environment |= routes.settings()
    sellers, products = client[routes.near]["sellers"], routes.source("joined")
    sellers.insert_one({"_id": 1, "name": "Ann"})
    products.insert_many([{"_id": f"p{number}", "seller_id": 1} for number in range(50)])
    routes.source("plain").insert_many(listings(50))
    checked = worker.run_command("check")
    assert "no problems found" in checked.stdout, checked.stdout
    worker.start()

    def sellers_shown() -> set[str]:
        return {document["seller"]["name"] for document in routes.shown("joined").values()}

    wait_for(lambda: len(routes.shown("joined")) == 50 and sellers_shown() == {"Ann"}, 30.0, "no first load")
    sellers.update_one({"_id": 1}, {"$set": {"name": "Bea"}})
    routes.source("plain").update_many({}, {"$inc": {"rooms": 1}})
    wait_for(lambda: sellers_shown() == {"Bea"}, 30.0, "the seller's new name is not shown")
    routes.wait_until_equal("plain")
    for command in (("reconcile", "--route", "plain", "--wait"), ("verify", "--route", "joined", "--wait")):
        done = worker.run_command(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    wait_for(lambda: worker.health()["status"] == "green", 40.0, lambda: str(worker.health()))
    assert not re.search(r"may not|NOPERM|not allowed|not authorized", worker.log()), worker.log()


def test_rotated_secrets_are_taken_up_within_seconds_and_nothing_is_lost(
    stack: SecuredStack, source: Source, secrets: Secrets, worker: Worker, equal: Equal
) -> None:
    """The Redis password changes on the server first, the key in the file first; the old ones are refused at once."""
    worker.start()
    source.insert_many(listings(100))
    equal()

    for tier in TIERS:
        secrets.accounts.set_redis_password(tier, f"n3w-secret-{tier}")
        secrets.accounts.call(tier, "CLIENT", "KILL", "USER", secrets.accounts.user)
        source.insert_many(listings(50, seed=2, first=1_000 if tier == "PRIMARY" else 2_000))
        secrets.write(f"{tier}_REDIS_PASSWORD", f"n3w-secret-{tier}")
    for tier in TIERS:
        origin = f"{tier}_REDIS_PASSWORD_FILE"
        wait_for(lambda name=origin: f"{name} changed: " in worker.log(), 10.0, f"{origin} is not taken up")  # type: ignore[misc]
    equal()

    # The same key as it would be before the server knows it: refused, so the one before stays in use.
    secrets.write("TYPESENSE_API_KEY", "not-a-key-yet")
    wait_for(lambda: "TYPESENSE_API_KEY_FILE changed" in str(worker.health()), 10.0, "health does not name it")
    source.insert_many(listings(50, seed=3, first=3_000))
    equal()
    value = secrets.accounts.make_key()
    secrets.write("TYPESENSE_API_KEY", value)
    wait_for(lambda: "TYPESENSE_API_KEY_FILE changed: " in worker.log(), 10.0, "the key is not taken up")
    with typesense_client(stack) as typesense:
        for key in typesense.get("/keys").raise_for_status().json()["keys"]:
            if not value.startswith(key["value_prefix"]):
                typesense.delete(f"/keys/{key['id']}").raise_for_status()
    source.insert_many(listings(50, seed=4, first=4_000))
    equal()
    wait_for(lambda: worker.health()["status"] == "green", 40.0, lambda: str(worker.health()))
    assert_tells_no_secret(secrets, worker.log(), str(worker.health()))


def test_check_says_what_is_wrong_with_tls_in_plain_words(secrets: Secrets, worker: Worker, tmp_path: Path) -> None:
    stranger = Certificates.issue(tmp_path / "stranger")
    uri = (secrets.directory / "MONGODB_URI").read_text().strip()
    secrets.write("MONGODB_URI", re.sub(r"tlsCAFile=[^&]*", f"tlsCAFile={stranger.ca}", uri))
    worker.environment |= {
        "TYPESENSE_TLS_CA_FILE": "",
        "TYPESENSE_TLS_VERIFY": "false",
        "PRIMARY_REDIS_TLS_CERT_FILE": "",
        "PRIMARY_REDIS_TLS_KEY_FILE": "",
        "BACKUP_REDIS_TLS_CA_FILE": str(stranger.ca),
    }
    expected = (
        "signed by an authority trusted here",
        "set tlsCAFile in MONGODB_URI",
        "set BACKUP_REDIS_TLS_CA_FILE",
        "if it requires a client certificate, set PRIMARY_REDIS_TLS_CERT_FILE and PRIMARY_REDIS_TLS_KEY_FILE",
        "TYPESENSE_TLS_VERIFY=false: the server's certificate is not checked",
    )
    told = [""]

    def all_told() -> bool:
        done = worker.run_command("check", "--json")  # which gives each server seconds, on a busy machine too few
        assert done.returncode == 1, done.stderr
        told.append(done.stdout)
        return all(words in done.stdout for words in expected)

    wait_for(all_told, 120.0, lambda: f"not all of it is told: {told[-1]}")
    assert_tells_no_secret(secrets, *told)
