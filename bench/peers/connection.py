"""What all processes of the benchmark share: where the servers are, when to begin, and when to end."""

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
    """A client whose paths start at the documents of the Typesense collection."""
    server = "{TYPESENSE_PROTOCOL}://{TYPESENSE_HOST}:{TYPESENSE_PORT}".format_map(environment)
    return httpx.Client(
        base_url=f"{server}/collections/{environment['TYPESENSE_COLLECTION_NAME']}/documents",
        headers={"X-TYPESENSE-API-KEY": environment["TYPESENSE_API_KEY"]},
        timeout=_REQUEST_TIMEOUT_S,
    )


def say(*words: object) -> None:
    """Send one line to the benchmark, unbuffered."""
    os.write(sys.stdout.fileno(), (" ".join(map(str, words)) + "\n").encode())


def wait_for_go() -> None:
    """Report that everything is prepared, and wait for the benchmark's signal to begin."""
    say("ready")
    if not os.read(sys.stdin.fileno(), _MOST_BYTES):
        sys.exit(1)


def end_with_the_benchmark() -> None:
    """End with the benchmark, however that ends: standard input is a pipe that only the benchmark holds."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), _MOST_BYTES):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="end with the benchmark", daemon=True).start()
