"""Can we write to this Typesense node, with this key, into the collections of all routes? Changes nothing.

What the key may do is tested with requests that have no effect: Typesense checks the key before it finds that a request
has no name, no documents, or the id of a document that cannot exist.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx

from tsync_stream.check.findings import DEADLINE_S, Finding, Row, note, wrong
from tsync_stream.check.tls import OF_TYPESENSE, tls_fix
from tsync_stream.check.typesense_releases import reference_findings, release_findings
from tsync_stream.core.causes import cause_of
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.load import TypesenseSettings
from tsync_stream.sink.connection import http_client
from tsync_stream.sink.many_fields import MANY_FIELDS, about_many_fields
from tsync_stream.sink.markers import MARKERS
from tsync_stream.sink.names import is_never_sent
from tsync_stream.sink.schema import load_schema
from tsync_stream.sink.values import path_text

# The actions that a worker's key needs, as Typesense names them.
GET, CREATE, ALIAS = "collections:get", "collections:create", "aliases:get"
IMPORT, DELETE, EXPORT = "documents:import", "documents:delete", "documents:export"
_REFUSED = frozenset({401, 403})
# Collections that are looked at together.
MOST_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """One collection: `answers` are HTTP codes by action, and `collection` is the answer to GET, whatever it is."""

    answers: Mapping[str, int]
    collection: Any = None


@dataclass(frozen=True, slots=True)
class TypesenseFacts:
    """What one look saw. `error` is set if a request got no answer; `targets` are the collections by name.

    `marks_code` is the HTTP code of a request for one of our marks.
    """

    error: Exception | None = None
    health_code: int = 0
    health: Any = None
    version: str = ""
    targets: Mapping[str, TargetFacts] = field(default_factory=dict)
    marks_code: int = 0


async def gather_typesense(settings: TypesenseSettings, table: RouteTable, url: str) -> TypesenseFacts:
    """Examine one node; never raises for what it does or does not answer."""
    try:
        async with asyncio.timeout(DEADLINE_S), http_client(settings, DEADLINE_S, url) as client:
            return await _look(client, [route.target for route in table.routes])
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:  # the deadline's TimeoutError is an OSError
        return TypesenseFacts(error)


async def _look(client: httpx.AsyncClient, collections: Sequence[str]) -> TypesenseFacts:
    health = await client.get("/health")
    if _json(health) is None or not health.is_success:
        return TypesenseFacts(None, health.status_code, _json(health))
    debug = await client.get("/debug")
    version = _version(_json(debug)) if debug.is_success else ""
    limit = asyncio.Semaphore(MOST_AT_ONCE)

    async def look_at(name: str) -> TargetFacts:
        async with limit:
            return await _target(client, quote(name, safe=""))

    targets = await asyncio.gather(*map(look_at, collections))
    mark = await client.get(f"/collections/{MARKERS}/documents/{uuid4()}")
    found = dict(zip(collections, targets, strict=True))
    return TypesenseFacts(None, health.status_code, _json(health), version, found, mark.status_code)


async def _target(client: httpx.AsyncClient, collection: str) -> TargetFacts:
    documents = f"/collections/{collection}/documents"
    nothing = str(uuid4())
    requests = {
        GET: client.get(f"/collections/{collection}"),
        CREATE: client.post("/collections", content=b"{}"),
        ALIAS: client.get(f"/aliases/{collection}"),
        IMPORT: client.post(f"{documents}/import", content=b""),
        DELETE: client.delete(f"{documents}/{nothing}"),
        EXPORT: client.get(f"{documents}/export", params={"filter_by": f"id:[`{nothing}`]"}),
    }
    responses = await asyncio.gather(*requests.values())
    answers = {action: response.status_code for action, response in zip(requests, responses, strict=True)}
    return TargetFacts(answers, _json(responses[0]) if answers[GET] == 200 else None)


def judge_typesense(
    settings: TypesenseSettings, table: RouteTable, url: str, facts: TypesenseFacts, schema: str | None = None
) -> Row:
    """The row of one node (pure). `schema` is the text of TYPESENSE_SCHEMA_FILE, if there is one."""
    findings = [*_node(url, facts), *release_findings(facts.version)]
    if facts.targets and all(set(seen.answers.values()) <= _REFUSED for seen in facts.targets.values()):
        findings.append(wrong("the API key is refused", "set TYPESENSE_API_KEY to a key of this server"))
    else:
        for declaration in table.values():
            found = _target_findings(declaration, facts)
            findings += [_of_route(finding, table, declaration.route.name) for finding in found]
        findings += _marks(facts)
    for declaration in table.values():
        whose = f"the schema of route {declaration.route.name} (ROUTES_FILE)"
        findings += reference_findings(declaration.schema, whose, facts.version)
    if schema is not None:
        findings += _schema(settings, schema, facts.version)
    return Row("Typesense", url, facts.error is None, facts.version, findings)


def _target_findings(declaration: Declaration, facts: TypesenseFacts) -> Iterator[Finding]:
    """The findings about the collection of one route."""
    name = declaration.route.target
    seen = facts.targets.get(name)
    if seen is not None:
        yield from _key_and_collection(name, seen.answers)
        yield from reference_findings(seen.collection, f"the collection {name}", facts.version)
        yield from _fields(name, seen.collection)


def _of_route(finding: Finding, table: RouteTable, route: str) -> Finding:
    return finding if len(table) == 1 else replace(finding, text=f"route {route}: {finding.text}")


def _node(url: str, facts: TypesenseFacts) -> Iterator[Finding]:
    if facts.error is not None:
        names = "TYPESENSE_HOST, TYPESENSE_PORT and TYPESENSE_PROTOCOL"
        if isinstance(facts.error, httpx.RemoteProtocolError | httpx.InvalidURL):
            yield wrong(f"{url} does not answer like Typesense", f"correct {names}")
        else:
            cause = cause_of(facts.error)
            fix = tls_fix(cause, OF_TYPESENSE) or f"start the server, or correct {names}"
            yield wrong(f"no answer at {url} ({cause})", fix)
    elif not isinstance(facts.health, dict):
        yield wrong(
            f"{url}/health answers {facts.health_code} without JSON: this is not Typesense",
            "correct TYPESENSE_HOST and TYPESENSE_PORT",
        )
    elif not facts.targets:
        because = facts.health.get("resource_error")
        text = f"it reports that it is not healthy ({because or facts.health_code})"
        yield wrong(text, "give it more disk or memory" if because else "wait until it has caught up, or see its log")


def _key_and_collection(name: str, answers: Mapping[str, int]) -> Iterator[Finding]:
    refused = [action for action, code in answers.items() if code in _REFUSED]
    exists = answers[GET] == 200
    if failing := [code for code in answers.values() if code >= 500 or code in {408, 422, 429}]:
        yield wrong(
            f"it answers requests with {failing[0]}", "wait until it has caught up, or see its log and its disk"
        )
    if GET not in refused and not exists and CREATE in refused:
        text = f"there is no collection {name}, and the API key may not create it"
        yield wrong(text, f"create the collection, or allow the key `{CREATE}`")
    elif answers[GET] == 404:
        yield from _creation(name, may_alias=ALIAS not in refused)
    # These are needed only while the collection is missing.
    if missing := [f"`{action}`" for action in refused if action not in {CREATE, ALIAS}]:
        yield wrong(
            f"the API key lacks permissions for {name}", f"allow the key {', '.join(missing)} on that collection"
        )


def _creation(name: str, *, may_alias: bool) -> Iterator[Finding]:
    if may_alias:
        yield note(f"there is no collection {name} yet; the first start creates it, behind an alias of that name")
    else:
        yield note(
            f"there is no collection {name} yet; the first start creates it, without an alias before it, so a reindex "
            "could not replace it without a moment of wrong answers",
            f"allow the key `aliases:*`, and the collections `{name}_[0-9]+`",
        )


def _marks(facts: TypesenseFacts) -> Iterator[Finding]:
    may_read = any(seen.answers[GET] not in _REFUSED for seen in facts.targets.values())
    if facts.marks_code in _REFUSED and may_read:
        unseen = "a Typesense that was restored from an older backup would go unnoticed"
        rights = "`documents:*` and `collections:create` on it"
        yield note(f"the API key may not use the collection {MARKERS}, so {unseen}", f"allow the key {rights}")


def _fields(collection_name: str, collection: Any) -> Iterator[Finding]:
    """What is wrong or unusual about the collection's fields."""
    fields = collection.get("fields") if isinstance(collection, dict) else None
    described = [field for field in fields if isinstance(field, dict)] if isinstance(fields, list) else []
    names = [name for name in (str(field.get("name", "")) for field in described) if name and ".*" not in name]
    for name in filter(is_never_sent, names):
        drop = f'{{"fields": [{{"name": "{path_text(name)}", "drop": true}}]}}'
        yield wrong(
            f"because of its field `{path_text(name)}`, {collection_name} refuses documents without that field",
            f"`PATCH /collections/{collection_name}` with {drop}, or drop the collection: it is created again",
        )
    if len(names) >= MANY_FIELDS:
        yield note(about_many_fields(collection_name, names))


def _schema(settings: TypesenseSettings, text: str, version: str) -> Iterator[Finding]:
    try:
        schema = load_schema(text, settings.collection_name)
    except ConfigurationError as error:
        for problem in error.problems:
            yield wrong(problem, f"correct {settings.schema_file} (TYPESENSE_SCHEMA_FILE)")
    else:
        yield from reference_findings(schema, "the Typesense schema file", version)


def _version(debug: Any) -> str:
    return str(debug.get("version") or "") if isinstance(debug, Mapping) else ""


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None
