"""Around the requests of a batch: which keys are read, how deletes are requested, what answers mean."""

from urllib.parse import quote, unquote

import orjson
import pytest
from bson.binary import Binary
from bson.objectid import ObjectId
from bson.timestamp import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from tests.support.keys import KEYS_OF_EVERY_TYPE
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable
from tsync_stream.core.keys import canonical_key, typesense_id
from tsync_stream.core.model import BEGINNING_OF_TIME, DeadLetter, Entry, Key, Operation
from tsync_stream.sink.wire import MAX_FILTER_BYTES, Rejection, fits_filter, id_requests
from tsync_stream.sink.wire import read_import_answer as read_bytes
from tsync_stream.sync.wanted import wanted

HEX = "65a000000000000000000001"


def read_import_answer(answer: str, expected_lines: int) -> list[Rejection]:
    return read_bytes(answer.encode(), expected_lines)


def entry(key: Key, seconds: int = 10, operation: str = Operation.UPDATE) -> Entry:
    return Entry("listings", key, operation, Timestamp(seconds, 1))


# What is to be read


def test_a_thousand_updates_of_one_document_are_one() -> None:
    plan = wanted([entry("hot", second) for second in range(1, 1001)], BEGINNING_OF_TIME)
    assert plan.keys_by_id == {"hot": ["hot"]}


def test_the_operation_does_not_matter_only_the_source_does() -> None:
    both = [entry("a", operation=Operation.DELETE), entry("a", operation=Operation.INSERT)]
    for operations in (both, both[::-1], both[:1]):
        assert wanted(operations, BEGINNING_OF_TIME).keys_by_id == {"a": ["a"]}


def test_documents_are_read_after_the_newest_entry() -> None:
    entries = [entry("a", 5), entry("b", 9), entry("c", 7)]
    assert wanted(entries, BEGINNING_OF_TIME).not_before == Timestamp(9, 1)


def test_documents_are_read_after_the_lease_write() -> None:
    assert wanted([entry("a", 5)], Timestamp(6, 0)).not_before == Timestamp(6, 0)
    assert wanted([], Timestamp(6, 0)).not_before == Timestamp(6, 0)


def test_an_entry_that_cannot_be_synced_still_advances_the_read_time() -> None:
    assert wanted([entry("", 9), entry("a", 5)], BEGINNING_OF_TIME).not_before == Timestamp(9, 1)


def test_every_key_that_could_have_the_same_id_is_looked_up() -> None:
    assert wanted([entry("12")], BEGINNING_OF_TIME).keys_by_id == {"12": [12, "12"]}
    assert wanted([entry(12.0)], BEGINNING_OF_TIME).keys_by_id == {"12": [12, "12"]}
    assert wanted([entry(ObjectId(HEX))], BEGINNING_OF_TIME).keys_by_id == {HEX: [HEX, ObjectId(HEX)]}


def test_keys_that_share_an_id_are_one_document() -> None:
    plan = wanted([entry(12), entry("12"), entry(12.0)], BEGINNING_OF_TIME)
    assert list(plan.keys_by_id) == ["12"]


@pytest.mark.parametrize("key", [1, True, "1", "true", 1.5, None, "null"], ids=repr)
def test_keys_that_are_equal_only_in_python_are_looked_up_separately(key: Key) -> None:
    plan = wanted([entry(other) for other in (1, True, "1", "true", 1.5, None, "null")], BEGINNING_OF_TIME)
    candidates = {canonical_key(candidate) for candidate in plan.keys_by_id[typesense_id(key)]}
    assert canonical_key(key) in candidates


@pytest.mark.parametrize("key", KEYS_OF_EVERY_TYPE, ids=repr)
def test_a_key_of_any_type_is_looked_up_as_itself(key: Key) -> None:
    plan = wanted([entry(key)], BEGINNING_OF_TIME)
    if not plan.rejected:
        ((document_id, candidates),) = plan.keys_by_id.items()
        assert document_id == typesense_id(key)
        assert canonical_key(key) in {canonical_key(candidate) for candidate in candidates}


def test_a_key_that_cannot_be_an_id_is_a_dead_letter_and_others_are_synced() -> None:
    plan = wanted([entry("a"), entry(""), entry("x" * 2000), entry("b")], BEGINNING_OF_TIME)
    assert list(plan.keys_by_id) == ["a", "b"]
    assert [(letter.route, letter.key, letter.reason) for letter in plan.rejected] == [
        ("listings", "", "unusable id"),
        ("listings", "x" * 2000, "unusable id"),
    ]
    assert all(isinstance(letter, DeadLetter) and letter.error for letter in plan.rejected)


# How deletes are asked for

some_ids = st.lists(st.text(min_size=1, max_size=300).filter(fits_filter), max_size=80)


def id_filters(ids: list[str]) -> list[str]:
    return [unquote(request.delete_path.removeprefix("?filter_by=")) for request in id_requests(ids)]


def ids_in(filter_by: str) -> list[str]:
    assert filter_by.startswith("id:[`")
    assert filter_by.endswith("`]")
    return filter_by[len("id:[`") : -len("`]")].split("`,`")


@given(some_ids)
def test_every_id_is_in_one_filter_in_order(ids: list[str]) -> None:
    assert [found for filter_by in id_filters(ids) for found in ids_in(filter_by)] == ids


@given(some_ids)
def test_a_path_holds_the_filter_as_it_is(ids: list[str]) -> None:
    for request in id_requests(ids):
        quoted = quote(f"id:[{','.join(f'`{document_id}`' for document_id in request.ids)}]", safe="")
        assert request.get_path == f"/export?filter_by={quoted}"
        assert request.delete_path == f"?filter_by={quoted}"


@given(some_ids)
def test_no_filter_exceeds_a_request_line(ids: list[str]) -> None:
    for filter_by in id_filters(ids):
        assert len(quote(filter_by)) <= MAX_FILTER_BYTES + len("id%3A%5B%5D")
    assert MAX_FILTER_BYTES <= 4_096, "half of what a proxy takes by default"


def test_filters_are_as_long_as_allowed() -> None:
    ids = [f"{number:024x}" for number in range(1000)]
    filters = id_filters(ids)
    lengths = [len(quote(filter_by)) for filter_by in filters]
    assert all(length > MAX_FILTER_BYTES * 0.9 for length in lengths[:-1])
    assert len(filters) < 10


def test_the_longest_id_gets_its_own_filter_if_necessary() -> None:
    longest = "☃" * 341
    filters = id_filters([longest] * 6)
    assert all(ids_in(filter_by) for filter_by in filters)
    assert [len(ids_in(filter_by)) for filter_by in filters] == [1] * 6
    assert unquote(quote(filters[0])) == filters[0]


def test_nothing_to_delete_needs_no_request() -> None:
    assert id_filters([]) == []


# What an import's answer means

SUCCESS = '{"success":true}'


def failure(code: int | None, error: str = "refused") -> str:
    result = {"success": False, "error": error, "document": '{"id":"1"}'} | ({} if code is None else {"code": code})
    return orjson.dumps(result).decode()


def test_an_answer_of_successes_refuses_nothing() -> None:
    assert read_import_answer("\n".join([SUCCESS] * 3), 3) == []


def test_a_success_may_be_written_in_another_way() -> None:
    assert read_import_answer('{"success": true, "id": "1"}', 1) == []


def test_a_refused_line_is_named_by_its_place_with_the_words_of_typesense() -> None:
    answer = "\n".join([SUCCESS, failure(400, "Field `price` must be a float."), SUCCESS, failure(409)])
    assert read_import_answer(answer, 4) == [
        Rejection(1, "rejected by Typesense (400)", "Field `price` must be a float."),
        Rejection(3, "rejected by Typesense (409)", "refused"),
    ]


def test_an_import_may_refuse_every_line() -> None:
    assert [item.line for item in read_import_answer("\n".join([failure(400)] * 3), 3)] == [0, 1, 2]


def test_a_line_without_a_code_is_the_documents_own_fault() -> None:
    assert read_import_answer(failure(None), 1) == [Rejection(0, "rejected by Typesense (400)", "refused")]


@pytest.mark.parametrize("code", [408, 422, 429, 500, 502, 503])
def test_a_line_that_fails_because_of_the_server_makes_the_batch_wait(code: int) -> None:
    answer = "\n".join([SUCCESS, failure(400), failure(code), SUCCESS])
    with pytest.raises(DependencyUnavailable, match=str(code)) as caught:
        read_import_answer(answer, 4)
    assert caught.value.in_doubt, "the other lines may have been written"


@pytest.mark.parametrize("last", [SUCCESS, failure(400)])
def test_an_empty_last_line_is_ignored(last: str) -> None:
    rejections = read_import_answer(f"{SUCCESS}\n{last}\n", 2)
    assert [item.line for item in rejections] == ([] if last == SUCCESS else [1])


def unembedded(code: int) -> str:
    return orjson.dumps(
        {"success": False, "code": code, "error": "provider", "embedding_error": "the text of a document"}
    ).decode()


@pytest.mark.parametrize("answer", [unembedded(401), unembedded(400), failure(401), failure(403), failure(404)])
def test_a_refusing_embedding_provider_needs_a_person(answer: str) -> None:
    with pytest.raises(ConfigurationError, match="provider of embeddings") as caught:
        read_import_answer("\n".join([answer] * 3), 3)
    assert "document" not in str(caught.value)


def test_a_text_that_cannot_be_embedded_while_others_can_is_the_documents_fault() -> None:
    assert [item.line for item in read_import_answer(f"{SUCCESS}\n{unembedded(400)}", 2)] == [1]


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_key_that_the_provider_refuses_is_no_documents_fault(code: int) -> None:
    """The other documents have no text to embed."""
    with pytest.raises(ConfigurationError, match=str(code)):
        read_import_answer(f"{SUCCESS}\n{unembedded(code)}", 2)


@pytest.mark.parametrize("lines", [0, 1, 2, 4, 5])
def test_an_answer_with_a_wrong_number_of_lines_is_an_outage(lines: int) -> None:
    with pytest.raises(DependencyUnavailable) as caught:
        read_import_answer("\n".join([SUCCESS] * lines), 3)
    assert caught.value.in_doubt


def test_the_words_of_a_server_error_are_not_repeated() -> None:
    with pytest.raises(DependencyUnavailable) as caught:
        read_import_answer(failure(503, "the text of a document"), 1)
    assert "document" not in str(caught.value)


def test_a_binary_key_is_looked_up_by_its_canonical_form() -> None:
    uuid = Binary(bytes(range(16)), 4)
    assert wanted([entry(uuid)], BEGINNING_OF_TIME).keys_by_id == {
        "00010203-0405-0607-0809-0a0b0c0d0e0f": ["00010203-0405-0607-0809-0a0b0c0d0e0f", uuid]
    }
