"""The cost of preparing a photograph, compared with decoding its JPEG.

    python -m benchmarks.preparation

CPU time of one thread for a JPEG of each size: decoding alone, at the reduced size that the
preparation uses, and the whole preparation to 28×28. Each figure is the minimum over rounds that
alternate between both.
"""

import io
import time
from collections.abc import Callable

from PIL import Image

from benchmarks.images import jpeg, read_image
from service.images.steps import LONGEST_SIDE

SIZES = (400, 300), (1280, 1024), (4000, 3000)
SHAPE = 28, 28
ROUNDS = 40


def main() -> None:
    """Print a row for each size."""
    print(f"{'size':>10}{'decoding':>12}{'prepared':>12}{'per second on one core':>24}")
    for width, height in SIZES:
        file = jpeg(width, height)
        rounds = [(cpu_ms(decode, file), cpu_ms(prepare, file)) for _ in range(ROUNDS)]
        decoded, prepared = map(min, zip(*rounds, strict=True))
        rates = f"{1e3 / prepared:.0f} of {1e3 / decoded:.0f}"
        print(f"{width:>5}×{height:<4}{decoded:>9.1f} ms{prepared:>9.1f} ms{rates:>24}")


def decode(file: bytes) -> None:
    """Decode the JPEG as the preparation does."""
    with Image.open(io.BytesIO(file)) as image:
        image.draft(None, (LONGEST_SIDE, LONGEST_SIDE))
        image.load()


def prepare(file: bytes) -> None:
    """Prepare the photograph for the network."""
    read_image(file, prepare="photo", shape=SHAPE, max_pixels=25_000_000)


def cpu_ms(function: Callable[[bytes], None], file: bytes) -> float:
    """Return the CPU time of a call in this thread, in milliseconds."""
    start = time.thread_time()
    function(file)
    return (time.thread_time() - start) * 1e3


if __name__ == "__main__":
    main()
