"""The server that imitates releases in front of the real Typesense: what it changes, and what it leaves alone."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import orjson
import pytest

from tests.support.release_server import ReleaseServer
from tests.support.releases import RELEASES
from tests.support.stack import Names
from tests.support.waiting import wait_for
from tsync_stream.embedded import EmbeddedStack

Serving = Callable[..., Any]
SCHEMA: dict[str, Any] = {"enable_nested_fields": True, "fields": [{"name": ".*", "type": "auto"}]}


@pytest.fixture
def serving(stack: EmbeddedStack, names: Names) -> Serving:
    """A release in front of the stack's Typesense, clients of its nodes, and a collection with some documents."""

    @contextmanager
    def begin(release: str, documents: int = 3) -> Iterator[tuple[ReleaseServer, list[httpx.Client]]]:
        with ReleaseServer(stack.typesense.port, stack.typesense.api_key, release) as server:
            headers = {"X-TYPESENSE-API-KEY": stack.typesense.api_key}
            clients = [
                httpx.Client(base_url=f"http://{host}:{server.port}", headers=headers, timeout=10.0)
                for host in server.hosts
            ]
            schema = {**SCHEMA, "name": names.typesense_collection, "metadata": {"nonce": "one"}}
            clients[0].post("/collections", json=schema).raise_for_status()
            put(clients[0], names, *({"id": str(number), "o": {"p": number}} for number in range(documents)))
            yield server, clients
            for client in clients:
                client.close()

    return begin


def documents(names: Names) -> str:
    return f"/collections/{names.typesense_collection}/documents"


def put(client: httpx.Client, names: Names, *items: dict[str, Any]) -> httpx.Response:
    body = b"\n".join(map(orjson.dumps, items))
    answer = client.post(f"{documents(names)}/import?action=upsert", content=body)
    assert answer.text.count('"success":true') == len(items), answer.text
    return answer


def shown(client: httpx.Client, names: Names) -> list[str]:
    lines = client.get(f"{documents(names)}/export").raise_for_status().content.splitlines()
    return sorted(orjson.loads(line)["id"] for line in lines)


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_reports_its_version_and_serves_documents(serving: Serving, names: Names, release: str) -> None:
    with serving(release) as (_, clients):
        client = clients[-1]
        assert client.get("/debug").json()["version"] == RELEASES[release].version
        assert client.get("/health").json() == {"ok": True}
        assert client.get(f"{documents(names)}/1").json()["o"] == {"p": 1}
        assert client.delete(documents(names), params={"filter_by": "id:[`0`,`nobody`]"}).json() == {"num_deleted": 1}
        assert client.delete(f"{documents(names)}/nobody").status_code == 404
        assert shown(client, names) == ["1", "2"]
        refused = httpx.get(f"{client.base_url}/collections", headers={"X-TYPESENSE-API-KEY": "wrong"})
        assert refused.status_code == 401


@pytest.mark.parametrize(("release", "left"), [("27.1", ["0", "1", "2"]), ("28", []), ("30", [])])
def test_a_star_empties_the_collection_from_28_on(
    serving: Serving, names: Names, release: str, left: list[str]
) -> None:
    with serving(release) as (_, (client,)):
        filter_by = {"filter_by": "id:[`nobody`,`*`]"}
        assert len(client.get(f"{documents(names)}/export", params=filter_by).content.split()) == 3 - len(left)
        client.delete(documents(names), params=filter_by).raise_for_status()
        assert shown(client, names) == left
        put(client, names, {"id": "*"}, {"id": "a"})
        client.delete(f"{documents(names)}/*").raise_for_status()
        assert shown(client, names) == [*left, "a"]


def test_a_bracket_is_malformed_on_28(serving: Serving, names: Names) -> None:
    with serving("28") as (_, (client,)):
        for method in ("DELETE", "GET"):
            path = documents(names) + ("/export" if method == "GET" else "")
            answer = client.request(method, path, params={"filter_by": "id:[`a[b`]"})
            assert (answer.status_code, answer.json()) == (400, {"message": "Could not parse the geopoint filter."})


def test_a_deletion_ends_an_export_of_ids_on_29(serving: Serving, names: Names) -> None:
    path = f"{documents(names)}/export?include_fields=id"
    with serving("29", 250) as (server, (client,)):
        server.delete_during_next_export("150")
        lines = client.get(path).content.split(b"\n")
        assert (len(lines), lines[-1]) == (101, b'{"message": "Not found."}')
        server.delete_during_next_export("0")
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (404, {"message": "Not found."})
        server.delete_during_next_export("1")
        assert len(client.get(f"{documents(names)}/export").content.split(b"\n")) == 248, "it looks up nothing"


def test_a_deletion_is_a_line_of_text_in_an_export_of_ids_on_30(serving: Serving, names: Names) -> None:
    with serving("30", 250) as (server, (client,)):
        server.delete_during_next_export("7")
        text = client.get(f"{documents(names)}/export?include_fields=id").text
        assert "\nError while getting seq_id of `7`: Not found.\n" in text
        assert text.count('"id"') == 249


def test_each_node_has_its_own_creation_time_and_followers_lag(serving: Serving, names: Names) -> None:
    path = f"/collections/{names.typesense_collection}"
    with serving("cluster of three") as (server, clients):
        assert clients[2].get(path).status_code == 404, "it has not applied the creation yet"

        def seen(key: str) -> list[Any]:
            return [client.get(path).json().get(key) for client in clients]

        wait_for(lambda: None not in seen("created_at"), 5.0, "the nodes never know the collection")
        first, second, third = seen("created_at")
        assert (second - first, third - first) == (1, 2)
        server.replay(1)
        assert seen("created_at") == [first, second + 1000, third]
        assert clients[0].patch(path, json={"metadata": {"nonce": "two"}}).json() == {"metadata": {"nonce": "two"}}
        assert seen("metadata") == [{"nonce": "two"}, {"nonce": "one"}, {"nonce": "one"}]
        wait_for(lambda: seen("metadata") == 3 * [{"nonce": "two"}], 5.0, "the followers stay behind")
        assert {node for node, _, _ in server.administrative} == {0, 1, 2}


def test_up_to_25_there_is_no_metadata_and_answers_may_end_with_an_empty_line(serving: Serving, names: Names) -> None:
    with serving("0.25") as (_, (client,)):
        assert "metadata" not in client.get(f"/collections/{names.typesense_collection}").json()
        assert put(client, names, {"id": "a"}).content == b'{"success":true}\n'


def test_a_schema_change_blocks_writes_and_a_second_one_is_refused(serving: Serving, names: Names) -> None:
    path = f"/collections/{names.typesense_collection}"
    change = {"fields": [{"name": "added", "type": "string", "optional": True}]}
    with serving("28") as (server, (client,)), ThreadPoolExecutor() as pool:
        server.alter_lasts_s = 1.0
        began_s = time.monotonic()
        altering = pool.submit(client.patch, path, json=change)
        wait_for(lambda: "PATCH" in {method for _, method, _ in server.administrative}, 5.0, "nothing is altered")
        assert client.patch(path, json=change).status_code == 422
        put(client, names, {"id": "late"})
        assert time.monotonic() - began_s >= 1.0
        assert altering.result().status_code == 200


def test_bodies_of_the_wrong_type_are_counted(serving: Serving, names: Names) -> None:
    with serving("28") as (server, (client,)):
        for kind in ("application/octet-stream", "text/plain"):
            client.post(f"{documents(names)}/import", content=b'{"id":"x"}', headers={"Content-Type": kind})
        assert server.octet_stream_imports == 1


@pytest.mark.parametrize(("release", "flattened"), [("26.1", True), ("27.1", False)])
def test_filtered_exports_include_flattened_fields_up_to_26(
    serving: Serving, names: Names, release: str, flattened: bool
) -> None:
    with serving(release) as (_, (client,)):
        answer = client.get(f"{documents(names)}/export", params={"filter_by": "id:[`1`]"})
        assert (".flat" in orjson.loads(answer.content)) is flattened


def test_a_server_that_is_gone_looks_gone(stack: EmbeddedStack, serving: Serving, names: Names) -> None:
    with serving("29") as (_, (client,)):
        stack.typesense.kill()
        with pytest.raises(httpx.TransportError):
            client.get("/health")
        stack.typesense.start()
        assert shown(client, names) == ["0", "1", "2"]
