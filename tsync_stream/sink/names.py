"""Which field names Typesense misunderstands, and whether a refused import is the documents' fault (pure).

Invariant: a name that is unusable here is never sent to Typesense, so if Typesense refuses a document because of such a
field, the document is not at fault.
"""

import re
from collections.abc import Sequence

from tsync_stream.sink.wire import Rejection

# Typesense keeps a field's full name (`a.b.c`) in a structure of at most 65,535 bytes, and refuses the whole import
# for a longer one; it also repeats the name in every answer about the field.
MAX_NAME_BYTES = 2_000
BY_TYPESENSE = "rejected by Typesense"
# If at least this many documents are all refused, in words that are not about a field, none of them is at fault.
MIN_LINES_OF_A_COLLECTION = 10

_RESERVED = frozenset({".flat", ".ref"})
_FIELD = re.compile(r"ield `(.*)` ", re.DOTALL)
_LONGEST_WORDS = 300


def problem_at_the_top(name: str) -> str | None:
    """Why a name cannot be used for a field of the document itself; None if it can.

    Typesense splits the name at its dots and strips the blanks around each part: it then takes the field for another
    one, and refuses every document with that other field, or every new field of the collection.
    """
    if name in _RESERVED:
        return "is reserved by Typesense"
    for part in name.split("."):
        if not part:
            return "is empty, or has an empty part between its dots"
        if part[0] == " " or part[-1] == " ":
            return "has a blank before or behind a part of it"
    return problem_anywhere(name)


def problem_anywhere(name: str) -> str | None:
    """Why a name cannot be used even inside an object; None if it can."""
    if ".*" in name or name[:1] == "*":
        return "looks like a pattern to Typesense"
    return None


def refusal_of_the_collection(rejections: Sequence[Rejection], lines: int) -> str | None:
    """Typesense's words, if they are about the collection rather than the refused documents; otherwise None.

    Then no document is at fault, and no later one would be accepted. A refusal about a field that documents can have
    counts as their own fault, however many they are: otherwise one mistake in a large update would stop all others.
    """
    for rejection in rejections:
        if (name := _named(rejection)) is not None and is_never_sent(name):
            return rejection.error[:_LONGEST_WORDS]
    words = {(rejection.reason, rejection.error) for rejection in rejections}
    all_alike = len(words) == 1 and len(rejections) == lines >= MIN_LINES_OF_A_COLLECTION
    if all_alike and rejections[0].reason.startswith(BY_TYPESENSE):  # a proxy's refusals are handled elsewhere
        name = _named(rejections[0])
        if name is None or problem_at_the_top(name) is not None:
            return rejections[0].error[:_LONGEST_WORDS]
    return None


def _named(rejection: Rejection) -> str | None:
    found = _FIELD.search(rejection.error)
    return None if found is None else found[1]


def is_never_sent(name: str) -> bool:
    """Whether no document of ours can have this flattened name. Inside objects, any name is allowed."""
    first = name.partition(".")[0]
    return problem_at_the_top(first) is not None or name.startswith("id.")
