"""The pictures of a form are read and classified in parts, and nothing shows that they are."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.images import picture_reader
from service.capacity.admission import Admission, Ticket
from service.http.batches import MOST_TOGETHER
from service.http.forms import Form
from service.arrays import Pixels
from service.model.classifier import Classifier
from service.errors import InvalidImage
from service.images.decode import PreparedImage, read_image
from service.images.picture_reader import PictureReader
from service.images.plain_png import read_plain_pngs
from service.capacity.parallel import Helpers
from tests.service.conftest import Encode

SECONDS = 20
SHAPE = (28, 28)


@pytest.fixture
def helpers() -> Iterator[Helpers]:
    with ThreadPoolExecutor(2) as pool:
        yield Helpers(pool, 2)


def form_of(files: list[bytes], helpers: Helpers | None = None) -> Form:
    ticket = Ticket(Admission(max_images=10**6, max_bytes=10**9), 0, 0)
    ticket.helpers = helpers
    return Form(files, PictureReader("auto", SHAPE, 10**6, ticket))


@pytest.mark.parametrize("count", [1, MOST_TOGETHER, MOST_TOGETHER + 1, 5 * MOST_TOGETHER - 3])
def test_the_answers_are_those_to_all_pictures_at_once(
    classifier: Classifier,
    test_slice: tuple[Pixels, Pixels],
    encode: Encode,
    helpers: Helpers,
    count: int,
) -> None:
    pixels = [test_slice[0][index % len(test_slice[0])] for index in range(count)]
    files = [encode(one) for one in pixels]
    expected = classifier.assess(pixels)
    for who in (helpers, None):
        images, assessment = form_of(files, who).classify(classifier)
        for image, one in zip(images, pixels, strict=True):
            np.testing.assert_array_equal(image.pixels, one)
        np.testing.assert_allclose(assessment.probabilities, expected.probabilities, atol=1e-6)
        assert assessment.novelty is not None
        assert expected.novelty is not None
        np.testing.assert_allclose(assessment.novelty, expected.novelty, atol=1e-3)
    for image, one in zip(form_of(files).read(), pixels, strict=True):
        np.testing.assert_array_equal(image.pixels, one)


@pytest.mark.parametrize("wrong", [[0], [40], [50, 90], [95]])
def test_the_first_picture_that_is_refused_is_the_one_that_is_told(
    classifier: Classifier,
    boot_png: bytes,
    helpers: Helpers,
    wrong: list[int],
) -> None:
    files = [b"no picture" if index in wrong else boot_png for index in range(96)]
    for who in (helpers, None):
        with pytest.raises(InvalidImage, match=rf"^files\[{wrong[0]}\]: "):
            form_of(files, who).classify(classifier)
    with pytest.raises(InvalidImage, match=rf"^files\[{wrong[0]}\]: "):
        form_of(files).read()


def test_other_pictures_may_be_among_those_of_the_data_set(
    classifier: Classifier, boot_png: bytes, encode: Encode
) -> None:
    colour = encode(Image.new("RGB", SHAPE, "white"))
    large = encode(Image.new("L", (30, 30), "white"))
    images, _ = form_of([boot_png, colour, large, boot_png]).classify(classifier)
    assert [image.preparation for image in images] == ["none", "none", "photo", "none"]
    np.testing.assert_array_equal(images[0].pixels, images[3].pixels)
    assert (images[1].pixels == 255).all()


def test_small_pictures_are_decoded_by_one_thread_at_a_time(
    classifier: Classifier,
    boot_png: bytes,
    helpers: Helpers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: set[threading.Thread] = set()
    others: list[threading.Thread] = []
    decoding: list[threading.Thread] = []

    def watch(*arguments: Any) -> Pixels | None:
        decoding.append(threading.current_thread())
        others.extend(thread for thread in decoding if thread is not decoding[-1])
        threads.add(threading.current_thread())
        try:
            return read_plain_pngs(*arguments)
        finally:
            decoding.pop()

    monkeypatch.setattr(picture_reader, "read_plain_pngs", watch)
    form_of([boot_png] * 40 * MOST_TOGETHER, helpers).classify(classifier)
    assert len(threads) > 1
    assert not others


def test_whoever_has_no_helpers_waits_for_nobody(boot_png: bytes) -> None:
    with picture_reader._decoding:  # As a thread does that is not let run.
        assert len(form_of([boot_png] * 3).read()) == 3


def test_photographs_are_decoded_side_by_side(
    classifier: Classifier,
    encode: Encode,
    helpers: Helpers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photo = encode(np.random.default_rng(0).integers(0, 255, (100, 100), np.uint8))
    all_three = threading.Barrier(3)

    def meet(*arguments: Any, **keywords: Any) -> PreparedImage:
        all_three.wait(SECONDS)
        return read_image(*arguments, **keywords)

    monkeypatch.setattr(picture_reader, "read_image", meet)
    images, assessment = form_of([photo] * 3, helpers).classify(classifier)
    assert [image.preparation for image in images] == ["photo"] * 3
    assert len(assessment.probabilities) == 3
