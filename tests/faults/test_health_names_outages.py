"""Whatever is wrong with a server, every replica's health reports it within 20 s and until it is over.

Meanwhile their logs stay short, and everything ends equal without a restart. The option `--fault-hold` sets how long
each outage lasts; if that is less than health may take, a selection of outages stands for all.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.faults.support.guarded_mongo import guarded_mongo
from tests.faults.support.outages import NEEDED_ACTIONS, OUTAGES, Place, make_key, remove_keys
from tests.faults.support.outages import REPLICAS_KEY as KEY
from tests.faults.support.redis_outages import REDIS_OUTAGES
from tests.faults.support.trial import Trial
from tests.support.proxy import Proxy
from tests.support.waiting import holds_for, wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

pytestmark = pytest.mark.timeout(1_800)
Seed = Callable[[int], int]

ALL_OUTAGES = {**OUTAGES, **REDIS_OUTAGES}
SHORT = (
    "MongoDB is killed",
    "MongoDB is frozen",
    "MongoDB refuses to write our state",
    "MongoDB refuses the change stream",
    "Typesense is frozen",
    "Typesense refuses the credentials",
    "Typesense refuses imports",
    "the primary Redis is killed",
    "the primary Redis refuses the credentials",
    "the backup Redis is slow",
    "the backup Redis refuses evalsha",
)
REPORTS_WITHIN_S = 20.0
MOST_LOG_LINES = 100
# A tier whose probes succeed and that fails at work is set aside for longer each time: at most as long as it all took.
SET_ASIDE = {"the primary Redis allows the probe alone"}
# Low, since idle replicas must notice an outage too.
RATE = 20.0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every outage if they are held for long, otherwise a selection."""
    if "name" in metafunc.fixturenames:
        is_short = metafunc.config.getoption("--fault-hold") < REPORTS_WITHIN_S
        metafunc.parametrize("name", SHORT if is_short else ALL_OUTAGES)


@pytest.fixture(scope="module")
def guarded(stack: EmbeddedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    with guarded_mongo(stack, tmp_path_factory.mktemp("guarded")) as with_guard:
        yield with_guard


@pytest.fixture
def place(trial: Trial, guarded: EmbeddedStack) -> Iterator[Place]:
    """The replicas' users have no more rights than they need."""
    trial.use(guarded)
    redis = {"primary": guarded.primary_redis, "backup": guarded.backup_redis}
    with ExitStack() as proxies:
        proxy = proxies.enter_context(Proxy(guarded.typesense.port))
        redis_proxies = {tier: proxies.enter_context(Proxy(server.port)) for tier, server in redis.items()}
        made = Place(trial, proxy, redis_proxies)
        made.mongo.create_user(trial.names)
        make_key(made, NEEDED_ACTIONS)
        trial.cluster.settings |= {
            "MONGODB_URI": made.mongo.worker_uri,
            "TYPESENSE_PORT": str(proxy.port),
            "TYPESENSE_API_KEY": KEY,
            **{f"{tier.upper()}_REDIS_PORT": str(between.port) for tier, between in redis_proxies.items()},
        }
        try:
            yield made
        finally:
            trial.cluster.end()
            made.mongo.thaw()
            made.mongo.start()
            made.mongo.fail_nothing()
            made.mongo.drop_user()
            for server in (guarded.typesense, *redis.values()):
                server.thaw()
                server.start()
            remove_keys(made)


def status(replica: Worker) -> str:
    return str(replica.health()["status"])


def lines(replica: Worker) -> int:
    return replica.log().count("\n")


def test_every_replica_reports_an_outage_until_it_is_over(
    place: Place, seed: Seed, name: str, request: pytest.FixtureRequest
) -> None:
    hold_s: float = request.config.getoption("--fault-hold")
    trial = place.trial
    with trial.under_load(f"H {name}", seed(500), replicas=2, rate=RATE, keys=200):
        replicas = list(trial.cluster.running)
        wait_for(lambda: all(status(each) == "green" for each in replicas), 30.0, lambda: str(_health(replicas)))
        before = [lines(each) for each in replicas]
        with trial.watcher.excused(), ALL_OUTAGES[name](place):
            silent = list(replicas)

            def all_have_reported() -> bool:
                silent[:] = [each for each in silent if status(each) == "green"]
                return not silent

            wait_for(all_have_reported, REPORTS_WITHIN_S, lambda: f"still green: {_health(replicas)}", patience=1.0)
            holds_for(
                lambda: all(status(each) != "green" for each in replicas),
                hold_s,
                lambda: f"green before it is over: {_health(replicas)}",
            )
        trial.fault_is_over()
        longest_s = 60.0 + (hold_s if name in SET_ASIDE else 0.0)
        wait_for(lambda: all(status(each) == "green" for each in replicas), longest_s, lambda: str(_health(replicas)))
        written = [lines(each) - count for each, count in zip(replicas, before, strict=True)]
        assert max(written) < MOST_LOG_LINES, f"{written} lines: {replicas[0].log()[-8000:]}"
        trial.load.wait_for_operations(20)


def _health(replicas: list[Worker]) -> list[object]:
    return [replica.health() for replica in replicas]
