"""What differs between the artefacts that are declared, those that we made, and those that Typesense has. Pure.

Invariants: what is declared is ours, whoever made it before. What we made and is no longer declared is removed. All
else belongs to others: it is named, and never changed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tsync_stream.check.actions import Action
from tsync_stream.sink.artefact_equality import digest
from tsync_stream.state.artefacts import Remembered

ARTEFACTS = "artefacts"
MOST_NAMED = 10

Normal = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Group:
    """Artefacts of one kind, of one route or of all collections (`route` is empty then), each by name.

    `found` is None for one that is there, but not as it must be. `normal` makes two descriptions comparable. `problem`:
    why they cannot be compared.
    """

    kind: str
    route: str
    declared: Mapping[str, Mapping[str, Any]]
    remembered: Mapping[str, Remembered]
    found: Mapping[str, Mapping[str, Any] | None]
    normal: Normal
    problem: str = ""
    others: Sequence[str] = ()
    """What others have beside these, as people call it."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Names. `adopt` is as declared already, and becomes ours; `forget` is gone already."""

    make: Sequence[str] = ()
    replace: Sequence[str] = ()
    remove: Sequence[str] = ()
    adopt: Sequence[str] = ()
    forget: Sequence[str] = ()
    foreign: Sequence[str] = field(default=(), compare=False)

    def __bool__(self) -> bool:
        return bool(self.make or self.replace or self.remove or self.adopt or self.forget)


def changes(group: Group) -> Changes:
    """What is to be done so that everything is as declared."""
    declared, found, remembered = group.declared, group.found, group.remembered
    present = [name for name in declared if name in found]
    as_declared = {name for name in present if _is_as_declared(group, name)}
    left = [name for name in remembered if name not in declared]
    foreign = [name for name in found if name not in declared and name not in remembered]
    return Changes(
        make=tuple(name for name in declared if name not in found),
        replace=tuple(name for name in present if name not in as_declared),
        remove=tuple(name for name in left if name in found),
        adopt=tuple(name for name in present if name in as_declared and name not in remembered),
        forget=tuple(name for name in left if name not in found),
        foreign=(*foreign, *group.others),
    )


def remembered_as(group: Group, name: str, found: Mapping[str, Any], key_id: int | None = None) -> Remembered:
    """What is stored of an artefact that was made or adopted, and that Typesense describes like this now."""
    declared = digest(group.normal(group.declared[name]))
    return Remembered(group.kind, group.route, name, declared, digest(group.normal(found)), key_id)


def action_of(group: Group) -> Action | None:
    """The action that a group asks for, if any. Two are equal only if they do the same."""
    of_route = f" of route {group.route}" if group.route else ""
    if group.problem:
        if not (group.declared or group.remembered):
            return None
        sentence = f"Make the {group.kind}{of_route} as declared, which cannot be compared now."
        return Action(ARTEFACTS, group.route, sentence, (group.problem,), {"kind": group.kind})
    found = changes(group)
    if not found:
        return None
    parts = [
        f"{verb} {_named(names)}{after}"
        for verb, names, after in (
            ("make", found.make, ""),
            ("replace", found.replace, ""),
            ("remove", found.remove, ""),
            ("take charge of", found.adopt, ", as declared already"),
            ("forget", found.forget, ", gone already"),
        )
        if names
    ]
    said = digest({name: group.normal(group.declared[name]) for name in [*found.make, *found.replace]})
    change = {
        "kind": group.kind,
        "names": [list(each) for each in (found.make, found.replace, found.remove, found.adopt, found.forget)],
        "digest": said,
    }
    return Action(ARTEFACTS, group.route, f"Change the {group.kind}{of_route}: {'; '.join(parts)}.", (), change)


def left_alone(group: Group) -> str:
    """A sentence about what belongs to others; "" if there is nothing."""
    names = () if group.problem else changes(group).foreign
    of_route = f" of route {group.route}" if group.route else ""
    return f"{group.kind}{of_route} that are not declared stay as they are: {_named(names)}" if names else ""


def _is_as_declared(group: Group, name: str) -> bool:
    found = group.found[name]
    if found is None:
        return False
    declared = group.normal(group.declared[name])
    if declared == group.normal(found):
        return True
    # Typesense may describe a thing in a way that we do not foresee: it still is what it made of this very declaration.
    before = group.remembered.get(name)
    return before is not None and (before.declared, before.found) == (digest(declared), digest(group.normal(found)))


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
