"""What Python does to the documents of a route before they are mapped: rename, types, transform.

A transform gets the document with its own names and with BSON's values as Python has them (dates, decimals), and with
`id`, the Typesense id. What it returns is mapped like any other document: mapping twice would turn places around twice.

Invariants: a document that cannot be shaped becomes `Unreadable` and affects no other; a document for which the
transform returns None is left out, as if it did not exist. A route that declares nothing of this has no shaping.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.keys import typesense_id
from tsync_stream.routes.declaration import Declaration
from tsync_stream.sink.forms import with_form
from tsync_stream.sink.mapping import key_and_fields
from tsync_stream.sink.values import path_text
from tsync_stream.source.undecodable import Unreadable

KEY, ID = "_id", "id"
FAILED = "transform failed"


class Transform(Protocol):
    """The route's own function, run for some documents."""

    def __call__(self, documents: Sequence[dict[str, Any]]) -> Awaitable[Sequence[Any]]:
        """What it returns for each document: another one or None. A `DocumentRejected` stands for one that failed."""


class Shaping:
    """Rename, types and transform of one route. `shaped` is the `shape` of its view (`source/view.py`)."""

    def __init__(self, declaration: Declaration, transform: Transform | None = None) -> None:
        self._rename = dict(declaration.rename)
        self._types = list(declaration.types.items())
        self._transform = transform

    async def shaped(self, documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The documents as they are to be mapped, in the given order; the list keeps its class.

        Raises `RouteUnusable` if the transform cannot be run at all.
        """
        found = [self._renamed(document) for document in documents]
        if self._transform is not None:
            found = await self._transformed(found)
        return type(documents)(found)

    def _renamed(self, document: dict[str, Any]) -> dict[str, Any]:
        if isinstance(document, Unreadable):
            return document
        try:
            if self._rename:
                document = self._with_names(document)
            for path, form in self._types:
                document = with_form(document, path, form)
        except DocumentRejected as error:
            return Unreadable({KEY: document[KEY]}, error.reason, error.detail)
        return document

    def _with_names(self, document: Mapping[str, Any]) -> dict[str, Any]:
        rename = self._rename
        renamed = {rename.get(name, name): value for name, value in document.items()}
        if len(renamed) < len(document):
            new = next(new for old, new in rename.items() if old in document and new in document)
            raise DocumentRejected("unusable field name", f"a field is renamed to `{path_text(new)}`, which exists")
        return renamed

    async def _transformed(self, documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        given: list[dict[str, Any]] = []
        found: list[dict[str, Any] | None] = list(documents)
        places: list[int] = []
        for place, document in enumerate(documents):
            if not isinstance(document, Unreadable):
                try:
                    given.append(_with_id(document))
                    places.append(place)
                except DocumentRejected as error:
                    found[place] = Unreadable({KEY: document[KEY]}, error.reason, error.detail)
        ids = [document[ID] for document in given]  # the function may change what it is given
        assert self._transform is not None
        for place, document_id, result in zip(places, ids, await self._transform(given), strict=True):
            key = documents[place][KEY]
            try:
                found[place] = None if result is None else {KEY: key, **_checked(result, document_id)}
            except DocumentRejected as error:
                found[place] = Unreadable({KEY: key}, error.reason, error.detail)
        return [document for document in found if document is not None]


def shaping_of(declaration: Declaration, transform: Transform | None) -> Shaping | None:
    """The shaping of a route; None if its documents are mapped as MongoDB returns them."""
    if not declaration.rename and not declaration.types and transform is None:
        return None
    return Shaping(declaration, transform)


def _with_id(document: Mapping[str, Any]) -> dict[str, Any]:
    key, fields = key_and_fields(document)
    return {ID: typesense_id(key), **dict(fields)}


def _checked(result: Any, document_id: str) -> dict[str, Any]:
    """The fields of what a transform returned. Raises `DocumentRejected`."""
    if isinstance(result, DocumentRejected):
        raise result
    if not isinstance(result, Mapping):
        raise DocumentRejected(FAILED, f"it returned a value of the type {type(result).__name__}, and no document")
    if KEY in result or result.get(ID, document_id) != document_id:
        raise DocumentRejected(FAILED, "it returned another `id`, or an `_id`: the key of a document stays as it is")
    try:
        _check_names(result)
    except RecursionError:
        raise DocumentRejected("nested too deeply", "objects and arrays within each other") from None
    return {name: value for name, value in result.items() if name != ID}


def _check_names(value: Any) -> None:
    if isinstance(value, Mapping):
        for name, item in value.items():
            if type(name) is not str:
                problem = f"it returned an object with a name of the type {type(name).__name__}"
                raise DocumentRejected(FAILED, problem)
            _check_names(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_names(item)
