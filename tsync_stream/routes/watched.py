"""The files that a running worker's routes come from, beside the settings themselves.

A schema file says the same as if its content stood in the routes file, so a change of it is a change of routes. The
module of a transform is imported once in a process, and so a change of it needs a restart.
"""

from collections.abc import Mapping
from pathlib import Path

from tsync_stream.routes.declared import declared_routes
from tsync_stream.routes.table import RouteTable
from tsync_stream.routes.transforms import imported_file
from tsync_stream.settings.load import Settings


def table_anew(settings: Settings) -> RouteTable:
    """The table as its files are now, a schema file too. Raises ConfigurationError if they cannot be used."""
    if settings.routes_file is not None:
        from tsync_stream.routes.file import forget

        forget()
    return declared_routes(settings)


def schema_files_of(settings: Settings) -> list[Path]:
    """The schema files that the routes file names."""
    if settings.routes_file is None:
        return []
    from tsync_stream.routes.file import schema_files

    return schema_files(settings.routes_file)


def transform_files(table: RouteTable) -> Mapping[Path, str]:
    """The files of transforms that are imported now, each with the name of a transform in it."""
    found = {}
    for declaration in table.values():
        path = imported_file(declaration.transform) if declaration.transform else None
        if path is not None:
            found[path] = declaration.transform
    return found
