"""The form in which a document that Typesense shows is compared with the one that it should show (pure).

Typesense returns documents a little differently from how they were written, and fills in fields of its own.
Verification and `explain` both ask here what counts, so they cannot disagree.

Invariant: two documents that Typesense indexes alike have the same form, whatever the order of their fields.
"""

from collections.abc import Collection, Mapping
from typing import Any

from tsync_stream.sink.schema import values_at

# Up to here, every whole number is both a double and an integer.
LARGEST_WHOLE = 2**53
FLATTENED = ".flat"
_NOTHING_FLATTENED = b'{".flat":[],'


def comparable(document: dict[str, Any], left_out: Collection[str]) -> dict[str, Any]:
    """What is compared of a document, without the top-level fields `left_out`; the document itself is used up."""
    for name in left_out:
        document.pop(name, None)
    form: dict[str, Any] = _with_whole_numbers(without_doubles(document))
    return form


def as_stored(exported: dict[str, Any]) -> dict[str, Any]:
    """A document of a filtered export as it is stored.

    Typesense 0.24.1 leaves its own flattened fields in the export, and lists them in `.flat`.
    """
    for name in exported.pop(FLATTENED, ()):
        exported.pop(name, None)
    return exported


def line_as_stored(line: bytes) -> bytes:
    """The line of such an export, as far as that takes no parsing: only an empty list is taken away."""
    return b"{" + line[len(_NOTHING_FLATTENED) :] if line.startswith(_NOTHING_FLATTENED) else line


def without_doubles(document: dict[str, Any]) -> dict[str, Any]:
    """A document without its field `a.b` if its field `a` contains a `b`: an export cannot tell them apart."""
    for name in [name for name in document if "." in name]:
        others = {other: value for other, value in document.items() if other != name}
        if any(True for _ in values_at(others, name.split("."))):
            document = others
    return document


def fields_of_its_own(collection: Mapping[str, Any]) -> frozenset[str]:
    """Top-level fields that Typesense fills in (`embed`) or leaves out of documents (`store`) by itself.

    See https://typesense.org/docs/latest/api/collections.html.
    """
    fields = collection["fields"]
    return frozenset(field["name"] for field in fields if "embed" in field or field.get("store") is False)


def _with_whole_numbers(value: Any) -> Any:
    """`4` for `4.0`: a field of integers that was given the type float shows one, and would be sent the other."""
    kind = type(value)
    if kind is float:
        return int(value) if -LARGEST_WHOLE <= value <= LARGEST_WHOLE and value.is_integer() else value
    if kind is dict:
        return {name: item if type(item) is str else _with_whole_numbers(item) for name, item in value.items()}
    if kind is list:
        return [item if type(item) is str else _with_whole_numbers(item) for item in value]
    return value
