"""The parts of a route's view that may hide a document, one by one, so that a person learns which of them does (pure).

Invariant: a part has a name that says where it stands in the declaration, and never a value of it: values may come from
variables.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tsync_stream.routes.declaration import Declaration
from tsync_stream.source.view import SourceView

_AND = "$and"
# The stages of a pipeline after which a document may be gone.
_MAY_HIDE = frozenset({"$match", "$redact", "$unwind"})
MOST_PARTS = 60


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a view: a document passes it if `stages`, run on that document alone, leave something."""

    name: str
    stages: Sequence[Mapping[str, Any]]


def parts_of(declaration: Declaration, view: SourceView | None) -> list[Part]:
    """The first `MOST_PARTS` parts: the conditions of the filter, each alone, then the stages that may hide it.

    A stage comes with all before it, since it sees what they make of the document.
    """
    parts = [Part(name, [{"$match": query}]) for name, query in _conditions(declaration.filter, "filter")]
    if view is not None and declaration.pipeline:
        before = next(place for place, stage in enumerate(view.stages) if stage is declaration.pipeline[0])
        for number, stage in enumerate(declaration.pipeline):
            (operator,) = stage
            if operator in _MAY_HIDE:
                parts.append(Part(f"pipeline.{number}.{operator}", view.stages[: before + number + 1]))
    return parts[:MOST_PARTS]


def _conditions(query: Mapping[str, Any], place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every condition that a document has to meet, with its place."""
    for name, condition in query.items():
        if name == _AND:
            for number, each in enumerate(condition):
                yield from _conditions(each, f"{place}.{_AND}.{number}")
        elif name != "$comment":
            yield f"{place}.{name}", {name: condition}
