"""Finds the Python function that a route names as its `transform`: `module:function`, the module as Python finds it.

Invariant: whatever a module does when it is imported, a message holds names alone, no text of an exception.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def transform_function(name: str) -> Callable[[Any], Any]:
    """The function. Raises what importing its module raises, AttributeError if it is not there, TypeError for others.

    The working directory is searched first, as `python -m` does, however the process was started.
    """
    directory = str(Path.cwd())
    if directory not in sys.path and "" not in sys.path:
        sys.path.insert(0, directory)
    module, _, path = name.partition(":")
    importlib.invalidate_caches()  # the module may have been written since it was last looked for
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{name} cannot be called")
    function: Callable[[Any], Any] = found
    return function


def imported_file(name: str) -> Path | None:
    """The file that the function's module was imported from; None if it is not imported, or not from a file."""
    file = getattr(sys.modules.get(name.partition(":")[0]), "__file__", None)
    return Path(file) if isinstance(file, str) else None


def why_not_importable(name: str) -> str:
    """Completes "`module:function` …" with why it cannot be used; "" if it can."""
    try:
        transform_function(name)
    except ModuleNotFoundError as error:
        if error.name in _modules(name):
            return "is not found: it needs a module that Python finds from the working directory or in PYTHONPATH"
        return "cannot be imported (ModuleNotFoundError): its module needs another one that is not installed"
    except AttributeError:
        return "is not found: its module has no such function, or fails to import one (AttributeError)"
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may raise anything
        return f"cannot be imported ({type(error).__name__}): it needs a function of a module that imports cleanly"
    return ""


def _modules(name: str) -> list[str]:
    """The module and the packages that it is in."""
    parts = name.partition(":")[0].split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
