"""Which field names Typesense takes for something else, and whose fault a refused import is (pure).

Invariant: a name that is unusable here never reaches Typesense from us, so whatever Typesense says about such a field
says nothing about the document that it answers for.
"""

import re
from collections.abc import Sequence

from tsync_stream.sink.wire import Rejection

# Typesense keeps a field's full name (`a.b.c`) in a structure that takes 65,535 bytes, and refuses the whole import
# for a longer one; it also repeats the name in every answer about the field.
MAX_NAME_BYTES = 2_000
BY_TYPESENSE = "rejected by Typesense"
# So many documents that are all refused, in words that are not about a field, share no mistake of theirs.
MIN_LINES_OF_A_COLLECTION = 10

_RESERVED = frozenset({".flat", ".ref"})
_FIELD = re.compile(r"ield `(.*)` ", re.DOTALL)
_LONGEST_WORDS = 300


def problem_at_the_top(name: str) -> str | None:
    """Why a name cannot be used for a field of the document itself; None if it can be.

    Typesense splits it at its dots and cuts off the blanks around each part: it then takes the field for another one,
    and refuses every document that has the other one, or every new field of the collection.
    """
    if name in _RESERVED:
        return "is kept by Typesense for itself"
    for part in name.split("."):
        if not part:
            return "is empty, or has an empty part between its dots"
        if part[0] == " " or part[-1] == " ":
            return "has a blank before or behind a part of it"
    return problem_anywhere(name)


def problem_anywhere(name: str) -> str | None:
    """Why a name cannot be used inside an object either; None if it can be."""
    if ".*" in name or name[:1] == "*":
        return "looks like a pattern to Typesense"
    return None


def refusal_of_the_collection(rejections: Sequence[Rejection], lines: int) -> str | None:
    """Typesense's words, if they are about the collection and not about the documents that they were said of.

    Then no document is at fault, and none that comes later would be taken. What is about a field that documents can
    have is taken for their own fault, however many they are: else one mistake in a large update would stop all others.
    """
    for rejection in rejections:
        if (name := _named(rejection)) is not None and is_never_sent(name):
            return rejection.error[:_LONGEST_WORDS]
    words = {(rejection.reason, rejection.error) for rejection in rejections}
    all_alike = len(words) == 1 and len(rejections) == lines >= MIN_LINES_OF_A_COLLECTION
    if all_alike and rejections[0].reason.startswith(BY_TYPESENSE):  # not by a proxy, which is asked about by itself
        name = _named(rejections[0])
        if name is None or problem_at_the_top(name) is not None:
            return rejections[0].error[:_LONGEST_WORDS]
    return None


def _named(rejection: Rejection) -> str | None:
    found = _FIELD.search(rejection.error)
    return None if found is None else found[1]


def is_never_sent(name: str) -> bool:
    """Whether a flattened name can be none of our documents': inside objects, names may be as they like."""
    first = name.partition(".")[0]
    return problem_at_the_top(first) is not None or name.startswith("id.")
