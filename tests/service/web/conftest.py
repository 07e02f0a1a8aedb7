"""The page in a real browser. Nothing may reach its console, and no other host be asked."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect

from service.settings import Settings
from tests.service.browser import start_browser
from tests.service.conftest import ARTIFACTS, serve

# A machine that has other work may take its time, here and in the service's deadline below.
expect.set_options(timeout=30_000)

DESKTOP, PHONE = (1360, 900), (360, 760)

Open = Callable[..., AbstractContextManager[Page]]
Look = Callable[..., Page]


# Of this package alone: a browser that is driven keeps an event loop running in the thread.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with start_browser("--use-fake-device-for-media-stream") as browser:
        yield browser


@pytest.fixture(scope="package")
def server() -> Iterator[httpx.Client]:
    with serve(Settings(artifacts=ARTIFACTS, engine="litert", deadline_seconds=60)) as client:
        yield client


@pytest.fixture(scope="package")
def address(server: httpx.Client) -> str:
    return str(server.base_url)


class Window:
    """A window of the browser, and what is wrong with what goes on in it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.at = ""
        self.complaints: list[str] = []
        page.on("console", lambda message: self.complaints.append(spoken(message)))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.complaints.append(foreign(request, self.at)))

    def empty(self) -> None:
        """Leave it as one that has just been opened: nothing is shown, pointed at or kept."""
        self.page.evaluate("localStorage.clear(); sessionStorage.clear()")
        self.page.goto("about:blank")
        self.page.mouse.move(0, 0)


@pytest.fixture(scope="package")
def open_page(browser: Browser, address: str) -> Open:
    """Opens the page at a state; when the block ends, the console must have stayed silent.

    Chromium itself writes there what requests failed of: `tolerates` is part of that. Requests of
    the pattern `without` fail until the test ends that.

    A window that was left without a complaint is taken again for the same kind of reader: a new
    one takes the browser as long as the page does.
    """
    windows: dict[str, Window] = {}

    @contextmanager
    def opened(
        state: str = "",
        *,
        at: str = address,
        size: tuple[int, int] = DESKTOP,
        language: str = "en",
        tolerates: str = "status of 503",
        begins_with: str = "image",
        without: str = "",
        **options: object,
    ) -> Iterator[Page]:
        viewport = {"width": size[0], "height": size[1]}
        reader = repr((size, language, sorted(options.items())))
        window = windows.pop(reader, None)
        if window is None:
            context = browser.new_context(
                locale=language,
                viewport=viewport,  # type: ignore[arg-type]  # Playwright's own type
                has_touch=size == PHONE,
                is_mobile=size == PHONE,
                reduced_motion="reduce",
                **options,  # type: ignore[arg-type]  # Playwright's own names and types
            )
            window = Window(context.new_page())
        page, window.at = window.page, at
        page.set_viewport_size(viewport)  # type: ignore[arg-type]
        if without:
            page.route(without, lambda route: route.abort())
        page.goto(at + state)
        if begins_with == "image":
            expect(page.locator("#layers .tile").first).to_be_visible()
            expect(page.locator("#derivation > *").first).to_be_attached()
        else:
            expect(page.locator(f"#{begins_with}")).to_be_visible()
        yield page
        assert [text for text in window.complaints if text and tolerates not in text] == []
        window.empty()
        window.complaints.clear()
        windows[reader] = window

    return opened


def spoken(message: ConsoleMessage) -> str:
    # Chromium itself reports every 4xx; anything else is the page's.
    return "" if "status of 4" in message.text else message.text


def foreign(request: Request, at: str) -> str:
    where = urlsplit(request.url)
    is_own = where.scheme == "blob" or where.netloc == urlsplit(at).netloc
    return "" if is_own else f"asked {request.url}"


@pytest.fixture
def page(open_page: Open) -> Iterator[Page]:
    with open_page() as page:
        yield page


@pytest.fixture(scope="module")
def shared_page(open_page: Open) -> Iterator[Page]:
    with open_page("#sample=9") as page:
        expect(page).to_have_url(re.compile("layer="))
        yield page


@pytest.fixture(scope="module")
def look(shared_page: Page) -> Look:
    """Leads the one page of a module to a state, as a link does: opening one takes two seconds.

    For tests that leave nothing behind but what an address tells.
    """
    home, links = f"#{urlsplit(shared_page.url).fragment}", count()

    def follow(state: str = home) -> Page:
        shared_page.unroute_all()
        shared_page.mouse.move(0, 0)
        shared_page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
        # A name that the page does not know makes it a link to somewhere else in any case.
        shared_page.evaluate(FOLLOW, f"{state}&link={next(links)}")
        for section in ("answer", "network"):
            busy = shared_page.locator(f"#{section}-section")
            expect(busy).to_have_attribute("aria-busy", "false")
        expect(shared_page.locator("#derivation > *").first).to_be_attached()
        return shared_page

    return follow


FOLLOW = """(state) => new Promise((followed) => {
    document.activeElement.blur();
    scrollTo({ top: 0, behavior: "instant" });
    addEventListener("hashchange", followed, { once: true });
    location.hash = state;
})"""


@pytest.fixture(
    params=[
        pytest.param({"size": DESKTOP, "language": "en"}, id="english-desktop"),
        pytest.param({"size": PHONE, "language": "ko"}, id="korean-phone"),
    ]
)
def either(request: pytest.FixtureRequest, open_page: Open) -> Iterator[Page]:
    """The page in both languages, on both sizes of screen."""
    with open_page(**request.param) as page:
        yield page
