"""Takes the images of the page that the README shows: make screenshots.

Needs Chromium and a font that has Korean (Debian: fonts-noto-cjk). Each image carries, as text of
its PNG file, which model it shows: `test_screenshots` compares that with the one that is served.
"""

import io
import subprocess
import sys

from PIL import Image, PngImagePlugin
from playwright.sync_api import Browser, expect

from service.settings import Settings
from tests.conftest import ROOT
from tests.service.browser import start_browser
from tests.service.conftest import ARTIFACTS, serve

# A machine that has other work may take its time.
expect.set_options(timeout=60_000)

GAP = 24

MODEL = "Model"
"""The name of the text."""

SCREENSHOTS = ("page", "page-dark", "page-phone", "feature-maps")


def main() -> int:
    """Write docs/*.png; return 1 if there is no font for Korean, which would be empty boxes."""
    fonts = subprocess.run(["fc-list", ":lang=ko"], capture_output=True, text=True, check=True)
    if not fonts.stdout.strip():
        print("no font has Korean: apt-get install fonts-noto-cjk", file=sys.stderr)
        return 1
    with serve(Settings(artifacts=ARTIFACTS)) as client, start_browser() as browser:
        summary = client.get("/model/summary").json()
        model = f"{summary['name']}, version {summary['version']}"
        at = str(client.base_url)
        phone = {"size": (360, 740), "language": "ko", "sharpness": 1.5}
        shown = {
            "page": take(browser, f"{at}#sample=6", size=(1280, 1400)),
            "page-dark": take(
                browser,
                f"{at}#sample=6&other=0&layer=conv2d_2&channel=9&pixel=6,10",
                size=(1280, 1000),
                scheme="dark",
                to="#network-section",
            ),
            "page-phone": beside(
                [
                    take(browser, f"{at}#sample=0", **phone),  # type: ignore[arg-type]  # named above
                    take(browser, f"{at}#sample=0&step=2", to="", **phone),  # type: ignore[arg-type]
                    take(browser, f"{at}#sample=0", to="#basics-section", scheme="dark", **phone),  # type: ignore[arg-type]
                ]
            ),
        }
        boot = (ROOT / "tests/data/png/0000-ankle-boot.png").read_bytes()
        maps = client.post("/feature-maps?format=png", content=boot).content
        for name, image in shown.items():
            # With 256 colours of its own: a third of the bytes, and no eye sees it.
            few = image.quantize(256, Image.Quantize.MAXCOVERAGE, 4, dither=Image.Dither.NONE)
            save(name, few, model)
        save("feature-maps", Image.open(io.BytesIO(maps)), model)
    return 0


def save(name: str, image: Image.Image, model: str) -> None:
    """Write docs/<name>.png with the model it shows."""
    text = PngImagePlugin.PngInfo()
    text.add_text(MODEL, model)
    image.save(ROOT / f"docs/{name}.png", optimize=True, pnginfo=text)


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
    """Return the page as it is seen with its top at the element `to`; empty: where it scrolls."""
    page = browser.new_page(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,  # type: ignore[arg-type]  # light or dark
        locale=language,
        device_scale_factor=sharpness,
        reduced_motion="reduce",
        has_touch=size[0] < size[1] / 2 + 1,
        is_mobile=size[0] < size[1] / 2 + 1,
    )
    page.goto(address)
    expect(page.locator("#derivation .formula .result").first).to_be_attached()
    expect(page.locator("#unit-contributions button").first).to_be_visible()
    expect(page.locator(".heat").first).to_be_visible()
    if to:
        page.locator(to).evaluate(
            "(element) => scrollTo(0, element.getBoundingClientRect().top + scrollY - 16)"
        )
    page.wait_for_timeout(500)
    image = Image.open(io.BytesIO(page.screenshot()))
    page.context.close()
    return image.convert("RGB")


def beside(images: list[Image.Image]) -> Image.Image:
    width = sum(image.width for image in images) + GAP * (len(images) - 1)
    whole = Image.new("RGB", (width, images[0].height), "#8a8f96")
    left = 0
    for image in images:
        whole.paste(image, (left, 0))
        left += image.width + GAP
    return whole


if __name__ == "__main__":
    sys.exit(main())
