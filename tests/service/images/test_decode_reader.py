"""Reading the images of one request: locations in errors, limits of the permit, threads."""

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

TIMEOUT_SECONDS = 20
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


def test_data_set_images_are_read_unchanged_and_in_order(
    permit: Permit, test_slice: tuple[NDArray[np.uint8], NDArray[np.uint8]], encode: Encode
) -> None:
    images = reader(permit).read_all([encode(pixels) for pixels in test_slice[0]], "files")
    for image, pixels in zip(images, test_slice[0], strict=True):
        assert image.preparation == "none"
        np.testing.assert_array_equal(image.pixels, pixels)


def test_data_set_images_and_other_images_can_be_mixed(
    permit: Permit, boot_png: bytes, encode: Encode
) -> None:
    colour = encode(Image.new("RGB", SHAPE, "white"))
    large = encode(Image.new("L", (30, 30), "white"))
    images = reader(permit).read_all([boot_png, colour, large, boot_png], "files")
    assert [image.preparation for image in images] == ["none", "none", "photo", "none"]
    np.testing.assert_array_equal(images[0].pixels, images[3].pixels)
    assert (images[1].pixels == 255).all()


@pytest.mark.parametrize("prepare", ["photo", "plain"])
def test_requested_preparation_is_applied_to_every_image(
    permit: Permit, boot_png: bytes, prepare: Prepare
) -> None:
    images = reader(permit, prepare).read_all([boot_png] * 3, "files")
    assert [image.preparation for image in images] == [prepare] * 3


@pytest.mark.parametrize("wrong", [[0], [40], [50, 90], [95]], ids=str)
def test_error_is_that_of_the_first_rejected_image(
    permit: Permit, boot_png: bytes, photo: bytes, wrong: list[int]
) -> None:
    for good in (boot_png, photo):
        files = [b"no image" * 1000 if index in wrong else good for index in range(96)]
        with pytest.raises(InvalidImage, match=rf"^files\[{wrong[0]}\]: not an image"):
            reader(permit).read_all(files, "files")


def test_error_begins_with_the_location_if_one_is_given(permit: Permit) -> None:
    with pytest.raises(InvalidImage, match=r"^instances\[3\]: not an image"):
        reader(permit).read(b"no image", "instances[3]")
    with pytest.raises(InvalidImage, match=r"^not an image"):
        reader(permit).read(b"no image")


def test_pixel_limit_is_that_of_the_permit(permit: Permit, encode: Encode) -> None:
    large = encode(Image.new("L", (1001, 1000)))
    with pytest.raises(ImageTooLarge, match="the limit is 1000000"):
        reader(permit).read(large)


def test_request_over_the_pixel_budget_is_deferred_before_decoding(
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


def test_reading_for_a_cancelled_request_raises_deadline_exceeded(
    permit: Permit, boot_png: bytes, photo: bytes
) -> None:
    permit.cancel()
    for files in ([boot_png] * 3, [photo] * 3):
        with pytest.raises(DeadlineExceeded):
            reader(permit).read_all(files, "files")


def test_phases_of_one_and_of_several_images_are_recorded(
    permit: Permit, boot_png: bytes, photo: bytes
) -> None:
    reader(permit).read(photo)
    assert list(permit.record.phases) == ["decode", "prepare"]
    for file in (boot_png, photo):  # The phases of several images overlap.
        permit.record.phases.clear()
        reader(permit).read_all([file] * 3, "files")
        assert list(permit.record.phases) == ["prepare"]


def test_data_set_images_are_decoded_in_the_calling_thread(
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


def test_photographs_are_prepared_in_parallel(
    workers: WorkerThreads, permit: Permit, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    permit.workers = workers
    all_three = threading.Barrier(3)

    def wait_and_prepare(
        photo: Image.Image, *, shape: tuple[int, int], steps: list[Step] | None
    ) -> NDArray[np.uint8]:
        all_three.wait(TIMEOUT_SECONDS)
        return prepare_photo(photo, shape=shape, steps=steps)

    monkeypatch.setattr(decode, "prepare_photo", wait_and_prepare)
    images = reader(permit).read_all([photo] * 3, "files")
    assert [image.preparation for image in images] == ["photo"] * 3


def test_concurrent_fast_path_reads_do_not_mix_images(
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
def test_preparation_steps_are_collected(
    permit: Permit, boot_png: bytes, prepare: Prepare, names: list[str]
) -> None:
    steps: list[Step] = []
    image = ImageReader(prepare, SHAPE, permit, steps).read(boot_png)
    assert [step.name for step in steps] == names
    np.testing.assert_array_equal(np.asarray(steps[-1].to_image()), image.pixels)
