"""The routes that the settings declare: those of the routes file, or the single one of the environment variables.

Invariant: a route's name is unique in its deployment and outlives a change of its target. Whatever is kept for a route
is kept under its name: partitions, dead letters, rechecks, jobs, its state in the epoch document, its metrics.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.load import Settings, WrongRoutes, WrongSettings, load_settings
from tsync_stream.settings.routes_file import RoutesFile

if TYPE_CHECKING:
    from tsync_stream.routes.artefact_declarations import DeclaredArtefacts

_SOURCE = "MONGODB_COLLECTION"
_KEYS = {
    "MONGODB_DATABASE": "source",
    _SOURCE: "source",
    "TYPESENSE_COLLECTION_NAME": "target",
    "TYPESENSE_SCHEMA_FILE": "schema",
}


def load_all(
    directory: Path | None = None, environ: Mapping[str, str] | None = None, *, imports: bool = False
) -> Settings:
    """The settings, as `load_settings` reads them, if the routes that they declare can be used too.

    `imports`: transforms must be importable, as they have to be where they run. Raises ConfigurationError with every
    problem of both.
    """
    try:
        settings = load_settings(directory, environ)
    except WrongSettings as error:
        if error.routes_file is not None:
            try:
                _table_of(error.routes_file, None, imports=imports)
            except WrongRoutes as wrong:
                raise WrongRoutes([*error.problems, *wrong.problems]) from None
        raise
    if settings.routes_file is not None:
        _table_of(settings.routes_file, settings.state_database, imports=imports)
    return settings


def declared_routes(settings: Settings) -> RouteTable:
    """The table of all routes. Raises ConfigurationError if the file cannot be used, which `load_all` has checked."""
    if settings.routes_file is None:
        return RouteTable([Declaration(route_of(settings))])
    return _table_of(settings.routes_file, settings.state_database)


def declared_artefacts(settings: Settings) -> "DeclaredArtefacts":
    """The artefacts that the routes file declares; none without one. Raises as `declared_routes` does."""
    # Only here: who has no use for them does not wait for what reads them.
    from tsync_stream.routes.artefact_declarations import DeclaredArtefacts
    from tsync_stream.routes.file import artefacts_of

    if settings.routes_file is None:
        return DeclaredArtefacts()
    return artefacts_of(settings.routes_file, settings.state_database)


def _table_of(file: RoutesFile, state_database: str | None, *, imports: bool = False) -> RouteTable:
    # Only here: a start without a file does not wait for what reads one.
    from tsync_stream.routes.file import table_of

    return table_of(file, state_database, imports=imports)


def route_of(settings: Settings) -> Route:
    """The one route that the environment variables name."""
    return Route(
        name=settings.route_name,
        database=settings.mongo.database,
        collection=settings.mongo.collection,
        target=settings.typesense.collection_name,
    )


def source_name(route: Route) -> str:
    """The route's source, as MongoDB names a collection: `database.collection`."""
    return f"{route.database}.{route.collection}"


def of_route(setting: str, route: Route) -> str:
    """The beginning of a message about one setting of one route: `TYPESENSE_COLLECTION_NAME (route listings)`.

    Of a route that a file declares, it names the key that takes the setting's place: ``target of route listings
    (tsync.yaml)``.
    """
    if not route.declared_in:
        return f"{setting} (route {route.name})"
    return f"`{_KEYS.get(setting, setting)}` of route {route.name} ({route.declared_in})"


def source_setting(route: Route) -> str:
    """What names the route's source: `MONGODB_COLLECTION`, or the key of the file that declares the route."""
    return of_route(_SOURCE, route) if route.declared_in else _SOURCE
