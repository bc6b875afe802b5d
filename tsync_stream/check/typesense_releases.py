"""What `check` says about a release of Typesense, and about schemas that a release understands differently (pure).

docs/compatibility.md says which releases are tested, and for which only the source was read.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tsync_stream.check.findings import Finding, note, version_numbers, wrong

OLDEST = (0, 24)
# The source of later releases has not been read.
NEWEST_READ = (30,)
REFERENCES_SINCE = (27,)
_BAD: dict[tuple[int, ...], str] = {
    (26, 0): "its exports may end early, so a reconcile and `verify` would miss documents",
    (27, 0): "its exports leave out fields that are not in the schema, so `verify` would report differences "
    "where there are none",
}
# A schema may have thousands of fields.
MOST_NAMES = 5


def release_findings(version: str) -> Iterator[Finding]:
    """The findings about a release, named as `/debug` does; none if it has no version number."""
    numbers = version_numbers(version)
    if not numbers:
        return
    if numbers < OLDEST:
        yield wrong(
            f"Typesense {version} is too old: it has no nested fields",
            "use 0.24 or newer, preferably a current release",
        )
    elif numbers[:2] in _BAD:
        yield wrong(f"Typesense {version} must not be used: {_BAD[numbers[:2]]}", f"use {numbers[0]}.1 or newer")
    elif numbers[:1] > NEWEST_READ:
        newest = ".".join(map(str, NEWEST_READ))
        yield note(f"Typesense {version} is newer than {newest}, the last release that docs/compatibility.md covers")


def reference_findings(schema: Any, whose: str, version: str = "") -> Iterator[Finding]:
    """The findings about fields that refer to another collection; `schema` may be anything.

    By default, Typesense refuses a document that arrives before the one it refers to, and deletes a document together
    with the one it refers to, although MongoDB keeps it.
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
        yield wrong(
            f"{whose} has fields with `reference`, which Typesense {version} does not support", "use 27.1 or newer"
        )
    unsafe = [
        str(field.get("name"))
        for field in references
        if field.get("async_reference") is not True or field.get("cascade_delete") is not False
    ]
    if unsafe:
        names = ", ".join(unsafe[:MOST_NAMES]) + (f" and {len(unsafe) - MOST_NAMES} more" * (len(unsafe) > MOST_NAMES))
        yield wrong(
            f"{whose} refers to another collection with {names}: a document that arrives before the one it refers "
            "to is refused, and it is deleted together with that one",
            "give these fields `async_reference: true` and `cascade_delete: false` (recreate a live collection)",
        )
