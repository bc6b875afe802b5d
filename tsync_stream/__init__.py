"""tsync-stream keeps Typesense equal to MongoDB.

`faust -A tsync_stream worker` finds the Faust application here. It is built on first use, so that
importing a pure module (`tsync_stream.sink.mapping`, say) needs neither faust nor any setting.
"""

from typing import TYPE_CHECKING

from tsync_stream.core.version import __version__

if TYPE_CHECKING:
    from tsync_stream.app import TsyncApp

__all__ = ["__version__", "app"]

app: "TsyncApp"


def __getattr__(name: str) -> object:
    """Build `app` from the environment's settings; a bad setting exits with 2."""
    if name == "app":
        from tsync_stream.app import app_from_environment

        # Importing the module `tsync_stream.app` has just given this package an attribute of the same name.
        globals()["app"] = application = app_from_environment()
        return application
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
