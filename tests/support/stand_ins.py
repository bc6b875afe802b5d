"""The few words of redis-cli, unzip and bsondump that the documents use, for machines that have not got them.

It is started under their names, as a program of its own: see `install`.
"""

import json
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

REDIS_PORT = "TSYNC_TEST_REDIS_PORT"


def install(folder: Path) -> None:
    """Put them into a folder, which a test then has in its PATH."""
    for name in ("redis-cli", "unzip", "bsondump"):
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} "$@"\n', encoding="utf-8")
        program.chmod(0o755)


def redis_cli(*arguments: str) -> None:
    """`--scan --pattern PATTERN`, or `unlink KEY...`, on the server at REDIS_PORT."""
    import redis

    with redis.Redis(port=int(os.environ[REDIS_PORT]), decode_responses=True) as client:
        match arguments:
            case ("--scan", "--pattern", pattern):
                for key in client.scan_iter(match=pattern, count=1000):
                    print(key)
            case ("unlink", *keys):
                print(client.unlink(*keys))
            case _:
                sys.exit(f"unknown: {arguments}")


def unzip(option: str, archive: str, member: str) -> None:
    """`-p ARCHIVE MEMBER`: print one file."""
    assert option == "-p"
    with zipfile.ZipFile(archive) as opened:
        sys.stdout.buffer.write(opened.read(member))


def bsondump() -> None:
    """Print the documents of the standard input, each as a line of JSON."""
    import bson

    for document in bson.decode_all(sys.stdin.buffer.read()):
        print(json.dumps(document, default=str))


if __name__ == "__main__":
    programs: dict[str, Callable[..., None]] = {"redis-cli": redis_cli, "unzip": unzip, "bsondump": bsondump}
    programs[sys.argv[1]](*sys.argv[2:])
