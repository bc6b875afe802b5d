"""tsync-stream keeps Typesense equal to MongoDB.

`faust -A tsync_stream worker` finds the Faust application here. It is built on first use, so importing a pure module
such as `tsync_stream.sink.mapping` needs neither Faust nor any setting.
"""

from typing import TYPE_CHECKING

from tsync_stream.core import __version__

if TYPE_CHECKING:
    from tsync_stream.app import TsyncApp

__all__ = ["__version__", "app"]

app: "TsyncApp"


def __getattr__(name: str) -> object:
    """Build `app` from the settings in the environment. With bad settings it only shows help."""
    if name == "app":
        from tsync_stream.app import app_from_environment

        # The import has just set the attribute `app` of this package to the module.
        globals()["app"] = application = app_from_environment()
        return application
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
