"""Takes the screenshots of docs/dashboard.md and the README again: `python -m tests.screenshots docs/images`.

It starts servers and a shop of its own, lets it work for a while, so that the charts have something to show, and then
makes each scene happen. It takes about six minutes, and needs Chromium, and the font Inter for images like these.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.chromium import launched
from tests.support.shop_deployment import ShopDeployment
from tests.support.stack import Names
from tsync_stream.embedded import EmbeddedStack

NAMES = Names("shop", "shop", "listings", "shop_listings", "tsync_queue", "tsync_queue_backup", "tsync")
PRODUCTS = 20_000
DESKTOP, PHONE = (1280, 900), (390, 844)
TALLEST = 1_560


def main() -> None:
    """Take all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="where the images go")
    parser.add_argument("--warm-up", type=float, default=180.0, help="seconds of work before the first one")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, EmbeddedStack(Path(temporary) / "stack") as stack:
        directory = Path(temporary) / "workers"
        directory.mkdir()
        shop = ShopDeployment(
            stack, NAMES, directory, workers=2, products=PRODUCTS, VERIFY_RATE="400", FAN_OUT_INLINE="100"
        )
        with shop, sync_playwright() as playwright, launched(playwright) as browser:
            Scenes(stack, shop, browser, given.folder).take(given.warm_up)


class Scenes:
    """What is to be seen, in the order in which it happens."""

    def __init__(self, stack: EmbeddedStack, shop: ShopDeployment, browser: Browser, folder: Path) -> None:
        self._stack = stack
        self._shop = shop
        self._browser = browser
        self._folder = folder

    def take(self, warm_up_s: float) -> None:
        """All scenes."""
        with self._shop.busy(4):
            time.sleep(warm_up_s / 2)
        time.sleep(20)
        self._images("idle", "overview", quiet)
        with self._shop.busy():
            time.sleep(warm_up_s / 2)
            self._images("busy", "overview", flowing)
            self._image("phone", "overview", flowing, PHONE, "light")
            self._shop.rename_brand("Brand 1, renamed")
            self._image("refresh", "overview", refreshing, DESKTOP, "light")
        self._shop.refuse(*(f"p-new-{number:02}" for number in range(12)))
        time.sleep(8)
        self._images("dead-letters", "letters", lambda page: page.locator("#letter-list table").wait_for())
        self._image("dead-letter", "letters", detailed, PHONE, "dark")
        self._image("explain", "explain", explained, DESKTOP, "light")
        with self._shop.busy(4):
            self._stack.typesense.freeze()
            time.sleep(15)
            self._images("typesense-down", "overview", lambda page: page.locator("#problem-list li").first.wait_for())
            self._stack.typesense.thaw()

    def _images(self, name: str, view: str, until: Callable[[Page], object]) -> None:
        for scheme in ("light", "dark"):
            self._image(f"{name}-{scheme}", view, until, DESKTOP, scheme)

    def _image(self, name: str, view: str, until: Callable[[Page], object], size: tuple[int, int], scheme: str) -> None:
        width, height = size
        context = self._browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
            reduced_motion="reduce",
        )
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"http://127.0.0.1:{self._shop.workers[0].port}/#{view}")
        until(page)
        page.wait_for_timeout(1_000)
        whole = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": width, "height": min(whole, TALLEST)})
        page.wait_for_timeout(300)
        page.screenshot(path=self._folder / f"dashboard-{name}.png")
        context.close()


def quiet(page: Page) -> None:
    """Nothing flows."""
    page.locator("#picture .flow.still").nth(3).wait_for()


def flowing(page: Page) -> None:
    """Something flows through every stage."""
    page.locator("#picture .flow:not(.still)").nth(3).wait_for()


def refreshing(page: Page) -> None:
    """A refresh runs; seen where it is."""
    page.locator("#jobs .jobs").get_by_text("refresh").first.wait_for()


def detailed(page: Page) -> None:
    """A dead letter in full."""
    page.get_by_role("button", name="Details").first.click()
    page.get_by_role("dialog").wait_for()


def explained(page: Page) -> None:
    """A document that is equal on both sides."""
    page.locator("#ask option").first.wait_for(state="attached")
    page.locator("#ask").get_by_label("Id of the document").fill("p-00042")
    page.keyboard.press("Enter")
    page.locator(".verdict").wait_for()


if __name__ == "__main__":
    main()
