"""What `apply` does with artefacts: what is declared is made, what we made is removed, the rest is left alone."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsync_stream.check.artefact_difference import Changes, Group, action_of, changes, left_alone, remembered_as
from tsync_stream.sink.artefact_equality import normal_item
from tsync_stream.state.artefacts import Remembered

WORDS = {"synonyms": ["a", "b"]}
OTHER_WORDS = {"synonyms": ["a", "c"]}


def group(
    declared: Mapping[str, Any] | None = None,
    remembered: Mapping[str, Remembered] | None = None,
    found: Mapping[str, Any] | None = None,
    **more: Any,
) -> Group:
    return Group("synonyms", "shop", declared or {}, remembered or {}, found or {}, normal_item, **more)


def ours(name: str, declared: Mapping[str, Any] = WORDS, found: Mapping[str, Any] = WORDS) -> dict[str, Remembered]:
    return {name: remembered_as(group({name: declared}), name, found)}


@pytest.mark.parametrize(
    ("compared", "wanted"),
    [
        (group({"a": WORDS}), Changes(make=("a",))),
        (group({"a": WORDS}, ours("a")), Changes(make=("a",))),
        (group({"a": WORDS}, ours("a"), {"a": {**WORDS, "id": "a", "root": ""}}), Changes()),
        (group({"a": WORDS}, {}, {"a": WORDS}), Changes(adopt=("a",))),
        (group({"a": WORDS}, {}, {"a": OTHER_WORDS}), Changes(replace=("a",))),
        (group({"a": WORDS}, ours("a"), {"a": None}), Changes(replace=("a",))),
        (group({"a": OTHER_WORDS}, ours("a"), {"a": WORDS}), Changes(replace=("a",))),
        (group({}, ours("a"), {"a": OTHER_WORDS}), Changes(remove=("a",))),
        (group({}, ours("a"), {"a": None}), Changes(remove=("a",))),
        (group({}, ours("a")), Changes(forget=("a",))),
        (group({}, {}, {"a": WORDS}), Changes()),
    ],
)
def test_what_is_to_be_done(compared: Group, wanted: Changes) -> None:
    assert changes(compared) == wanted
    assert bool(wanted) is (action_of(compared) is not None)


def test_what_typesense_describes_otherwise_is_as_declared_until_either_changes() -> None:
    """A release may not keep a part, or keep it in a form of its own: that is not written again and again."""
    kept = {"synonyms": ["a"]}
    remembered = ours("a", WORDS, kept)
    assert not changes(group({"a": WORDS}, remembered, {"a": kept}))
    assert changes(group({"a": OTHER_WORDS}, remembered, {"a": kept})).replace == ("a",)
    assert changes(group({"a": WORDS}, remembered, {"a": OTHER_WORDS})).replace == ("a",)


def test_what_belongs_to_others_is_named() -> None:
    compared = group({"a": WORDS}, ours("a"), {"a": WORDS, "theirs": WORDS}, others=["the set common"])
    assert left_alone(compared) == (
        "synonyms of route shop that are not declared stay as they are: theirs, the set common"
    )
    assert left_alone(group({"a": WORDS}, ours("a"), {"a": WORDS})) == ""


def test_an_action_names_what_it_does_and_differs_if_it_does_something_else() -> None:
    found = {"b": OTHER_WORDS, "d": WORDS}
    action = action_of(group({"a": WORDS, "b": WORDS, "d": WORDS}, ours("c") | ours("e"), found | {"c": WORDS}))
    assert action is not None
    assert action.sentence == (
        "Change the synonyms of route shop: make a; replace b; remove c; take charge of d, as declared already; "
        "forget e, gone already."
    )
    assert action_of(group({"a": WORDS})) == action_of(group({"a": WORDS}))
    assert action_of(group({"a": WORDS})) != action_of(group({"a": OTHER_WORDS}))
    many = action_of(group({f"n{number}": WORDS for number in range(30)}))
    assert many is not None
    assert "n9 and 20 more" in many.sentence


def test_what_cannot_be_compared_is_an_action_only_if_it_matters() -> None:
    assert action_of(group(problem="no right")) is None
    action = action_of(group({"a": WORDS}, problem="no right"))
    assert action is not None
    assert action.reasons == ("no right",)
    assert left_alone(group({"a": WORDS}, found={"b": WORDS}, problem="no right")) == ""


NAMES = st.sampled_from("abcd")
DESCRIBED = st.sampled_from([WORDS, OTHER_WORDS])


@given(
    st.dictionaries(NAMES, DESCRIBED),
    st.sets(NAMES),
    st.dictionaries(NAMES, st.one_of(st.none(), DESCRIBED)),
)
def test_after_it_nothing_is_left_to_do_and_others_are_untouched(
    declared: dict[str, Any], made: set[str], found: dict[str, Any]
) -> None:
    remembered = {name: each for name in made for name, each in ours(name).items()}
    compared = group(declared, remembered, found)
    wanted = changes(compared)
    after = {name: each for name, each in found.items() if name not in wanted.remove}
    after |= {name: declared[name] for name in [*wanted.make, *wanted.replace]}
    kept = {name: each for name, each in remembered.items() if name not in {*wanted.remove, *wanted.forget}}
    kept |= {
        name: remembered_as(compared, name, after[name]) for name in [*wanted.make, *wanted.replace, *wanted.adopt]
    }
    assert not changes(group(declared, kept, after))
    assert set(kept) == set(declared)
    theirs = found.keys() - declared.keys() - made
    assert {name: after[name] for name in theirs} == {name: found[name] for name in theirs}
