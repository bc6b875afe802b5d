"""Which stages a pipeline may have: those that keep one document one document, with its key."""

from typing import Any

import pytest

from tsync_stream.routes.stages import ALLOWED, REFUSED, pipeline_problems


def said(*stages: dict[str, Any]) -> list[str]:
    return [text for _, text in pipeline_problems(stages, ())]


@pytest.mark.parametrize(
    "stages",
    [
        [{"$set": {"total": {"$multiply": ["$price", "$amount"]}}}, {"$addFields": {"a.b": 1}}],
        [{"$match": {"price": {"$gt": 1}}}],
        [{"$unset": "cost"}, {"$unset": ["margin", "x_id"]}],
        [{"$project": {"title": 1}}, {"$project": {"_id": 1, "a": 1}}, {"$project": {"_id": True, "cost": 0}}],
        [{"$project": {"_id": "$_id", "a": "$b"}}],
        [{"$set": {"_id": "$_id"}}],
        [{"$replaceRoot": {"newRoot": "$$ROOT"}}],
        [{"$replaceWith": {"_id": "$_id", "a": "$b"}}],
        [{"$replaceWith": {"$mergeObjects": ["$address", "$$ROOT"]}}],
        [{"$replaceWith": {"$mergeObjects": ["$address", {"_id": "$_id"}]}}],
        [{"$replaceRoot": {"newRoot": {"$mergeObjects": ["$$ROOT", {"a": "$b"}]}}}],
        [{"$unwind": "$items"}, {"$match": {"items.n": 1}}, {"$group": {"_id": "$_id", "n": {"$sum": 1}}}],
        [{"$lookup": {"from": "x", "localField": "a", "foreignField": "_id", "as": "b"}}],
        [{"$graphLookup": {"from": "x", "startWith": "$a", "as": "b"}}],
        [{"$redact": {"$cond": ["$public", "$$DESCEND", "$$PRUNE"]}}],
    ],
)
def test_these_keep_one_document_one_document(stages: list[dict[str, Any]]) -> None:
    assert said(*stages) == []


LOSES_THE_KEY = "`_id`"


@pytest.mark.parametrize(
    ("stage", "says"),
    [
        ({"$unset": "_id"}, "`$unset` would lose `_id`"),
        ({"$unset": ["a", "_id.part"]}, "`$unset` would lose `_id`"),
        ({"$project": {"_id": 0, "a": 1}}, "`$project` would lose `_id`"),
        ({"$project": {"_id": False}}, "`$project` would lose `_id`"),
        ({"$project": {"_id": "$sku"}}, "`$project` would lose `_id`"),
        ({"$project": {"_id.part": 1}}, "`$project` would lose `_id`"),
        ({"$set": {"_id": "$sku"}}, "the document's `_id` must stay as it is"),
        ({"$addFields": {"_id.part": 1}}, "the document's `_id` must stay as it is"),
        ({"$replaceRoot": {"newRoot": "$address"}}, "the new document must have the `_id` of the old one"),
        ({"$replaceRoot": "$address"}, "`$replaceRoot` needs `newRoot`"),
        ({"$replaceWith": {"a": 1}}, "the new document must have the `_id` of the old one"),
        ({"$replaceWith": {"_id": "$sku"}}, "the new document must have the `_id` of the old one"),
        ({"$replaceWith": {"$mergeObjects": ["$$ROOT", "$address"]}}, "must have the `_id` of the old one"),
        ({"$replaceWith": {"$mergeObjects": ["$$ROOT", {"_id": "$sku"}]}}, "must have the `_id` of the old one"),
        ({"$replaceWith": {"$mergeObjects": ["$$ROOT", {"$arrayToObject": "$a"}]}}, "must have the `_id`"),
        ({"$lookup": {"from": "x", "as": "_id"}}, "the document's `_id` must stay as it is"),
        ({"$graphLookup": {"from": "x", "as": "_id.x"}}, "the document's `_id` must stay as it is"),
    ],
)
def test_a_stage_that_loses_the_key_is_refused(stage: dict[str, Any], says: str) -> None:
    (found,) = said(stage)
    assert says in found


def test_an_unwind_is_put_together_again() -> None:
    assert "a `$group` with `_id: $_id` must follow" in said({"$unwind": "$a"}, {"$set": {"b": 1}})[0]
    assert "possible only after an `$unwind`" in said({"$group": {"_id": "$_id"}})[0]
    group: dict[str, Any] = {"$group": {"_id": "$kind"}}
    assert "`$group` needs `_id: $_id`" in said({"$unwind": "$a"}, group)[0]
    again: dict[str, Any] = {"$unwind": "$a"}
    assert said(again, {"$group": {"_id": "$_id"}}, again, {"$group": {"_id": "$_id"}}) == []
    with_index: dict[str, Any] = {"$unwind": {"path": "$a", "includeArrayIndex": "_id"}}
    assert "must stay as it is" in said(with_index, {"$group": {"_id": "$_id"}})[0]


@pytest.mark.parametrize("name", REFUSED)
def test_each_refusal_has_its_reason(name: str) -> None:
    assert said({name: {}}) == [f"`{name}` is not possible here: {REFUSED[name]}"]
    assert name not in ALLOWED


def test_unknown_stages_are_refused_with_what_is_known() -> None:
    assert said({"$sett": {}}) == ["`$sett` is not possible here; did you mean `$set`?"]
    assert "the stages that keep one document one document are $match, $set," in said({"$xyz": {}})[0]
    assert "a stage is a mapping with one key" in said({})[0]
    assert "a stage is a mapping with one key" in said({"$set": {"a": 1}, "$unset": "b"})[0]


def test_what_is_inside_a_stage_is_looked_at_too() -> None:
    def places(stage: dict[str, Any]) -> list[tuple[str | int, ...]]:
        return [place for place, _ in pipeline_problems([stage], ("pipeline",))]

    assert places({"$set": {"a": {"$cond": [True, {"$function": {}}, 1]}}}) == [
        ("pipeline", 0, "$set", "a", "$cond", 1, "$function")
    ]
    assert places({"$match": {"a": {"$near": [1, 2]}}})[-1] == ("pipeline", 0, "$match", "a", "$near")
    assert places({"$lookup": {"from": "x", "as": "b", "pipeline": [{"$set": {"at": "$$NOW"}}]}}) == [
        ("pipeline", 0, "$lookup", "pipeline", 0, "$set", "at")
    ]
