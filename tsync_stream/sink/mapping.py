"""From a BSON document to the Typesense document that shows it. docs/mapping.md describes it for users.

Invariants:
- The same document under the same live schema gives the same result, so verification can map it again and compare.
- Typesense stores the result exactly as it is sent (seen with 0.24.1); therefore it has no null anywhere.
- A document that could harm others of its batch, or the collection, is refused here and never sent; so is one that
  Typesense would accept silently and find wrongly. What Typesense refuses comes back as that document's error.
- Errors name the field and the type, never a value.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.keys import typesense_id
from tsync_stream.sink.converting import map_fields
from tsync_stream.sink.mapping_plan import Plan
from tsync_stream.sink.values import RefusedError, path_text

RENAMED_ID_FIELD = "id_"
"""Where a source field `id` goes: in Typesense `id` is the document's key."""


def map_document(document: Mapping[str, Any], plan: Plan, document_id: str | None = None) -> dict[str, Any]:
    """Return the Typesense document for a BSON document decoded with `BSON_OPTIONS`.

    A caller that knows the Typesense id of its key passes it as `document_id`, which saves working it out again.

    Raises DocumentRejected. Whatever the schema: "unusable id", "unusable field name" (others would fail in Typesense
    for it), "too many field names", "not a number in JSON", "number too large", "not a place on Earth",
    "unknown type", "nested too deeply". For the field's type: "no whole number", "value out of range", "not a place".
    """
    fields = iter(document.items())
    name, key = next(fields, (None, None))
    if name != "_id" or "id" in document:  # MongoDB stores the `_id` first, and few call another field `id`
        key, fields = key_and_fields(document)
    mapped: dict[str, Any] = {"id": typesense_id(key) if document_id is None else document_id}
    try:
        map_fields(fields, mapped, plan.root)
    except RefusedError as refused:
        plan.forget_new_names()
        raise refused.rejection() from None
    except DocumentRejected:
        plan.forget_new_names()
        raise
    except RecursionError:
        plan.forget_new_names()
        raise DocumentRejected("nested too deeply", "objects and arrays within each other") from None
    plan.keep_new_names()
    return mapped


def key_and_fields(document: Mapping[str, Any]) -> tuple[Any, Iterator[tuple[str, Any]]]:
    """The `_id`, and the other fields with `id` renamed and moved to the end.

    Raises DocumentRejected: "unusable id" without an `_id`, "unusable field name" where `id_` exists too.
    """
    fields = dict(document)
    try:
        key = fields.pop("_id")
    except KeyError:
        raise DocumentRejected("unusable id", "the document has no _id") from None
    if "id" in fields:
        if RENAMED_ID_FIELD in fields:
            raise DocumentRejected("unusable field name", f"`id` and `{RENAMED_ID_FIELD}` cannot be told apart")
        fields[RENAMED_ID_FIELD] = fields.pop("id")
    return key, iter(fields.items())


def encode_line(mapped: Mapping[str, Any]) -> bytes:
    """Return a mapped document as one line of JSON, without the line's end.

    Raises DocumentRejected: "not valid text" for a string or a field name that was not UTF-8 in the source,
    "cannot be written as JSON" for what is nested beyond the encoder's limit.
    """
    try:
        return orjson.dumps(mapped)
    except orjson.JSONEncodeError:
        path = _invalid_text(mapped)
        if path is None:
            raise DocumentRejected("cannot be written as JSON", "it is nested too deeply") from None
        raise DocumentRejected("not valid text", f"field `{path_text('.'.join(path))}` is not UTF-8") from None


def _invalid_text(value: Any) -> list[str] | None:
    """Return the path to the first text that is not UTF-8. Called only after encoding has failed."""
    if isinstance(value, str):
        return None if _is_utf8(value) else []
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        path = _invalid_text(item) if _is_utf8(str(name)) else []
        if path is not None:
            return [str(name), *path]
    return None


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
