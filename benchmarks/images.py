"""Images for requests, made from one of the data set, and their preparation without a service."""

import io
from pathlib import Path

from PIL import Image

from service.capacity.admission import Admission, Limits
from service.images.decode import ImageReader, Prepare, PreparedImage
from service.telemetry.record import RequestRecord

BOOT = Path(__file__).parent.parent / "tests" / "data" / "png" / "0000-ankle-boot.png"


def small_png() -> bytes:
    """Return an image of the data set as a PNG: 28×28, a few hundred bytes."""
    return BOOT.read_bytes()


def jpeg(width: int, height: int) -> bytes:
    """Return a boot on a white background as a JPEG of that size, like a camera's.

    Texture makes it 0.25 bytes per pixel: 3 MB for twelve megapixels, as from a phone.
    """
    buffer = io.BytesIO()
    _boot_on_background(width, height).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def large_png(side: int) -> bytes:
    """Return the same image as a square PNG."""
    buffer = io.BytesIO()
    _boot_on_background(side, side).save(buffer, "PNG")
    return buffer.getvalue()


def read_image(
    data: bytes, *, prepare: Prepare, shape: tuple[int, int], max_pixels: int
) -> PreparedImage:
    """Read and prepare an image file as the service does for a request."""
    limits = Limits(max_pixels=max_pixels)
    permit = Admission(max_images=1, max_bytes=0, limits=limits).admit(RequestRecord(""))
    return ImageReader(prepare, shape, permit).read(data)


def _boot_on_background(width: int, height: int) -> Image.Image:
    with Image.open(io.BytesIO(small_png())) as small:
        boot = small.convert("L")
    side = min(width, height) * 3 // 4
    large = boot.resize((side, side), Image.Resampling.BICUBIC).point(lambda value: 255 - value)
    noise = Image.effect_noise((width, height), 6).point(lambda value: min(255, value + 100))
    noise.paste(large, ((width - side) // 2, (height - side) // 2), boot.resize((side, side)))
    return noise.convert("RGB")
