"""The banner of the worker: which routes it syncs, from where to where."""

from pathlib import Path

from tsync_stream.cli.worker import banner
from tsync_stream.core.model import Route
from tsync_stream.routes.declared import declared_routes, load_all


def lines(directory: Path, **environ: str) -> list[str]:
    settings = load_all(directory, environ)
    return banner(settings, declared_routes(settings).routes, "http://127.0.0.1:6066", "uvloop").splitlines()


def test_one_route_of_the_environment_is_source_and_target(tmp_path: Path) -> None:
    found = lines(tmp_path, MONGODB_URI="mongodb://user:s3cret@db/", MONGODB_DATABASE="shop")
    assert found[1:3] == [
        "  source   MongoDB shop.listings (mongodb://***@db/)",
        "  target   Typesense listings (http://localhost:8108)",
    ]


def test_the_routes_of_a_file_are_listed(tmp_path: Path) -> None:
    text = "routes:\n" + "".join(f"  r{n}: {{source: 'shop.c{n}', target: t{n}}}\n" for n in range(12))
    (tmp_path / "tsync.yaml").write_text(text, encoding="utf-8")
    found = lines(tmp_path)
    assert found[1:3] == [f"  routes   {tmp_path / 'tsync.yaml'}:", "           r0: shop.c0 to t0"]
    assert found[11:15] == [
        "           r9: shop.c9 to t9",
        "           and 2 more",
        "  source   MongoDB (mongodb://localhost:27017)",
        "  target   Typesense (http://localhost:8108)",
    ]


def test_the_routes_are_those_of_the_table(tmp_path: Path) -> None:
    assert declared_routes(load_all(tmp_path, {})).routes == [
        Route("listings", "neatlisting", "listings", "listings"),
    ]
