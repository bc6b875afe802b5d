"""Too many fields in a collection: when to say so, and what to leave out (pure)."""

from collections import Counter
from collections.abc import Collection

from tsync_stream.sink.values import path_text

# From here on, every field makes every document slower: with thousands of fields, Typesense is many times slower.
MANY_FIELDS = 1_000


def about_many_fields(collection: str, fields: Collection[str]) -> str:
    """The message for a collection with these fields, with what a person can do."""
    count = len(fields)
    text = f"the Typesense collection {collection} has {count:,} fields, and each makes it slower"
    parents = Counter(name.partition(".")[0] for name in fields if "." in name)
    parent, below = parents.most_common(1)[0] if parents else ("", 0)
    if below <= count // 2:
        return f"{text}; name the fields that are searched in TYPESENSE_SCHEMA_FILE, without `.*`"
    name = path_text(parent)
    return (
        f"{text}; {below:,} of them are inside `{name}`, whose names look like values. Leave it out of the index: drop "
        f'`{name}` and add {{"name": "{name}.*", "type": "auto", "index": false, "optional": true}} '
        "(PATCH /collections/…, and TYPESENSE_SCHEMA_FILE), or store it as an array of names and values"
    )
