"""What a field of a proposal is good for: facets, sorting. Pure; rules of thumb, on the safe side of memory."""

from tsync_stream.routes.observations import Observations, Observed

# More values, or longer ones, make no list that a person would choose from.
MAX_FACET_NUMBERS = 30
MAX_FACET_LENGTH = 100
# Typesense keeps sorted texts in memory a second time.
MAX_SORTED_LENGTH = 64


def facet(seen: Observed, kind: str) -> bool:
    """Whether a facet makes sense: few values that repeat."""
    base = kind.removesuffix("[]")
    if base == "bool":
        return True
    repeats = seen.few_values and 2 * len(seen.distinct) <= seen.documents
    if base == "string":
        return repeats and seen.longest <= MAX_FACET_LENGTH and "key" not in seen.kinds
    return base == "int64" and repeats and len(seen.distinct) <= MAX_FACET_NUMBERS and "date" not in seen.kinds


def sort_of_text(seen: Observed, kind: str) -> bool:
    """Whether to sort by a text; numbers can always be sorted by."""
    return kind == "string" and seen.longest <= MAX_SORTED_LENGTH and "key" not in seen.kinds


def sorts_documents(seen: Observed, kind: str, observations: Observations) -> bool:
    """Whether it could be the `default_sorting_field`: a single number, which every document has."""
    everywhere = seen.documents == observations.documents and not seen.as_level
    return kind in {"int64", "float"} and everywhere
