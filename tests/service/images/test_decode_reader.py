"""The images of one request: their places in messages, the permit, and threads."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.capacity.admission import Admission, Deferred, Limits, Permit
from service.capacity.parallel import WorkerThreads
from service.errors import DeadlineExceeded, ImageTooLarge, InvalidImage
from service.images import decode
from service.images.decode import ImageReader, Prepare
from service.images.photo import prepare_photo
from service.images.steps import Step
from service.telemetry.record import RequestRecord
from tests.service.conftest import Encode

SECONDS = 20
SHAPE = (28, 28)


@pytest.fixture
def workers() -> Iterator[WorkerThreads]:
    with ThreadPoolExecutor(2) as pool:
        yield WorkerThreads(pool, 2)


@pytest.fixture(params=["alone", "with workers"])
def permit(request: pytest.FixtureRequest, workers: WorkerThreads) -> Permit:
    admission = Admission(max_images=10**6, max_bytes=10**9, limits=Limits(max_pixels=10**6))
    permit = admission.admit(RequestRecord("an-id"))
    if request.param == "with workers":
        permit.workers = workers
    return permit


def reader(permit: Permit, prepare: Prepare = "auto") -> ImageReader:
    return ImageReader(prepare, SHAPE, permit)


@pytest.fixture
def photo(encode: Encode) -> bytes:
    return encode(np.random.default_rng(0).integers(0, 255, (100, 100), np.uint8))


def test_images_of_the_data_set_come_out_bit_for_bit_and_in_order(
    permit: Permit, test_slice: tuple[NDArray[np.uint8], NDArray[np.uint8]], encode: Encode
) -> None:
    images = reader(permit).read_all([encode(pixels) for pixels in test_slice[0]], "files")
    for image, pixels in zip(images, test_slice[0], strict=True):
        assert image.preparation == "none"
        np.testing.assert_array_equal(image.pixels, pixels)


def test_other_images_may_be_among_those_of_the_data_set(
    permit: Permit, boot_png: bytes, encode: Encode
) -> None:
    colour = encode(Image.new("RGB", SHAPE, "white"))
    large = encode(Image.new("L", (30, 30), "white"))
    images = reader(permit).read_all([boot_png, colour, large, boot_png], "files")
    assert [image.preparation for image in images] == ["none", "none", "photo", "none"]
    np.testing.assert_array_equal(images[0].pixels, images[3].pixels)
    assert (images[1].pixels == 255).all()


@pytest.mark.parametrize("prepare", ["photo", "plain"])
def test_a_preparation_that_is_asked_for_is_applied_to_every_image(
    permit: Permit, boot_png: bytes, prepare: Prepare
) -> None:
    images = reader(permit, prepare).read_all([boot_png] * 3, "files")
    assert [image.preparation for image in images] == [prepare] * 3


@pytest.mark.parametrize("wrong", [[0], [40], [50, 90], [95]], ids=str)
def test_the_error_is_that_of_the_first_rejected_image(
    permit: Permit, boot_png: bytes, photo: bytes, wrong: list[int]
) -> None:
    for good in (boot_png, photo):
        files = [b"no image" * 1000 if index in wrong else good for index in range(96)]
        with pytest.raises(InvalidImage, match=rf"^files\[{wrong[0]}\]: not an image"):
            reader(permit).read_all(files, "files")


def test_an_error_begins_with_the_place_if_there_is_one(permit: Permit) -> None:
    with pytest.raises(InvalidImage, match=r"^instances\[3\]: not an image"):
        reader(permit).read(b"no image", "instances[3]")
    with pytest.raises(InvalidImage, match=r"^not an image"):
        reader(permit).read(b"no image")


def test_the_limit_on_pixels_is_that_of_the_permit(permit: Permit, encode: Encode) -> None:
    large = encode(Image.new("L", (1001, 1000)))
    with pytest.raises(ImageTooLarge, match="the limit is 1000000"):
        reader(permit).read(large)


def test_nothing_is_decoded_beyond_the_pixel_budget(
    permit: Permit, boot_png: bytes, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        pytest.fail("decoded")

    monkeypatch.setattr(Image.Image, "frombytes", fail)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    for files, budget in (([boot_png] * 3, 783), ([photo], 9_999)):
        permit.pixel_budget = budget
        with pytest.raises(Deferred):
            reader(permit).read_all(files, "files")
        permit.pixel_budget = budget
        with pytest.raises(Deferred):
            reader(permit).read(files[0])


def test_nothing_is_decoded_for_a_request_that_was_cancelled(
    permit: Permit, boot_png: bytes, photo: bytes
) -> None:
    permit.cancel()
    for files in ([boot_png] * 3, [photo] * 3):
        with pytest.raises(DeadlineExceeded):
            reader(permit).read_all(files, "files")


def test_the_phases_are_recorded(permit: Permit, boot_png: bytes, photo: bytes) -> None:
    reader(permit).read(photo)
    assert list(permit.record.phases) == ["decode", "prepare"]
    for file in (boot_png, photo):  # Those of several images overlap.
        permit.record.phases.clear()
        reader(permit).read_all([file] * 3, "files")
        assert list(permit.record.phases) == ["prepare"]


def test_images_of_the_data_set_are_decoded_by_one_thread(
    boot_png: bytes, permit: Permit, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[threading.Thread] = set()
    decode_bytes = Image.Image.frombytes

    def watch(self: Image.Image, data: bytes, *arguments: object) -> None:
        threads.add(threading.current_thread())
        decode_bytes(self, data, *arguments)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(Image.Image, "frombytes", watch)
    reader(permit).read_all([boot_png] * 100, "files")
    assert threads == {threading.current_thread()}


def test_photographs_are_decoded_side_by_side(
    workers: WorkerThreads, permit: Permit, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    permit.workers = workers
    all_three = threading.Barrier(3)

    def meet(
        photo: Image.Image, *, shape: tuple[int, int], steps: list[Step] | None
    ) -> NDArray[np.uint8]:
        all_three.wait(SECONDS)
        return prepare_photo(photo, shape=shape, steps=steps)

    monkeypatch.setattr(decode, "prepare_photo", meet)
    images = reader(permit).read_all([photo] * 3, "files")
    assert [image.preparation for image in images] == ["photo"] * 3


def test_threads_do_not_share_what_they_decode_into(
    permit: Permit, test_slice: tuple[NDArray[np.uint8], NDArray[np.uint8]], encode: Encode
) -> None:
    files = [encode(pixels) for pixels in test_slice[0][:100]]

    def read(index: int) -> NDArray[np.uint8] | None:
        return decode.read_plain_png(files[index % 100], SHAPE, permit)

    with ThreadPoolExecutor(4) as pool:
        for index, pixels in enumerate(pool.map(read, range(2000))):
            np.testing.assert_array_equal(pixels, test_slice[0][index % 100])


@pytest.mark.parametrize(
    ("prepare", "names"),
    [
        ("auto", ["decoded", "grey"]),
        ("plain", ["decoded", "grey", "resized"]),
        ("photo", ["decoded", "grey", "cropped", "centred"]),
    ],
)
def test_the_steps_of_the_preparation_are_collected(
    permit: Permit, boot_png: bytes, prepare: Prepare, names: list[str]
) -> None:
    steps: list[Step] = []
    image = ImageReader(prepare, SHAPE, permit, steps).read(boot_png)
    assert [step.name for step in steps] == names
    np.testing.assert_array_equal(np.asarray(steps[-1].to_image()), image.pixels)
