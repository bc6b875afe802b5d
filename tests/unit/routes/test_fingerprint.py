"""What a route is reconciled for, and when a stored position is of another stream."""

from dataclasses import replace
from typing import Any

import pytest

from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Declaration, Parent
from tsync_stream.routes.fingerprint import NEW_ROUTE, divided_as_we_do, fingerprint_of, same_stream, why_reconcile
from tsync_stream.settings.load import default_settings

ROUTE = Route("listings", "shop", "listings", "window")
SETTINGS = default_settings()
OURS = fingerprint_of(Declaration(ROUTE), b"\x01" * 16, {"target_nonce": "n"}, SETTINGS)


def test_equal_fingerprints_need_no_reconcile() -> None:
    assert why_reconcile(OURS, dict(OURS)) == ""


def test_a_route_that_is_not_known_yet_needs_one() -> None:
    assert why_reconcile({}, OURS) == NEW_ROUTE


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (fingerprint_of(Declaration(ROUTE), b"\x02" * 16, {}, SETTINGS), "changed: source_uuid"),
        (fingerprint_of(Declaration(replace(ROUTE, target="other")), b"\x01" * 16, {}, SETTINGS), "changed: target"),
        (fingerprint_of(Declaration(ROUTE), b"\x01" * 16, {}, replace(SETTINGS, date_unit="ms")), "changed: mapping"),
        (
            fingerprint_of(Declaration(replace(ROUTE, collection="orders")), b"\x02" * 16, {}, SETTINGS),
            "changed: source, source_uuid",
        ),
    ],
)
def test_the_reason_names_what_changed(new: dict[str, Any], reason: str) -> None:
    assert why_reconcile(OURS, new) == reason


def test_what_typesense_reports_is_judged_elsewhere() -> None:
    assert why_reconcile(OURS, {**OURS, "target_nonce": "another"}) == ""


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        ("window", "window_1", ""),
        ("window_1", "window", ""),
        ("window", "other", "changed: target"),
        ("window", "window_2", "changed: target"),
    ],
    ids=["by the name of its collection", "by its alias again", "another one", "another generation"],
)
def test_a_collection_may_be_called_by_its_alias_or_by_its_name(before: str, now: str, reason: str) -> None:
    part = {"target_name": "window_1"}
    old, new = (
        fingerprint_of(Declaration(replace(ROUTE, target=name)), b"\x01" * 16, part, SETTINGS) for name in (before, now)
    )
    assert why_reconcile(old, new) == reason


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({}, True),
        ({"mapping": "0 s"}, True),
        ({"target": "t"}, True),
        ({"source": "a.b"}, False),
        ({"source_uuid": "02"}, False),
    ],
)
def test_only_another_source_is_another_stream(changed: dict[str, str], same: bool) -> None:
    assert same_stream({**OURS, **changed}, OURS) is same


def test_a_route_that_is_not_known_yet_has_no_stream() -> None:
    assert not same_stream({}, OURS)


@pytest.mark.parametrize(
    ("found", "ours"),
    [([OURS, OURS], True), ([OURS, {}], True), ([], True), ([OURS, {**OURS, "division": 1}], False)],
    ids=["ours", "one whose source is gone", "no route", "another version's"],
)
def test_an_epoch_that_was_divided_otherwise_is_not_ours(found: list[dict[str, Any]], ours: bool) -> None:
    assert divided_as_we_do(found) is ours


@pytest.mark.parametrize(
    "changed",
    [
        {"filter": {"status": "published"}},
        {"fields": ["title"]},
        {"exclude": ["cost"]},
        {"rename": {"a": "b"}},
        {"types": {"price": "float"}},
        {"transform": "shop.search:listing"},
        {"lookups": [Parent("sellers", "seller_id", "seller")]},
        {"pipeline": [{"$set": {"a": 1}}]},
    ],
)
def test_another_view_of_the_same_documents_must_be_reconciled(changed: dict[str, Any]) -> None:
    assert (
        why_reconcile(OURS, fingerprint_of(Declaration(ROUTE, **changed), b"\x01" * 16, {}, SETTINGS))
        == "changed: view"
    )


def test_a_schema_is_how_a_target_is_created_and_no_part_of_the_view() -> None:
    declared = Declaration(ROUTE, filter={"a": 1}, schema={"fields": []})
    with_schema, without = (
        fingerprint_of(each, b"\x01" * 16, {}, SETTINGS) for each in (declared, replace(declared, schema=None))
    )
    assert with_schema == without
    assert (
        why_reconcile(OURS, fingerprint_of(Declaration(ROUTE, schema={"fields": []}), b"\x01" * 16, {}, SETTINGS)) == ""
    )
