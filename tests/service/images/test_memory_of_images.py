"""The memory of one worker at default limits while it decodes the most expensive images."""

import io
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.service.conftest import serve_process, unused_port, wait_until_ready

MAX_MEBIBYTES = 400
ROUNDS = 1
CLIENTS = 3

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak memory is read from /proc"
)


def png(width: int, height: int, depth: int, colour: int) -> bytes:
    """Return a PNG of zeros."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = bytes(1 + (width * samples * depth + 7) // 8)
    compressor = zlib.compressobj(1)
    pixels = b"".join(compressor.compress(row) for _ in range(height)) + compressor.flush()
    header = width.to_bytes(4) + height.to_bytes(4) + bytes([depth, colour, 0, 0, 0])
    chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    if colour == 3:
        chunks[1:1] = [(b"PLTE", bytes(range(256)) * 3), (b"tRNS", bytes(range(256)))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)
        for kind, content in chunks
    )


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def worst_images() -> dict[str, bytes]:
    """Return the images of each format that take the most memory to decode."""
    webp = bytearray(encoded(Image.new("RGBA", (1, 1)), "WEBP", lossless=True))
    webp[21:25] = (4999 | 4999 << 14 | 1 << 28).to_bytes(4, "little")
    progressive = encoded(Image.new("RGB", (6000, 4500)), "JPEG", progressive=True, subsampling=0)
    return {
        "RGBA": png(5000, 5000, 8, 6),
        "truncated RGBA": png(5000, 5000, 8, 6)[:-2000],
        "grey with alpha": png(5000, 5000, 8, 4),
        "16-bit grey": png(5000, 5000, 16, 0),
        "palette with alpha": png(5000, 5000, 8, 3),
        "one row": png(25_000_000, 1, 8, 0),
        "lossless WebP, too large": bytes(webp),
        "lossless WebP": encoded(Image.new("RGBA", (3200, 3200)), "WEBP", lossless=True),
        "progressive JPEG": progressive,
        "progressive JPEG without end marker": progressive[:-2],
        "JPEG of 100 megapixels": encoded(Image.new("L", (10_000, 10_000)), "JPEG"),
    }


def test_peak_memory_of_a_worker_stays_below_the_limit() -> None:
    port = unused_port()
    images = list(worst_images().values())
    with serve_process(port=port) as process:
        url = f"http://127.0.0.1:{port}"

        def post_all(first: int) -> set[int]:
            order = (images[first:] + images[:first]) * ROUNDS
            with httpx.Client(base_url=url, timeout=60) as client:
                return {client.post("/predict", content=data).status_code for data in order}

        with httpx.Client(base_url=url, timeout=60) as client:
            wait_until_ready(client)
            with ThreadPoolExecutor(CLIENTS) as threads:
                statuses = set().union(*threads.map(post_all, range(0, 2 * CLIENTS, 2)))
            assert client.get("/livez").status_code == 200
        status = Path(f"/proc/{process.pid}/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    assert statuses <= {200, 400, 413, 503, 504}
    assert peak < MAX_MEBIBYTES, f"{peak:.0f} MiB"
