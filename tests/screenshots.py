"""Takes the screenshots of docs/dashboard.md and the README again: `python -m tests.screenshots docs/images`.

It starts servers and a shop of its own, lets it work for a while, so that the charts have something to show, and then
makes each scene happen: each light and dark, on a desktop's width and on a phone's. It takes about seven minutes, and
needs Chromium, and the font Inter for images like these.
"""

import argparse
import base64
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.chromium import launched
from tests.support.shop_deployment import ShopDeployment
from tests.support.stack import Names
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.state.database import HISTORY

NAMES = Names("shop", "shop", "listings", "shop_listings", "tsync_queue", "tsync_queue_backup", "tsync")
PRODUCTS = 20_000
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
TALLEST = {"desktop": 1_800, "phone": 1_300}
QUALITY = 75  # of WebP: half of what PNG takes, and no difference to the eye


def main() -> None:
    """Take all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="where the images go")
    parser.add_argument("--only", nargs="+", default=[], metavar="SCENE", help="take these alone")
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
            Scenes(stack, shop, browser, given.folder, given.only).take(given.warm_up)


class Scenes:
    """What is to be seen, in the order in which it happens."""

    def __init__(
        self, stack: EmbeddedStack, shop: ShopDeployment, browser: Browser, folder: Path, only: Sequence[str]
    ) -> None:
        self._stack = stack
        self._shop = shop
        self._browser = browser
        self._folder = folder
        self._only = only

    def take(self, warm_up_s: float) -> None:
        """All scenes."""
        shop = self._shop
        shop.state[HISTORY].delete_many({})  # the first load's rate would flatten the chart
        with shop.busy(4):
            time.sleep(warm_up_s / 2)
        time.sleep(20)
        self._images("idle", "overview", quiet)
        with shop.busy():
            time.sleep(warm_up_s / 2)
            self._images("busy", "overview", flowing)
            self._images("refresh", "overview", refreshing, shop.rename_brands)
        with shop.busy(4):
            self._stack.typesense.freeze()
            time.sleep(15)
            self._images("typesense-down", "overview", waiting_for_typesense)
            self._stack.typesense.thaw()
        shop.refuse(*(f"p-new-{number:02}" for number in range(12)))
        time.sleep(8)
        self._images("dead-letters", "letters", lambda page: page.locator("#letter-list table").wait_for())
        self._images("dead-letter", "letters", detailed)
        self._images("explain", "explain", explained)

    def _images(
        self, name: str, view: str, until: Callable[[Page], object], before: Callable[[], object] = lambda: None
    ) -> None:
        """A scene in every width and scheme, each in a page that is loaded anew; `before` makes it happen once more."""
        if self._only and name not in self._only:
            return
        for width in SIZES:
            for scheme in ("light", "dark"):
                before()
                self._image(f"{name}-{width}-{scheme}", view, until, width, scheme)

    def _image(self, name: str, view: str, until: Callable[[Page], object], kind: str, scheme: str) -> None:
        width, height = SIZES[kind]
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
        page.set_viewport_size({"width": width, "height": min(whole, TALLEST[kind])})
        page.wait_for_timeout(300)
        chromium = context.new_cdp_session(page)
        answer = chromium.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
        (self._folder / f"dashboard-{name}.webp").write_bytes(base64.b64decode(answer["data"]))
        context.close()


def healthy(page: Page) -> None:
    """No problem is reported."""
    page.locator("#state").get_by_text("Healthy").wait_for()


def waiting_for_typesense(page: Page) -> None:
    """Typesense does not answer, sync says so, and nothing else is wrong: a busy machine may be slow to answer."""
    problems = page.locator("#problems")
    for words in ("server typesense", "sync, lane"):
        problems.filter(has_text=words).filter(has_not_text="server mongodb").wait_for()


def quiet(page: Page) -> None:
    """Nothing flows."""
    healthy(page)
    page.locator("#picture .flow.still").nth(3).wait_for()


def flowing(page: Page) -> None:
    """Something flows through every stage."""
    healthy(page)
    page.locator("#picture .flow:not(.still)").nth(3).wait_for()


def refreshing(page: Page) -> None:
    """A refresh has queued something."""
    healthy(page)
    page.locator("#jobs .jobs").get_by_text("queued so far").first.wait_for()


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
