"""A program that is missing skips a test, and fails it where the packages are required."""

import pytest

from tests.support.programs import program


def test_a_missing_program_skips_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUIRE_PACKAGES", raising=False)
    with pytest.raises(pytest.skip.Exception, match="package nowhere"):
        program("no-such-program", "nowhere")


def test_where_packages_are_required_it_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRE_PACKAGES", "1")
    with pytest.raises(pytest.fail.Exception, match="package nowhere"):
        program("no-such-program", "nowhere")


def test_a_program_that_is_there_is_found() -> None:
    assert program("sh", "dash").endswith("/sh")
