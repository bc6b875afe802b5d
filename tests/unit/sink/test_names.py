"""Which names Typesense misunderstands, and when a refusal is the collection's fault rather than the documents'."""

import pytest

from tsync_stream.sink.names import (
    MIN_LINES_OF_A_COLLECTION,
    problem_anywhere,
    problem_at_the_top,
    refusal_of_the_collection,
)
from tsync_stream.sink.wire import Rejection

MANY = MIN_LINES_OF_A_COLLECTION


@pytest.mark.parametrize(
    "name",
    [
        *("title ", " title", "title.", ".title", "a..b", "a. b", "a .b", "id.", "id ", ".flat", ".ref", "", " ", "."),
        *("..", "*", "*a", "a.*", "a.*b"),
    ],
)
def test_a_misunderstood_name_is_unusable_at_the_top(name: str) -> None:
    assert problem_at_the_top(name)


@pytest.mark.parametrize("name", ["title", "ti tle", "a.b", "id_", "_id", "$x", "title\t", "\u00a0title", "flat", "a*"])
def test_other_names_are_usable_whatever_they_look_like(name: str) -> None:
    assert problem_at_the_top(name) is None
    assert problem_anywhere(name) is None


@pytest.mark.parametrize("name", ["title ", " ", "", ".", "a..b", ".flat", "id"])
def test_inside_an_object_only_patterns_do_harm(name: str) -> None:
    assert problem_anywhere(name) is None


def refusals(count: int, *words: str) -> list[Rejection]:
    return [Rejection(line, "rejected by Typesense (400)", words[line % len(words)]) for line in range(count)]


@pytest.mark.parametrize(
    "words",
    [
        "Field `title ` has an incorrect type.",
        "Field ` title` has an incorrect type.",
        "Field `.title` has an incorrect type.",
        "Field `.flat` must be an int64.",
        "Field `id.` has an incorrect type.",
        "Field `id ` has an incorrect type.",
    ],
)
def test_words_about_a_field_that_is_never_sent_are_about_the_collection(words: str) -> None:
    assert refusal_of_the_collection(refusals(1, words), 1) == words
    assert refusal_of_the_collection(refusals(3, "Field `n` must be a float.", words), 1000) == words


def test_a_batch_refused_in_the_same_words_about_no_field_is_the_collections_fault() -> None:
    words = "Collection is read only."
    assert refusal_of_the_collection(refusals(MANY, words), MANY) == words
    assert refusal_of_the_collection(refusals(MANY, "Field `title.` has an incorrect type."), MANY) is not None


@pytest.mark.parametrize(
    ("rejections", "lines"),
    [
        ([], MANY),
        (refusals(MANY, "Field `price` must be a float."), MANY),
        (refusals(MANY, "Field `n` has been declared in the schema, but is not found in the document."), MANY),
        (refusals(MANY, "Type of field `p` is invalid."), MANY),
        (refusals(MANY, "Read only."), MANY + 1),
        (refusals(MANY - 1, "Read only."), MANY - 1),
        (refusals(MANY, "Read only.", "Something else."), MANY),
        ([Rejection(line, "refused by a proxy", "it refuses it alone") for line in range(MANY)], MANY),
        # `{"o": {"t ": 1}}` and `{"title": {"": 1}}` are documents of ours
        (refusals(1, "Field `o.t ` must be an int64."), 1),
        (refusals(1, "Field `title.` must be an int64."), 1),
        (refusals(MANY, "Field `o.flat` must be an int64."), MANY),
    ],
)
def test_other_refusals_are_the_documents_fault(rejections: list[Rejection], lines: int) -> None:
    assert refusal_of_the_collection(rejections, lines) is None


def test_words_are_short_in_a_message() -> None:
    assert len(refusal_of_the_collection(refusals(MANY, "x" * 70_000), MANY) or "") < 1000
