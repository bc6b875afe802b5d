"""The dashboard in a real browser, on a real deployment: what a click does is looked up in MongoDB and Typesense."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright

from tests.support.chromium import launched
from tests.support.forked import ForkedWorker
from tests.support.shop_deployment import TOKEN, ShopDeployment
from tests.support.stack import Names, remove, repair, typesense_client
from tests.support.waiting import wait_for
from tsync_stream.embedded import EmbeddedStack

RIGHT = {"Authorization": f"Bearer {TOKEN}"}
WAIT_MS = 30_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    with sync_playwright() as playwright, launched(playwright) as chromium:
        yield chromium


@pytest.fixture(scope="module")
def shop(stack: EmbeddedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShopDeployment]:
    """One deployment for all tests of this module, each of which makes the documents that it is about."""
    names = Names.new("one database")
    directory = tmp_path_factory.mktemp("shop")
    with ShopDeployment(stack, names, directory, workers=2, worker_type=ForkedWorker, FAIL_BACK_AFTER="2s") as made:
        yield made
    repair(stack)
    remove(stack, names)


@pytest.fixture
def url(shop: ShopDeployment) -> str:
    """Of the replica that is asked; which one makes no difference."""
    return f"http://127.0.0.1:{shop.workers[1].port}"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty tab, in which nothing may fail, and from which nothing may be asked of the outside."""
    context: BrowserContext = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(WAIT_MS)
    opened = context.new_page()
    errors: list[str] = []
    asked: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    yield opened
    assert errors == []
    assert [url for url in asked if not url.startswith("http://127.0.0.1:")] == []
    assert [url for url in asked if TOKEN in url] == []
    context.close()


def shown(stack: EmbeddedStack, shop: ShopDeployment, document_id: str) -> dict[str, Any] | None:
    with typesense_client(stack) as client:
        answer = client.get(f"/collections/{shop.names.token}_products/documents/{document_id}")
    return answer.json() if answer.status_code == 200 else None


def give_token(page: Page) -> None:
    page.get_by_label("Token", exact=True).fill(TOKEN)
    page.get_by_role("button", name="Use it").click()


def found_letter(page: Page, url: str, document_id: str) -> None:
    """Search for the dead letter of a document; the list has that one alone."""
    page.goto(f"{url}/#letters")
    page.get_by_label("Id of the document, or of the letter").fill(document_id)
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("1 dead letter", exact=True)).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_role("rowheader")).to_contain_text(document_id)


def test_the_overview_shows_the_whole_deployment(page: Page, url: str, shop: ShopDeployment) -> None:
    page.goto(url)
    routes = page.get_by_role("region", name="Routes")
    for name in ("products", "orders", "customers"):
        expect(routes.get_by_role("rowheader", name=name)).to_be_visible(timeout=WAIT_MS)
    expect(page.locator("#replicas li")).to_have_count(2)
    expect(page.locator("#replicas").get_by_text("captures", exact=True)).to_have_count(1)
    expect(page.locator("#queue .tiers .active")).to_contain_text("Primary Redis")
    expect(page.locator("#queue .partitions li")).to_have_count(8)
    expect(page.get_by_role("img", name=re.compile("^Throughput over"))).to_be_visible()
    with shop.busy(per_step=4):  # rates come with the heartbeats, and are those of the seconds before
        expect(page.locator("#picture .flow:not(.still)").first).to_be_visible(timeout=WAIT_MS)


def test_actions_are_offered_even_if_it_is_known_late_that_they_may_be_done(
    page: Page, url: str, shop: ShopDeployment
) -> None:
    shop.refuse("p-early")
    held: list[Route] = []
    holding = True

    def hold(route: Route) -> None:
        if holding:
            held.append(route)
        else:
            route.continue_()

    page.route("**/api/v1/overview", hold)
    page.goto(f"{url}/#letters")
    button = page.get_by_role("button", name="Replay all that match")
    expect(page.get_by_role("rowheader").filter(has_text="p-early")).to_be_visible()
    expect(button).to_be_disabled()
    holding = False
    for each in held:
        each.continue_()
    expect(button).to_be_enabled()


def test_an_answer_that_is_late_does_not_replace_the_answer_to_a_newer_search(
    page: Page, url: str, shop: ShopDeployment
) -> None:
    shop.refuse("p-older", "p-newer")
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route("**/api/v1/dead-letters**", hold_the_first)
    found_letter(page, url, "p-newer")
    with page.expect_response(lambda response: response.request == held[0].request) as late:
        held[0].continue_()
    assert len(late.value.json()["letters"]) > 1
    # What the page makes of it is done before it sees the answer to a later request.
    page.evaluate("() => fetch('/health/live').then(() => new Promise(requestAnimationFrame))")
    expect(page.get_by_text("1 dead letter", exact=True)).to_be_visible()
    expect(page.get_by_role("rowheader")).to_contain_text("p-newer")


def test_a_replay_from_the_page_syncs_the_document(
    page: Page, url: str, shop: ShopDeployment, stack: EmbeddedStack
) -> None:
    # A document that failed once, for a reason that is gone now. Nothing else syncs it.
    assert shown(stack, shop, "p-00007") is not None
    with typesense_client(stack) as client:
        client.delete(f"/collections/{shop.names.token}_products/documents/p-00007").raise_for_status()
    shop.open_letter("p-00007")

    found_letter(page, url, "p-00007")
    page.get_by_label("Choose p-00007").check()
    page.get_by_role("button", name="Replay 1").click()
    give_token(page)
    expect(page.locator("#said")).to_contain_text("1 document will be synced again")
    wait_for(lambda: shown(stack, shop, "p-00007") is not None, 30.0, "the document is not replayed")
    wait_for(lambda: shop.open_letters("p-00007") == 0, 10.0, "the letter is not closed")
    assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]


def test_a_discard_closes_the_letter_and_nothing_else(
    page: Page, url: str, shop: ShopDeployment, stack: EmbeddedStack
) -> None:
    shop.refuse("p-discarded")
    found_letter(page, url, "p-discarded")
    page.get_by_role("button", name="Details of p-discarded").click()
    detail = page.get_by_role("dialog", name="Dead letter")
    expect(detail).to_contain_text("Hidden, because")
    detail.get_by_role("button", name="Discard").click()
    question = page.get_by_role("dialog", name="Discard 1 dead letter?")
    question.get_by_role("button", name="Keep as it is").click()
    assert shop.open_letters("p-discarded") == 1

    page.get_by_label("Choose p-discarded").check()
    page.get_by_role("button", name="Discard 1").click()
    question.get_by_role("button", name="Discard").click()
    give_token(page)
    expect(page.locator("#said")).to_contain_text("1 dead letter discarded")
    assert shop.open_letters("p-discarded") == 0
    stored = shop.state.dead_letters.find_one({"key": "p-discarded"})
    assert stored is not None
    assert (stored["status"], stored["discarded"]) == ("resolved", True)
    assert shown(stack, shop, "p-discarded") is None

    # It is back as soon as the document fails again.
    shop.database.products.update_one({"_id": "p-discarded"}, {"$set": {"price": 11.5}})
    wait_for(lambda: shop.open_letters("p-discarded") == 1, 20.0, "the letter is not back")
    stored = shop.state.dead_letters.find_one({"key": "p-discarded"})
    assert stored is not None
    assert "discarded" not in stored


def test_a_document_is_explained_without_its_content(page: Page, url: str, shop: ShopDeployment) -> None:
    shop.refuse("p-explained")
    page.goto(f"{url}/#explain")
    page.locator("#ask").get_by_label("Route").select_option("products")
    page.locator("#ask").get_by_label("Id of the document").fill("p-explained")
    page.keyboard.press("Enter")
    found = page.get_by_role("region", name="Explanation")
    expect(found).to_contain_text("Different: Typesense does not show what it should", timeout=2 * WAIT_MS)
    expect(found.get_by_role("region", name="Typesense")).to_contain_text("It shows no document with this id.")
    page.locator("#ask").get_by_label("Id of the document").fill("p-00001")
    page.keyboard.press("Enter")
    expect(found).to_contain_text("Equal: Typesense shows what it should", timeout=2 * WAIT_MS)
    expect(found).to_contain_text("Values are hidden")
    assert "secret" not in page.content()


def stored_job(shop: ShopDeployment, job: str) -> dict[str, Any]:
    found = shop.state.jobs.find_one({"_id": job})
    assert found is not None
    return found


def test_an_outage_is_seen_and_a_job_that_waits_for_its_end_can_be_paused_resumed_and_cancelled(
    page: Page, url: str, shop: ShopDeployment, stack: EmbeddedStack
) -> None:
    page.goto(url)
    stack.typesense.freeze()
    try:
        job = shop.file_verification("products")
        # Health reports a server after five seconds.
        expect(page.locator("#problem-list")).to_contain_text("server typesense", timeout=WAIT_MS)
        expect(page.locator("#picture")).to_contain_text("Typesense: unreachable", timeout=WAIT_MS)
        page.get_by_role("button", name=f"Pause verify {job}").click()
        give_token(page)
        expect(page.locator("#said")).to_contain_text("The job is paused.")
        assert stored_job(shop, job)["paused"]
        page.get_by_role("button", name=f"Resume verify {job}").click()
        expect(page.locator("#said")).to_contain_text("The job goes on.")
        assert not stored_job(shop, job)["paused"]
        page.get_by_role("button", name=f"Cancel verify {job}").click()
        page.get_by_role("button", name="Cancel the verify").click()
        expect(page.locator("#said")).to_contain_text("The job is cancelled.")
        assert stored_job(shop, job)["status"] == "cancelled"
    finally:
        stack.typesense.thaw()
    expect(page.locator("#problem-list")).not_to_contain_text("server typesense", timeout=2 * WAIT_MS)


@pytest.mark.parametrize("server", ["primary", "backup", "mongodb"])
def test_an_outage_of_any_other_server_is_seen_until_it_ends(
    page: Page, url: str, shop: ShopDeployment, stack: EmbeddedStack, server: str
) -> None:
    frozen = {"primary": stack.primary_redis, "backup": stack.backup_redis, "mongodb": stack.mongo}[server]
    page.goto(url)
    expect(page.locator("#replicas li")).to_have_count(2)
    frozen.freeze()
    try:
        expect(page.locator("#problem-list")).to_contain_text(f"server {server}", timeout=WAIT_MS)
        if server == "mongodb":  # the rest of the page is in MongoDB
            expect(page.locator("#stale")).to_contain_text("What you see was true", timeout=WAIT_MS)
            expect(page.locator("#replicas li")).to_have_count(2)
        else:
            title = page.get_by_text(f"{server.capitalize()} Redis", exact=True)
            row = page.locator("#queue .tiers li").filter(has=title)
            expect(row).to_contain_text("unreachable", timeout=WAIT_MS)
    finally:
        frozen.thaw()
    expect(page.locator("#problem-list")).not_to_contain_text(f"server {server}", timeout=2 * WAIT_MS)
    expect(page.locator("#stale")).to_be_hidden(timeout=WAIT_MS)


def test_the_token_is_required_and_another_site_is_refused(url: str, shop: ShopDeployment) -> None:
    shop.refuse("p-guarded")
    letter = shop.state.dead_letters.find_one({"key": "p-guarded"})
    assert letter is not None
    body, path = {"ids": [letter["_id"]]}, f"{url}/api/v1/dead-letters/discard"
    with httpx.Client() as client:

        def status(**headers: str) -> int:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return client.post(path, json=body, headers=named).status_code

        assert status() == 401
        assert status(Authorization="Bearer wrong") == 401
        assert status(**RIGHT, Sec_Fetch_Site="cross-site") == 403
        assert status(**RIGHT, Origin="https://evil.example") == 403
        assert client.post(path, content=b"{}", headers={**RIGHT, "Content-Type": "text/plain"}).status_code == 415
        assert shop.open_letters("p-guarded") == 1
        read = f"{url}/api/v1/overview"
        assert client.get(read).status_code == 200
        assert client.get(read, headers={"Host": "evil.example"}).status_code == 401
        assert client.get(f"{url}/api/v1/dead-letters/{letter['_id']}").json()["error"] is None
        answer = client.get(url)
        assert client.get(url, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
        assert client.get(f"{url}/dashboard/../pages.py").status_code == 404
        assert status(**RIGHT) == 200
        assert shop.open_letters("p-guarded") == 0
        assert TOKEN not in "".join(worker.log() for worker in shop.workers)


def test_a_form_of_another_site_changes_nothing(page: Page, url: str, shop: ShopDeployment) -> None:
    shop.refuse("p-forged")
    letter = shop.state.dead_letters.find_one({"key": "p-forged"})
    assert letter is not None
    answers: list[int] = []
    page.on("response", lambda response: answers.append(response.status) if "/api/" in response.url else None)

    def evil(route: Route) -> None:
        route.fulfill(content_type="text/html", body="<p>evil</p>")

    page.route("http://127.0.0.1:1/", evil)
    page.goto("http://127.0.0.1:1/")
    sent = page.evaluate(
        """([url, id, token]) => Promise.allSettled([
            fetch(`${url}/api/v1/dead-letters/discard`, {method: "POST", mode: "no-cors",
                body: JSON.stringify({ids: [id]})}),
            fetch(`${url}/api/v1/dead-letters/discard`, {method: "POST", body: JSON.stringify({ids: [id]}),
                headers: {"Content-Type": "application/json", Authorization: `Bearer ${token}`}}),
            fetch(`${url}/api/v1/overview`).then((response) => response.text()),
        ]).then((all) => all.map((each) => each.status))""",
        [url, letter["_id"], TOKEN],
    )
    assert sent[1:] == ["rejected", "rejected"]
    assert shop.open_letters("p-forged") == 1


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_nobody_is_left_out(browser: Browser, url: str, shop: ShopDeployment, scheme: Any, width: int) -> None:
    shop.refuse(f"p-{scheme}-{width}")
    # The policy of the page would refuse the script that checks it.
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce", bypass_csp=True
    )
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    found = {}
    for view in ("overview", "letters", "explain"):
        page.goto(f"{url}/#{view}")
        ready = {"overview": "#routes table", "letters": "#letter-list table", "explain": "#ask option"}[view]
        page.locator(ready).first.wait_for(state="attached")
        found[view] = violations(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
    page.goto(f"{url}/#letters")
    page.get_by_role("button", name="Details").first.click()
    page.get_by_role("dialog").wait_for()
    found["detail"] = violations(page)
    context.close()
    assert found == {"overview": [], "letters": [], "explain": [], "detail": []}


def violations(page: Page) -> list[str]:
    response = Axe().run(page).response
    return [f"{each['id']}: {each['nodes'][0]['html'][:160]}" for each in response["violations"]]


def test_without_a_token_in_the_settings_the_page_says_that_nothing_can_be_changed(
    page: Page, url: str, shop: ShopDeployment
) -> None:
    def without_token(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "actions": False})

    page.route("**/api/v1/overview", without_token)
    page.goto(url)
    expect(page.get_by_text("API_TOKEN is not set, so nothing can be changed here")).to_be_visible()
