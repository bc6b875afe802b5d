"""The application runs on uvloop, unless another event loop is chosen."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

import pytest

_BUILD_THE_APP = "import asyncio, tsync_stream; tsync_stream.app; print(type(asyncio.new_event_loop()).__module__)"


def module_of_the_loop(environment: Mapping[str, str], arguments: Sequence[str] = ()) -> str:
    child = {name: value for name, value in os.environ.items() if name not in {"FAUST_LOOP", "F_LOOP"}}
    command = [sys.executable, "-c", _BUILD_THE_APP, *arguments]
    ended = subprocess.run(
        command, env={**child, **environment}, capture_output=True, text=True, check=True, timeout=200
    )
    return ended.stdout.strip()


def test_the_loop_is_uvloop() -> None:
    assert module_of_the_loop({}) == "uvloop"


@pytest.mark.parametrize(("environment", "arguments"), [({"FAUST_LOOP": "aio"}, []), ({}, ["--loop", "aio"])])
def test_another_loop_can_be_chosen(environment: Mapping[str, str], arguments: Sequence[str]) -> None:
    assert module_of_the_loop(environment, arguments).startswith("asyncio")
