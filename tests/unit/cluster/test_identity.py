"""Who a replica is, and when it is surely dead: never on a guess."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tsync_stream.cluster.identity import Identity, is_dead, own_identity

# Everything else here must hold everywhere: where nobody can be seen, nobody is called dead.
sees_processes = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(),
    reason="processes are recognized by /proc; without it, is_dead is False for all of them",
)


def identity_of(pid: int) -> Identity:
    """What another process of this machine would say of itself."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return replace(own_identity(), pid=pid, started=fields[19])


def test_a_replicas_name_is_new_every_time_and_readable() -> None:
    one, other = own_identity(), own_identity()
    assert one.replica != other.replica
    assert str(one.pid) in one.replica


def test_this_process_is_alive() -> None:
    assert not is_dead(own_identity())


@sees_processes
def test_a_process_is_dead_when_it_ended_even_before_anybody_collected_it() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        identity = identity_of(process.pid)
        assert not is_dead(identity)
        assert process.stdin is not None
        process.stdin.close()
        while not is_dead(identity):  # a zombie from its end to our wait
            pass
        assert process.returncode is None
    assert is_dead(identity)


@sees_processes
def test_another_process_with_the_same_number_is_not_it() -> None:
    me = own_identity()
    assert is_dead(replace(me, started=str(int(me.started) - 1)))


def hide(monkeypatch: pytest.MonkeyPatch, pid: int) -> None:
    """As another user's process is where /proc is mounted with `hidepid`."""
    read, kill = Path.read_text, os.kill

    def read_text(path: Path, *arguments: Any, **options: Any) -> str:
        if path == Path(f"/proc/{pid}/stat"):
            raise FileNotFoundError(path)
        return read(path, *arguments, **options)

    def refuse(asked: int, signal: int) -> None:
        if asked == pid:
            raise PermissionError
        kill(asked, signal)

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(os, "kill", refuse)


@sees_processes
def test_another_users_process_that_proc_hides_is_not_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        identity = identity_of(process.pid)
        hide(monkeypatch, process.pid)
        assert not is_dead(identity)


@sees_processes
def test_a_process_that_does_not_exist_any_more_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        identity = identity_of(process.pid)
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
    assert is_dead(identity)


@pytest.mark.parametrize("pid", [0, -1, 2**40])
def test_a_number_that_no_process_has_says_nothing(pid: int) -> None:
    assert not is_dead(replace(own_identity(), pid=pid))


@pytest.mark.parametrize("unknown", [{"kernel": ""}, {"kernel": "another boot"}, {"started": ""}])
def test_what_cannot_be_seen_from_here_is_not_called_dead(unknown: dict[str, str]) -> None:
    gone = replace(own_identity(), pid=2**22 + 1, **unknown)
    assert not is_dead(gone)


def test_where_there_is_no_process_table_nobody_is_called_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = replace(own_identity(), pid=2**22 + 1)

    def nothing(*_: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", nothing)
    assert not is_dead(gone)
    assert not is_dead(own_identity())


def test_an_identity_comes_back_from_the_database() -> None:
    me = own_identity()
    assert Identity(**me.to_bson()) == me
