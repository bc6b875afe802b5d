"""Which presets and analytics rules name a collection itself, in the forms of all releases."""

from typing import Any, cast

import orjson
import pytest

from tsync_stream.check.asking import MOST_NAMED
from tsync_stream.check.own_names import RULES, in_preset, in_rule, own_name_notes
from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.http import Answer

BEFORE_30 = {
    "name": "popular",
    "type": "popular_queries",
    "params": {"source": {"collections": ["shop_1", "other"]}, "destination": {"collection": "queries"}, "limit": 9},
}
FROM_30 = {
    "name": "popular",
    "type": "popular_queries",
    "collection": "shop_1",
    "event_type": "search",
    "params": {"destination_collection": "queries", "limit": 9},
}


class Server:
    """Answers by path; anything else is not there."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Answer | Exception] = {"/presets": Answer(404, b"{}"), RULES: Answer(404, b"{}")}
        for path, said in answers.items():
            self.answers[{"presets": "/presets", "rules": RULES}[path]] = (
                said if isinstance(said, Answer | Exception) else Answer(200, orjson.dumps(said))
            )
        self.asked: list[str] = []

    async def ask(self, method: str, path: str) -> Answer:
        assert method == "GET"
        self.asked.append(path)
        answer = self.answers[path]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def notes(server: Server, *collections: str) -> list[str]:
    return await own_name_notes(cast(TypesenseTarget, server), "shop", collections or ("shop_1", "shop_2"))


def preset(name: str, value: Any) -> dict[str, Any]:
    return {"name": name, "value": value}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"q": "*"}, []),
        ({"collection": "shop_1", "q": "*"}, ["shop_1"]),
        ({"searches": [{"collection": "shop_1"}, {"q": "*"}, {"collection": "a"}]}, ["shop_1", "a"]),
        ({"collection": 1, "searches": "shop_1"}, []),
        (None, []),
    ],
)
def test_a_preset_names_one_collection_or_one_for_each_search(value: Any, expected: list[str]) -> None:
    assert in_preset(value) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [(BEFORE_30, ["shop_1", "other", "queries"]), (FROM_30, ["shop_1", "queries"]), ({"params": []}, [])],
)
def test_a_rule_names_what_is_searched_and_where_it_counts(rule: dict[str, Any], expected: list[str]) -> None:
    assert in_rule(rule) == expected


@pytest.mark.parametrize("rules", [{"rules": [BEFORE_30]}, [FROM_30]], ids=["before 30", "from 30 on"])
async def test_both_are_named_and_what_names_the_alias_is_not(rules: Any) -> None:
    presets = [
        preset("near", {"collection": "shop_2"}),
        preset("by alias", {"collection": "shop"}),
        preset("of others", {"collection": "other_1"}),
    ]
    text = "{} name a collection that shop shows, and do not follow a reindex: {}. Let them name shop"
    assert await notes(Server(presets={"presets": presets}, rules=rules)) == [
        text.format("presets", "near (shop_2)"),
        text.format("analytics rules", "popular (shop_1)"),
    ]


async def test_the_list_is_bounded() -> None:
    presets = [preset(f"p{number}", {"collection": "shop_1"}) for number in range(MOST_NAMED + 3)]
    (note,) = await notes(Server(presets={"presets": presets}))
    assert "p9 (shop_1) and 3 more. Let" in note


@pytest.mark.parametrize(
    "answer",
    [
        Answer(401, b'{"message": "Forbidden"}'),
        Answer(404, b'{"message": "Not Found"}'),
        Answer(400, b'{"message": "Analytics is disabled."}'),
        Answer(503, b"{}"),
        Answer(200, b"<html>"),
        Answer(200, b'{"presets": 1, "rules": 1}'),
        Answer(200, b"7"),
        DependencyUnavailable("Typesense: gone"),
    ],
    ids=str,
)
async def test_what_cannot_be_listed_is_not_spoken_of(answer: Answer | Exception) -> None:
    assert await notes(Server(presets=answer, rules=answer)) == []


async def test_a_real_collection_is_its_own_name_and_nothing_is_asked() -> None:
    server = Server(presets={"presets": [preset("near", {"collection": "shop"})]})
    assert await notes(server, "shop") == []
    assert server.asked == []
