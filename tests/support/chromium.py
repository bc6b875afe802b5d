"""Chromium for the tests of the dashboard: Debian's package, driven by Playwright, which downloads none of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Playwright

from tests.support.programs import program

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def launched(playwright: Playwright) -> Iterator[Browser]:
    """A browser without a window. Without Chromium, `program` skips or fails the test."""
    browser = playwright.chromium.launch(executable_path=program("chromium", "chromium"), args=list(FLAGS))
    try:
        yield browser
    finally:
        browser.close()
