"""Both sides seen from outside: counts, searches, and whether a change can be searched yet.

Invariant: MongoDB and Typesense are asked, never the worker.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode

import httpx
from pymongo.collection import Collection
from pymongo.errors import PyMongoError

_TIMEOUT_S = 5.0
_QUERY_BY = "title,description,address.city"


@dataclass(frozen=True)
class Hits:
    """The best hits of one search."""

    query: str
    found: int
    took_ms: int
    documents: list[dict[str, Any]]


class Typesense:
    """The Typesense collection, read only. Not thread-safe."""

    def __init__(self, stack_environment: Mapping[str, str], collection_name: str) -> None:
        self._key = stack_environment["TYPESENSE_API_KEY"]
        self._path = f"/collections/{collection_name}/documents/search"
        self._base_url = f"http://{stack_environment['TYPESENSE_HOST']}:{stack_environment['TYPESENSE_PORT']}"
        self._client = httpx.Client(
            base_url=self._base_url,
            headers={"X-TYPESENSE-API-KEY": self._key},
            timeout=_TIMEOUT_S,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def search(self, query: str, hits: int) -> Hits | None:
        """Search for words; None while Typesense cannot be asked, or has no such fields yet."""
        answer = self._ask({"q": query, "query_by": _QUERY_BY, "per_page": str(hits)})
        if answer is None:
            return None
        documents = [hit["document"] for hit in answer["hits"]]
        return Hits(query, answer["found"], answer["search_time_ms"], documents)

    def count(self) -> int | None:
        """How many documents can be found; None while Typesense cannot be asked."""
        return self._found("")

    def shows(self, document_id: str, change: int) -> bool:
        """Whether a search finds this document in the state that change number `change` gave it."""
        return self._found(f"id:={document_id} && change:={change}") == 1

    def lacks(self, document_id: str) -> bool:
        """Whether no search finds this document any more."""
        return self._found(f"id:={document_id}") == 0

    def curl(self, **asked: str) -> str:
        """A search to paste into a shell."""
        address = f"{self._base_url}{self._path}?{urlencode({**asked, 'query_by': _QUERY_BY}, safe=',:()')}"
        return f"curl -H {shlex.quote(f'X-TYPESENSE-API-KEY: {self._key}')} {shlex.quote(address)}"

    def _found(self, filter_by: str) -> int | None:
        answer = self._ask({"q": "*", "filter_by": filter_by, "per_page": "0"})
        return None if answer is None else int(answer["found"])

    def _ask(self, parameters: dict[str, str]) -> dict[str, Any] | None:
        try:
            response = self._client.get(self._path, params=parameters)
        except httpx.HTTPError:
            return None
        if response.status_code != httpx.codes.OK:
            return None
        answer: dict[str, Any] = response.json()
        return answer


def count_source(source: Collection[dict[str, Any]]) -> int | None:
    """How many documents MongoDB has; None while it does not answer. Counted: estimates are wrong after a crash."""
    try:
        return source.count_documents({})
    except PyMongoError:
        return None
