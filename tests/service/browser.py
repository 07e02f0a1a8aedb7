"""Start the system's Chromium for tests of pages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright


@contextmanager
def start_browser(*arguments: str) -> Iterator[Browser]:
    assert shutil.which("chromium"), "these tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=Path(__file__).with_name("chromium.sh"),
            args=["--no-sandbox", *arguments],
        )
        yield browser
        browser.close()
