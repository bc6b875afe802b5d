"""Why a server cannot be used: in plain words, with the setting's name, whatever a driver makes of it.

The servers are sockets that behave wrongly in one way each; the certificates are in tests/support/certificates.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.worker import free_port
from tsync_stream.core import causes
from tsync_stream.core.errors import ConfigurationError, TsyncError
from tsync_stream.queue.redis_tier import RedisStreams
from tsync_stream.settings.load import load_settings
from tsync_stream.sink.breaker import BREAKER_FAILURES
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.source.driver import open_client
from tsync_stream.source.errors import from_mongo

# PyMongo leaves the socket of a TLS handshake that failed to the garbage collector, which warns of it.
# The Typesense package has deprecated parts of its own.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Exception ignored in.*SSLSocket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

CERTIFICATES = Path(__file__).parents[2] / "support" / "certificates"
AUTHORITY = str(CERTIFICATES / "authority.pem")
NAMES_FAIL = (causes.NO_SUCH_HOST, causes.NO_NAMES_NOW)  # the second where there is no DNS at all
TLS_TROUBLES = [
    ("valid", False, causes.UNTRUSTED),
    ("expired", True, causes.EXPIRED),
    ("elsewhere", True, causes.OTHER_NAME),
]


@contextmanager
def listening(certificate: str = "", first_words: bytes = b"") -> Iterator[int]:
    """A server on loopback: behind this certificate, or plain. It says its words to whoever comes, and no more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if certificate:
        context.load_cert_chain(CERTIFICATES / f"{certificate}.pem")

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(5)
            with context.wrap_socket(connection, server_side=True) if certificate else connection as spoken:
                spoken.sendall(first_words)
                while spoken.recv(4096):
                    pass

    def accept() -> None:
        with suppress(OSError):
            while True:
                thread = threading.Thread(target=serve, args=(server.accept()[0],))
                thread.start()
                threads.append(thread)

    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)  # wakes `accept`
            accepting.join()
    for thread in threads:
        thread.join()


# ---- MongoDB ----


async def mongo_trouble(host: str, port: int, options: str = "") -> TsyncError:
    client = open_client(
        f"mongodb://ada:s3cret@{host}:{port}/?{options}", serverSelectionTimeoutMS=600, connectTimeoutMS=400
    )
    try:
        await client.admin.command("ping")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what a person would read about
        return from_mongo(error)
    finally:
        client.close()
    raise AssertionError("there is no trouble")


async def test_a_mongodb_that_is_not_there() -> None:
    assert str(await mongo_trouble("127.0.0.1", free_port())) == "MongoDB: connection refused (MONGODB_URI)"


async def test_a_mongodb_that_nobody_knows() -> None:
    trouble = await mongo_trouble("no-such-host.invalid", 27017)
    assert str(trouble) in {f"MongoDB: {cause} (MONGODB_URI)" for cause in NAMES_FAIL}


async def test_a_mongodb_that_says_nothing() -> None:
    with listening() as port:
        assert str(await mongo_trouble("127.0.0.1", port)) == "MongoDB: it took too long (MONGODB_URI)"


@pytest.mark.parametrize(("certificate", "trusted", "cause"), TLS_TROUBLES)
async def test_a_mongodb_whose_certificate_is_not_accepted(certificate: str, trusted: bool, cause: str) -> None:
    options = "tls=true" + (f"&tlsCAFile={quote(AUTHORITY, safe='')}" if trusted else "")
    with listening(certificate) as port:
        trouble = await mongo_trouble("127.0.0.1", port, options)
    assert str(trouble).startswith(f"MongoDB: {cause} (MONGODB_URI")
    assert ("tlsCAFile" in str(trouble)) is not trusted


async def test_a_mongodb_without_tls() -> None:
    with listening(first_words=b"what is this?\r\n") as port:
        trouble = await mongo_trouble("127.0.0.1", port, "tls=true")
    assert str(trouble) == "MongoDB: it does not speak TLS (MONGODB_URI)"


# ---- Redis ----


def redis_at(directory: Path, host: str, port: int) -> RedisStreams:
    settings = load_settings(directory, {}).backup_redis
    return RedisStreams(replace(settings, host=host, port=port, max_retries=0, min_idle_conns=0))


async def redis_trouble(directory: Path, host: str, port: int) -> str:
    tier = redis_at(directory, host, port)
    try:
        with pytest.raises(TsyncError) as caught:
            await tier.look()
    finally:
        await tier.close()
    return str(caught.value)


async def test_a_redis_that_is_not_there(tmp_path: Path) -> None:
    trouble = await redis_trouble(tmp_path, "127.0.0.1", free_port())
    assert trouble == "backup Redis: connection refused (BACKUP_REDIS_HOST, BACKUP_REDIS_PORT)"


async def test_a_redis_that_nobody_knows(tmp_path: Path) -> None:
    trouble = await redis_trouble(tmp_path, "no-such-host.invalid", 6379)
    assert trouble in {f"backup Redis: {cause} (BACKUP_REDIS_HOST, BACKUP_REDIS_PORT)" for cause in NAMES_FAIL}


# ---- Typesense ----

Ask = Callable[[TypesenseTarget], Any]
ASKS: dict[str, Ask] = {
    "our own client": lambda target: target.look("listings"),
    "the package's client": lambda target: target.collection("listings"),
}


async def typesense_trouble(directory: Path, ask: Ask, host: str, port: int, protocol: str = "http") -> str:
    settings = load_settings(directory, {}).typesense
    target = TypesenseTarget(replace(settings, hosts=(host,), port=port, protocol=protocol, connection_timeout_s=0.5))
    try:
        with pytest.raises(TsyncError) as caught:
            await ask(target)
    finally:
        await target.close()
    assert not isinstance(caught.value, ConfigurationError)
    return str(caught.value)


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
async def test_a_typesense_that_is_not_there(tmp_path: Path, ask: Ask) -> None:
    trouble = await typesense_trouble(tmp_path, ask, "127.0.0.1", free_port())
    assert trouble.startswith("Typesense: connection refused")
    assert trouble.endswith("(TYPESENSE_HOST, TYPESENSE_PORT)")


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
async def test_a_typesense_that_nobody_knows(tmp_path: Path, ask: Ask) -> None:
    trouble = await typesense_trouble(tmp_path, ask, "no-such-host.invalid", 8108)
    assert trouble.startswith(tuple(f"Typesense: {cause}" for cause in NAMES_FAIL))
    assert "TYPESENSE_HOST" in trouble


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
async def test_a_typesense_that_says_nothing(tmp_path: Path, ask: Ask) -> None:
    with listening() as port:
        trouble = await typesense_trouble(tmp_path, ask, "127.0.0.1", port)
    assert trouble == "Typesense: no answer in time (TYPESENSE_CONNECTION_TIMEOUT)"


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize(("certificate", "trusted", "cause"), TLS_TROUBLES)
async def test_a_typesense_whose_certificate_is_not_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask, certificate: str, trusted: bool, cause: str
) -> None:
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", AUTHORITY)
    with listening(certificate) as port:
        trouble = await typesense_trouble(tmp_path, ask, "127.0.0.1", port, "https")
    assert trouble.startswith(f"Typesense: {cause}")
    assert ("TYPESENSE_TLS_CA_FILE" in trouble) is not trusted


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
async def test_a_typesense_without_tls(tmp_path: Path, ask: Ask) -> None:
    with listening(first_words=b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        trouble = await typesense_trouble(tmp_path, ask, "127.0.0.1", port, "https")
    assert trouble.startswith("Typesense: it does not speak TLS")
    assert "TYPESENSE_PROTOCOL" in trouble


def test_a_handshake_that_is_cut_off_by_a_deadline_took_too_long() -> None:
    """What a handshake waits with is an SSL error, too, and the innermost one."""
    cut_off, late = asyncio.CancelledError(), TimeoutError()
    cut_off.__context__, late.__cause__ = ssl.SSLWantReadError(2, "The operation did not complete"), cut_off
    assert causes.cause_of(late) == causes.TOO_LONG


async def test_while_the_circuit_breaker_is_open_the_cause_stays_the_same(tmp_path: Path) -> None:
    """After some failures nothing is asked for a moment; what is wrong stays what it was."""
    settings = load_settings(tmp_path, {}).typesense
    target = TypesenseTarget(replace(settings, hosts=("127.0.0.1",), port=free_port(), connection_timeout_s=0.5))
    told = []
    for _ in range(BREAKER_FAILURES + 2):
        with pytest.raises(TsyncError) as caught:
            await target.look("listings")
        told.append(str(caught.value))
    await target.close()
    assert len(set(told)) == 1
    assert "connection refused" in told[0]
