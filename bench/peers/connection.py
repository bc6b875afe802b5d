"""What every process that the benchmark starts has in common: where the servers are, and when to begin and to end."""

import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

import httpx
from pymongo import MongoClient
from pymongo.collection import Collection

Document = dict[str, Any]
_REQUEST_TIMEOUT_S = 120.0
_MOST_BYTES = 64


def source(environment: Mapping[str, str] = os.environ) -> Collection[Document]:
    """The source collection that the settings name."""
    client: MongoClient[Document] = MongoClient(environment["MONGODB_URI"])
    return client[environment["MONGODB_DATABASE"]][environment["MONGODB_COLLECTION"]]


def typesense(environment: Mapping[str, str] = os.environ) -> httpx.Client:
    """A client whose paths begin at the Typesense collection's documents."""
    server = "{TYPESENSE_PROTOCOL}://{TYPESENSE_HOST}:{TYPESENSE_PORT}".format_map(environment)
    return httpx.Client(
        base_url=f"{server}/collections/{environment['TYPESENSE_COLLECTION_NAME']}/documents",
        headers={"X-TYPESENSE-API-KEY": environment["TYPESENSE_API_KEY"]},
        timeout=_REQUEST_TIMEOUT_S,
    )


def say(*words: object) -> None:
    """One line to the benchmark, at once."""
    os.write(sys.stdout.fileno(), (" ".join(map(str, words)) + "\n").encode())


def wait_for_go() -> None:
    """Say that everything is prepared, and wait for the benchmark's word."""
    say("ready")
    if not os.read(sys.stdin.fileno(), _MOST_BYTES):
        sys.exit(1)


def end_with_the_benchmark() -> None:
    """Standard input is a pipe that only the benchmark holds: when that ends, however, so does this process."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), _MOST_BYTES):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="end with the benchmark", daemon=True).start()
