"""What `check` says of a release of Typesense, and of schemas that a release reads otherwise (pure).

docs/compatibility.md says which releases are tested, and of which only the sources were read.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tsync_stream.check.findings import Finding, note, version_numbers, wrong

OLDEST = (0, 24)
# Of later ones nobody here has read the sources.
NEWEST_READ = (30,)
REFERENCES_SINCE = (27,)
_BAD: dict[tuple[int, ...], str] = {
    (26, 0): "its exports may end early, so that a reconcile and `verify` would not see what comes after",
    (27, 0): "its exports leave out fields that are not in the schema, so that `verify` would find differences "
    "where there are none",
}
# A schema may have thousands of fields.
MOST_NAMES = 5


def release_findings(version: str) -> Iterator[Finding]:
    """What is to be said of a release, as `/debug` names it; nothing of one that it does not name."""
    numbers = version_numbers(version)
    if not numbers:
        return
    if numbers < OLDEST:
        yield wrong(f"Typesense {version} is too old: it has no nested fields", "use 0.24 or newer, best a current one")
    elif numbers[:2] in _BAD:
        yield wrong(f"Typesense {version} is not to be used: {_BAD[numbers[:2]]}", f"use {numbers[0]}.1 or newer")
    elif numbers[:1] > NEWEST_READ:
        newest = ".".join(map(str, NEWEST_READ))
        yield note(f"Typesense {version} is newer than {newest}, the last of which docs/compatibility.md says anything")


def reference_findings(schema: Any, whose: str, version: str = "") -> Iterator[Finding]:
    """What is wrong with the fields that refer to another collection; `schema` may be anything.

    Unless told otherwise, Typesense refuses a document that comes before the one it refers to, and deletes a document
    together with the one that it refers to, though MongoDB keeps it.
    """
    fields = schema.get("fields") if isinstance(schema, Mapping) else None
    references = [
        field
        for field in (fields if isinstance(fields, list) else ())
        if isinstance(field, Mapping) and field.get("reference")
    ]
    if not references:
        return
    numbers = version_numbers(version)
    if numbers and numbers < REFERENCES_SINCE:
        yield wrong(f"{whose} has fields with `reference`, which Typesense {version} has not", "use 27.1 or newer")
    unsafe = [
        str(field.get("name"))
        for field in references
        if field.get("async_reference") is not True or field.get("cascade_delete") is not False
    ]
    if unsafe:
        names = ", ".join(unsafe[:MOST_NAMES]) + (f" and {len(unsafe) - MOST_NAMES} more" * (len(unsafe) > MOST_NAMES))
        yield wrong(
            f"{whose} refers to another collection with {names}: documents that arrive before what they refer to are "
            "refused, and deleted with it",
            "give these fields `async_reference: true` and `cascade_delete: false` (a live collection: make it anew)",
        )
