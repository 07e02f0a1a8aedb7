"""The steps from a picture to the network's input, as they are answered."""

import base64
import io

import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw

from service.http.schemas import PreparationResponse
from tests.service.http.test_feature_maps import maps_of
from tests.service.http.test_predict import error_of
from tests.service.conftest import Encode


def steps_of(
    client: httpx.Client, picture: bytes, prepare: str = "auto"
) -> tuple[PreparationResponse, dict[str, Image.Image]]:
    response = client.put("/preparation", params={"prepare": prepare}, content=picture)
    assert response.status_code == 200, response.text
    answer = PreparationResponse.model_validate_json(response.content)
    pictures: dict[str, Image.Image] = {
        step.name: Image.open(io.BytesIO(base64.b64decode(step.png))) for step in answer.steps
    }
    for step in answer.steps:
        assert pictures[step.name].size == (step.width, step.height)
    return answer, pictures


@pytest.fixture
def photograph(encode: Encode) -> bytes:
    """A dark blue shirt, about, on a pale wall."""
    picture = Image.new("RGB", (600, 800), "#eee8dd")
    ImageDraw.Draw(picture).rectangle((150, 200, 449, 699), "#203060")
    return encode(picture)


def test_a_photograph_is_cut_out_turned_light_on_black_cropped_and_centred(
    client: httpx.Client, photograph: bytes
) -> None:
    answer, pictures = steps_of(client, photograph)
    assert answer.preparation == "photo"
    assert list(pictures) == ["decoded", "cut_out", "light_on_black", "cropped", "centred"]
    decoded = pictures["decoded"]
    assert (decoded.mode, decoded.size) == ("RGB", (168, 224))
    cut_out = np.asarray(pictures["cut_out"])
    assert cut_out[0, 0, 3] == 0
    assert cut_out[112, 84].tolist() == [0x20, 0x30, 0x60, 255]
    light = np.asarray(pictures["light_on_black"])
    assert light[0, 0] == 0
    assert light[112, 84] > 100
    width, height = pictures["cropped"].size
    assert width / height == pytest.approx(300 / 500, abs=0.05)
    assert np.asarray(pictures["centred"]).tolist() == answer.image


def test_the_last_step_is_what_the_network_sees(
    client: httpx.Client, photograph: bytes, boot_png: bytes
) -> None:
    for picture in (photograph, boot_png):
        for prepare in ("auto", "photo", "plain"):
            answer, pictures = steps_of(client, picture, prepare)
            assert answer.image == maps_of(client, picture, prepare=prepare).image
            assert np.asarray(list(pictures.values())[-1]).tolist() == answer.image


def test_a_picture_of_the_networks_own_size_is_taken_as_it_is(
    client: httpx.Client, boot_png: bytes
) -> None:
    answer, pictures = steps_of(client, boot_png)
    assert answer.preparation == "none"
    assert list(pictures) == ["decoded", "grey"]


def test_a_plain_picture_turns_grey_and_small(client: httpx.Client, photograph: bytes) -> None:
    answer, pictures = steps_of(client, photograph, "plain")
    assert answer.preparation == "plain"
    assert [(name, p.mode, p.size) for name, p in pictures.items()] == [
        ("decoded", "RGB", (168, 224)),
        ("grey", "L", (168, 224)),
        ("resized", "L", (28, 28)),
    ]


def test_a_large_picture_in_the_data_sets_own_form_is_only_cropped_and_centred(
    client: httpx.Client, boot_png: bytes, encode: Encode
) -> None:
    large = Image.open(io.BytesIO(boot_png)).resize((280, 280), Image.Resampling.NEAREST)
    assert list(steps_of(client, encode(large))[1]) == ["decoded", "grey", "cropped", "centred"]


@pytest.mark.parametrize("mode", ["1", "P", "LA", "I;16", "CMYK"])
def test_every_mode_of_colour_is_drawn(client: httpx.Client, encode: Encode, mode: str) -> None:
    picture = Image.new(mode, (40, 60))
    file_format = "JPEG" if mode == "CMYK" else "PNG"
    for prepare in ("photo", "plain"):
        _, pictures = steps_of(client, encode(picture, file_format), prepare)
        assert pictures["decoded"].size == (40, 60)


def test_numbers_are_not_touched(client: httpx.Client) -> None:
    rows = [[row * column % 256 for column in range(28)] for row in range(28)]
    response = client.post("/preparation", json={"instances": [rows]})
    answer = PreparationResponse.model_validate_json(response.content)
    assert (answer.preparation, answer.image, answer.steps) == ("none", rows, [])


def test_what_predict_refuses_is_refused_in_the_same_words(client: httpx.Client) -> None:
    words = error_of(client.post("/preparation", content=b"no picture"), 400)
    assert words[:2] == error_of(client.post("/predict", content=b"no picture"), 400)[:2]


def test_steps_are_of_one_picture_at_a_time(client: httpx.Client, boot_png: bytes) -> None:
    files = [("files", boot_png), ("files", boot_png)]
    assert error_of(client.post("/preparation", files=files), 413)[0] == "too_many_images"
