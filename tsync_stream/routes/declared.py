"""The routes that the settings declare: the single one of the environment variables. Pure, no I/O.

Invariant: a route's name is unique in its deployment and outlives a change of its target. Whatever is kept for a route
is kept under its name: partitions, dead letters, rechecks, jobs, its state in the epoch document, its metrics.
"""

from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.load import Settings


def declared_routes(settings: Settings) -> RouteTable:
    """The table of all routes: here the one that the environment variables name."""
    return RouteTable([Declaration(route_of(settings))])


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

    A message names both, because a route need not come from environment variables.
    """
    return f"{setting} (route {route.name})"
