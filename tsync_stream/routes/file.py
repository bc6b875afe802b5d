"""The routes file → the table of routes, or every problem of the file at once.

Invariants: a table is made only of a file without problems. Nothing is written and no server is asked; schema files
are read, because a route that lacks its own cannot begin. Modules of transforms are imported only where that is asked:
who looks at a running deployment need not have them.
"""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import ValidationError

from tsync_stream.core.model import Route
from tsync_stream.routes.artefact_checks import artefact_problems, item_problems, origin_of
from tsync_stream.routes.artefact_declarations import DeclaredArtefacts, of_all, of_route
from tsync_stream.routes.artefact_models import ArtefactsPart
from tsync_stream.routes.cross_checks import CALCULATIONS, route_problems, table_problems
from tsync_stream.routes.declaration import Children, Declaration, FieldForm, Lookup, Parent
from tsync_stream.routes.extended_json import decoded, plain
from tsync_stream.routes.file_forms import DATE_FORMS, Part
from tsync_stream.routes.file_models import LookupPart, ParentPart, RoutePart, RoutesPart, SummaryPart
from tsync_stream.routes.file_schemas import SchemaProblem, read_schema, schema_problems
from tsync_stream.routes.filters import query_problems
from tsync_stream.routes.model_problems import about
from tsync_stream.routes.problems import Place, lines
from tsync_stream.routes.stages import pipeline_problems
from tsync_stream.routes.table import RouteTable
from tsync_stream.routes.transforms import why_not_importable
from tsync_stream.routes.yaml_reader import Read, read_yaml
from tsync_stream.settings.load import WrongRoutes
from tsync_stream.settings.routes_file import RoutesFile

_Model = TypeVar("_Model", bound=Part)


def table_of(file: RoutesFile, state_database: str | None, *, imports: bool = False) -> RouteTable:
    """The table that a file declares; the same one each time. Raises WrongRoutes with every problem.

    `imports`: a transform that cannot be imported is one.
    """
    return _loaded(file, state_database, imports=imports)[0]


def artefacts_of(file: RoutesFile, state_database: str | None) -> DeclaredArtefacts:
    """The artefacts that it declares. Raises WrongRoutes as `table_of` does."""
    return _loaded(file, state_database, imports=False)[1]


def forget() -> None:
    """Read the next file anew, with the schema files that it names, even if it is the same one."""
    _loaded.cache_clear()


@lru_cache(maxsize=4)
def _loaded(file: RoutesFile, state_database: str | None, *, imports: bool) -> tuple[RouteTable, DeclaredArtefacts]:
    read = read_yaml(file.content, dict(file.variables))
    loaded = None if read.value is None else _Loading(read, file.path, state_database, imports=imports).loaded()
    if loaded is None or read.problems:
        raise WrongRoutes(lines(read.problems, _shown(file.path)))
    return loaded


def schema_files(file: RoutesFile) -> list[Path]:
    """The schema files that it names, there or not; none if it cannot be read as far as that."""
    value = read_yaml(file.content, dict(file.variables)).value
    routes = value.get("routes") if isinstance(value, dict) else None
    parts = [part for part in routes.values() if isinstance(part, dict)] if isinstance(routes, dict) else []
    return [file.path.parent / part["schema"] for part in parts if isinstance(part.get("schema"), str)]


def _shown(path: Path) -> Path:
    """The path as short as a terminal makes a link of it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


class _Loading:
    """One pass over a file that is YAML. What is wrong goes to `read.problems`."""

    def __init__(self, read: Read, path: Path, state_database: str | None, *, imports: bool) -> None:
        self._read = read
        self._imports = imports
        self._folder, self._file = path.parent, path.name
        self._state_database = state_database

    def loaded(self) -> tuple[RouteTable, DeclaredArtefacts] | None:
        """None if there is any problem."""
        routes, artefacts = self._parts()
        declarations = [self._declaration(name, route, ("routes", name)) for name, route in routes.items()]
        self._report_all(table_problems(routes, self._state_database))
        targets = {part.target: name for name, part in routes.items()}
        self._report_all(artefact_problems(artefacts, targets, self._read.written))
        if self._read.problems:
            return None
        origins = {name: origin_of(name, self._read.written) for name in artefacts.search_keys or {}}
        of_routes = {name: of_route(part) for name, part in routes.items()}
        return RouteTable(declarations), of_all(artefacts, of_routes, self._folder, origins)

    def _parts(self) -> tuple[dict[str, RoutePart], ArtefactsPart]:
        """Routes and artefacts, without the parts that are not valid by themselves: the others are checked anyway."""
        value = self._read.value
        try:
            whole = RoutesPart.model_validate(value)
        except ValidationError as error:
            for place, at_key, text in about(error, self._read.written):
                self._report(place, text, at_key=at_key)
        else:
            return whole.routes, whole
        top = value if isinstance(value, dict) else {}
        routes = top.get("routes")
        parts = routes.items() if isinstance(routes, dict) else ()
        artefacts = {key: each for key, each in top.items() if key in ArtefactsPart.model_fields}
        return (
            {name: _valid_route(name, part) for name, part in parts if isinstance(part, dict)},
            _valid_parts(ArtefactsPart, artefacts, {}),
        )

    def _declaration(self, name: str, part: RoutePart, place: Place) -> Declaration:
        self._report_all(route_problems(part, place))
        self._report_all(item_problems(part, place))
        database, _, collection = part.source.partition(".")
        return Declaration(
            route=Route(name, database, collection, part.target, self._file),
            filter=self._filter(part.filter or {}, (*place, "filter")),
            lookups=tuple(_lookup(each) for each in part.lookups or ()),
            pipeline=self._pipeline(part.pipeline or [], (*place, "pipeline")),
            fields=None if part.fields is None else tuple(part.fields),
            exclude=tuple(part.exclude or ()),
            rename=dict(part.rename or {}),
            types={field: _form(each) for field, each in (part.types or {}).items()},
            transform=self._transform(part.transform or "", (*place, "transform")),
            depends_on=None if part.depends_on is None else tuple(part.depends_on),
            schema=self._schema(part.schema_, (*place, "schema")),
            max_rate=part.max_rate,
            on_change=part.on_change,
        )

    def _filter(self, query: dict[str, Any], place: Place) -> dict[str, Any]:
        found: dict[str, Any] = decoded(query, place, self._report)
        self._report_all(query_problems(found, place) if isinstance(found, dict) else ())
        return found

    def _pipeline(self, stages: list[dict[str, Any]], place: Place) -> tuple[dict[str, Any], ...]:
        found = tuple(decoded(stage, (*place, at), self._report) for at, stage in enumerate(stages))
        self._report_all(pipeline_problems([stage for stage in found if isinstance(stage, dict)], place))
        return found

    def _transform(self, name: str, place: Place) -> str:
        if self._imports and name and place not in self._read.broken and (why := why_not_importable(name)):
            self._report(place, f"`{self._read.written.get(place, 'transform')}` {why}")
        return name

    def _schema(self, given: dict[str, Any] | str | None, place: Place) -> dict[str, Any] | None:
        if given is None:
            return None
        if isinstance(given, str):
            try:
                given = read_schema(self._folder / given)
            except SchemaProblem as problem:
                self._report(place, f"`{self._read.written.get(place, 'schema')}`: {problem}")
                return None
            self._report_all((place, text) for _, text in schema_problems(given))
        else:
            for inner, text in schema_problems(given):
                at = (*place, *inner)
                self._report(at, text if self._is_literal(at) else "this is not valid with the values of its variables")
        return {name: plain(value) for name, value in given.items() if name != "name"}

    def _is_literal(self, place: Place) -> bool:
        """Whether a value holds no variable, so that a message may quote it."""
        written = self._read.written
        return not any("${" in text for at, text in written.items() if at[: len(place)] == place)

    def _report_all(self, problems: Iterable[tuple[Place, str]]) -> None:
        for place, text in problems:
            self._report(place, text)

    def _report(self, place: Place, text: str, *, at_key: bool = True) -> None:
        if any(place[:length] in self._read.broken for length in range(len(place) + 1) if length != 2):
            return  # what is wrong there is said already
        spot = self._read.key_spot(place) if at_key else self._read.spot(place)
        self._read.add(spot, place, text)


def _valid_route(name: str, part: dict[str, Any]) -> RoutePart:
    """A route of those parts that are valid; what it must have, and lacks, is made up."""
    made_up = {"source": "unknown.unknown", "target": f"the target of {name}".replace(" ", "_")}
    return _valid_parts(RoutePart, part, made_up)


def _valid_parts(model: type[_Model], part: dict[str, Any], made_up: dict[str, Any]) -> _Model:
    try:
        return model.model_validate(part)
    except ValidationError as error:
        wrong = {
            problem["loc"][0] for problem in error.errors(include_url=False, include_input=False) if problem["loc"]
        }
        return model.model_validate({**made_up, **{key: each for key, each in part.items() if key not in wrong}})


def _lookup(part: LookupPart) -> Lookup:
    if isinstance(part, ParentPart):
        return Parent(part.from_, part.local, part.as_, tuple(part.fields or ()), part.many)
    summary = {} if part.summary is None else _summary(part.summary)
    return Children(part.children, part.foreign, part.as_, tuple(part.fields or ()), summary)


def _summary(part: SummaryPart) -> dict[str, Any]:
    found = {name: getattr(part, name) for name in ("count", *CALCULATIONS)}
    return {name: value for name, value in found.items() if value}


def _form(given: str | dict[str, str]) -> FieldForm:
    return cast(FieldForm, given if isinstance(given, str) else DATE_FORMS[given["date"]])
