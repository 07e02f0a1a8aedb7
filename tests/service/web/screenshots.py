"""Takes the pictures of the page that the README shows.

    python -m tests.service.web.screenshots

Needs Chromium and a Korean font (Debian: fonts-nanum).
"""

import io

from PIL import Image
from playwright.sync_api import Browser, expect

from service.settings import Settings
from tests.conftest import ROOT
from tests.service.browser import start_browser
from tests.service.conftest import ARTIFACTS, serve

GAP = 24


def main() -> None:
    """Write docs/page.png, docs/page-dark.png and docs/page-phone.png."""
    with serve(Settings(artifacts=ARTIFACTS)) as client, start_browser() as browser:
        at = str(client.base_url)
        first = f"{at}#sample=9"
        save("page", take(browser, first, size=(1280, 1400)))
        sum_ = f"{at}#sample=6&other=0&layer=conv2d_2&channel=9&pixel=6,10"
        save("page-dark", take(browser, sum_, size=(1280, 1000), scheme="dark", to="#walk"))
        phone = {"size": (360, 720), "language": "ko", "sharpness": 1.5}
        pooled = f"{at}#sample=0&layer=max_pooling2d_1&channel=14&pixel=5,11"
        screens = [
            take(browser, f"{at}#sample=0", **phone),  # type: ignore[arg-type]  # named above
            take(browser, pooled, to="#inspector", **phone),  # type: ignore[arg-type]
            take(browser, pooled, to="#outcome", scheme="dark", **phone),  # type: ignore[arg-type]
        ]
        save("page-phone", beside(screens))


def take(
    browser: Browser,
    address: str,
    *,
    size: tuple[int, int],
    scheme: str = "light",
    language: str = "en",
    to: str = "body",
    sharpness: float = 1,
) -> Image.Image:
    """Return the page as it is seen with its top at the element `to`."""
    page = browser.new_page(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,  # type: ignore[arg-type]  # light or dark
        locale=language,
        device_scale_factor=sharpness,
        reduced_motion="reduce",
    )
    page.goto(address)
    expect(page.locator("#written .ledger .result").first).to_be_visible()
    page.locator(to).evaluate(
        "(element) => scrollTo(0, element.getBoundingClientRect().top + scrollY - 16)"
    )
    page.wait_for_timeout(300)
    picture = Image.open(io.BytesIO(page.screenshot()))
    page.context.close()
    return picture.convert("RGB")


def beside(pictures: list[Image.Image]) -> Image.Image:
    width = sum(picture.width for picture in pictures) + GAP * (len(pictures) - 1)
    whole = Image.new("RGB", (width, pictures[0].height), "#8a8f96")
    left = 0
    for picture in pictures:
        whole.paste(picture, (left, 0))
        left += picture.width + GAP
    return whole


def save(name: str, picture: Image.Image) -> None:
    """Write it with 256 colours of its own: a third of the bytes, and no eye sees it."""
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        ROOT / f"docs/{name}.png", optimize=True
    )


if __name__ == "__main__":
    main()
