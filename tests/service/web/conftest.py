"""The page in a real browser. It must write nothing to the console and contact no other host."""

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

# Long, like the service's deadline below, for machines under load.
expect.set_options(timeout=30_000)

DESKTOP, PHONE = (1360, 900), (360, 760)

Open = Callable[..., AbstractContextManager[Page]]
Visit = Callable[..., Page]


# Only for this package: Playwright keeps an event loop running in the thread.
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
    """A browser window and the errors in it: console messages, exceptions, foreign requests."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.at = ""
        self.errors: list[str] = []
        page.on("console", lambda message: self.errors.append(console_error(message)))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.errors.append(foreign_request(request, self.at)))

    def empty(self) -> None:
        """Reset it to a window that has just been opened."""
        self.page.evaluate("localStorage.clear(); sessionStorage.clear()")
        # Of the same origin: for another, Chromium starts a new process, which compiles all again.
        self.page.goto(f"{self.at}/livez")
        self.page.mouse.move(0, 0)


@pytest.fixture(scope="package")
def open_page(browser: Browser, address: str) -> Open:
    """Opens the page at a state and checks for errors when the block ends.

    Chromium logs failed requests to the console: messages that contain `tolerates` are allowed.
    Requests that match `without` fail until the test unroutes the pattern.

    A window without errors is reused for the same kind of user: opening a new one takes as long
    as loading the page.
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
        user = repr((size, language, sorted(options.items())))
        window = windows.pop(user, None)
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
        # `expect` would describe the whole page at each attempt that fails.
        if begins_with == "image":
            page.locator("#layers .tile").first.wait_for()
            page.locator("#derivation > *").first.wait_for(state="attached")
        else:
            page.locator(f"#{begins_with}").wait_for()
        yield page
        assert [text for text in window.errors if text and tolerates not in text] == []
        window.empty()
        window.errors.clear()
        windows[user] = window

    return opened


def console_error(message: ConsoleMessage) -> str:
    # Chromium logs every 4xx; anything else is the page's.
    return "" if "status of 4" in message.text else message.text


def foreign_request(request: Request, at: str) -> str:
    url = urlsplit(request.url)
    is_own = url.scheme == "blob" or url.netloc == urlsplit(at).netloc
    return "" if is_own else f"requested {request.url}"


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
def visit(shared_page: Page) -> Visit:
    """Moves the module's page to a state, as a link does: opening a page takes two seconds.

    For tests that change nothing that an address does not restore.
    """
    home, links = f"#{urlsplit(shared_page.url).fragment}", count()

    def follow(state: str = home) -> Page:
        shared_page.unroute_all()
        shared_page.mouse.move(0, 0)
        shared_page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
        # The page ignores this name, which makes every link a new address.
        shared_page.evaluate(FOLLOW, f"{state}&link={next(links)}")
        for section in ("answer", "network"):
            shared_page.locator(f"#{section}-section[aria-busy=false]").wait_for()
        shared_page.locator("#derivation > *").first.wait_for(state="attached")
        return shared_page

    return follow


FOLLOW = """(state) => new Promise((followed) => {
    document.activeElement.blur();
    scrollTo({ top: 0, behavior: "instant" });
    addEventListener("hashchange", followed, { once: true });
    location.hash = state;
})"""


@pytest.fixture(params=["english-desktop", "korean-phone"])
def either(request: pytest.FixtureRequest, open_page: Open, visit: Visit) -> Iterator[Page]:
    """The page in both languages, on both screen sizes."""
    if request.param == "english-desktop":
        yield visit()
    else:
        with open_page(size=PHONE, language="ko") as page:
            yield page
