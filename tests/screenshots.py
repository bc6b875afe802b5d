"""Takes the screenshots of docs/dashboard.md and the README again: `python -m tests.screenshots docs/images`.

It starts servers and a shop of its own, lets it work for a while, so that the charts have something to show, and then
makes each scene happen: each light and dark, on a desktop's width and on a phone's. It takes about ten minutes, and
needs Chromium, and the font Inter for images like these.

Invariant: an image shows its scene. Each waits for what it is about, and is taken again if that was over meanwhile.
"""

import argparse
import base64
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.support.chromium import launched
from tests.support.shop_deployment import ShopDeployment
from tests.support.stack import Names
from tests.support.waiting import wait_for
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.state.database import HISTORY

NAMES = Names("shop", "shop", "listings", "shop_listings", "tsync_queue", "tsync_queue_backup", "tsync")
PRODUCTS = 20_000
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
TALLEST = {"desktop": 2_300, "phone": 1_300}
PATIENCE_S = 100.0
TRIES = 10
FLOWS = 4
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


@dataclass(frozen=True)
class Scene:
    """One scene: it `happens` once more for each image, then a page is opened, something done on it, and all is `seen`.

    A phone shows what is `at` a selector; otherwise the top of the page.
    """

    name: str
    view: str
    seen: Callable[[Page], bool]
    happens: Callable[[], object] = lambda: None
    done: Callable[[Page], object] = lambda page: None
    at: str = ""


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
        self._images(Scene("idle", "overview", quiet))
        with shop.busy():
            time.sleep(warm_up_s / 2)
            self._images(Scene("busy", "overview", flowing))
            self._images(Scene("refresh", "overview", refreshing, happens=shop.rename_brands, at="#jobs"))
            self._images(Scene("reindex", "overview", reindexing, happens=shop.begin_slow_jobs, at="#jobs"))
        shop.end_slow_jobs()
        with shop.busy(4):
            self._stack.typesense.freeze()
            self._images(Scene("typesense-down", "overview", waiting_for_typesense))
            self._stack.typesense.thaw()
        shop.refuse(*(f"p-new-{number:02}" for number in range(12)))
        self._images(Scene("dead-letters", "letters", listed))
        self._images(Scene("dead-letter", "letters", detailed, done=open_details))
        self._images(Scene("explain", "explain", explained, done=ask))

    def _images(self, scene: Scene) -> None:
        """A scene in every width and scheme, each in a page that is loaded anew."""
        if self._only and scene.name not in self._only:
            return
        for kind in SIZES:
            for scheme in ("light", "dark"):
                scene.happens()
                name = f"{scene.name}-{kind}-{scheme}"
                (self._folder / f"dashboard-{name}.webp").write_bytes(self._image(scene, kind, scheme))
                print(name, flush=True)

    def _image(self, scene: Scene, kind: str, scheme: str) -> bytes:
        width, height = SIZES[kind]
        context = self._browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
            reduced_motion="reduce",
        )
        with context:
            page = context.new_page()
            page.set_default_timeout(1_000 * PATIENCE_S)
            page.goto(f"http://127.0.0.1:{self._shop.workers[0].port}/#{scene.view}")
            scene.done(page)
            for _ in range(TRIES):
                wait_for(lambda: scene.seen(page), PATIENCE_S, lambda: f"{scene.name} is not seen", patience=3)
                self._fit(page, scene, kind)
                taken = self._take(context, page)
                if scene.seen(page):
                    return taken
        raise AssertionError(f"{scene.name} was over each time before its image was taken")

    def _fit(self, page: Page, scene: Scene, kind: str) -> None:
        width, height = SIZES[kind]
        if scene.at and kind == "phone":
            page.locator(scene.at).evaluate("element => element.closest('section').scrollIntoView()")
            return
        whole = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": width, "height": max(height, min(whole, TALLEST[kind]))})
        page.wait_for_timeout(300)  # what depends on the width is drawn anew

    def _take(self, context: BrowserContext, page: Page) -> bytes:
        answer = context.new_cdp_session(page).send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
        return base64.b64decode(answer["data"])


def healthy(page: Page) -> bool:
    """No problem is reported."""
    return page.locator("#state").get_by_text("Healthy").is_visible()


def waiting_for_typesense(page: Page) -> bool:
    """Typesense does not answer, sync says so, and nothing else is wrong: a busy machine may be slow to answer."""
    problems = page.locator("#problem-list li")
    known = ("server typesense", "sync, lane")
    counts = [problems.filter(has_text=words).count() for words in known]
    return all(counts) and sum(counts) == problems.count()


def quiet(page: Page) -> bool:
    """Nothing flows."""
    return healthy(page) and page.locator("#picture .flow.still").count() == FLOWS


def flowing(page: Page) -> bool:
    """Something flows through every stage."""
    return healthy(page) and page.locator("#picture .flow:not(.still)").count() == FLOWS


def refreshing(page: Page) -> bool:
    """A refresh has queued something."""
    queued = re.compile(r"[1-9][\d,]* documents queued so far")
    return healthy(page) and page.locator("#jobs .jobs").get_by_text(queued).count() == 1


def reindexing(page: Page) -> bool:
    """A reindex fills its new collection, while one job runs and another one is paused."""
    jobs = page.locator("#jobs .jobs li")
    filling = jobs.filter(has_text="reindex").filter(has_text="building").filter(has_text="left")
    running = jobs.filter(has_text="partial reconcile").get_by_role("button", name="Pause")
    paused = jobs.filter(has_text="partial reconcile").get_by_role("button", name="Resume")
    return bool(filling.count() and running.count() and paused.count())


def listed(page: Page) -> bool:
    """Dead letters are listed."""
    return page.locator("#letter-list table").is_visible()


def open_details(page: Page) -> None:
    """Look at the first dead letter in full."""
    page.get_by_role("button", name="Details").first.click()


def detailed(page: Page) -> bool:
    """A dead letter in full."""
    return page.get_by_role("dialog").is_visible()


def ask(page: Page) -> None:
    """Ask for a document that is equal on both sides."""
    page.locator("#ask option").first.wait_for(state="attached")
    page.locator("#ask").get_by_label("Id of the document").fill("p-00042")
    page.keyboard.press("Enter")


def explained(page: Page) -> bool:
    """The answer is there."""
    return page.locator(".verdict").is_visible()


if __name__ == "__main__":
    main()
