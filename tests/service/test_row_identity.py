"""Every response belongs to the image of its request, also under concurrent load."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.images import read_image
from service.http.inference import DEADLINE_HEADER
from service.model.classifier import Classifier
from service.settings import EngineChoice, Settings
from tests.service.conftest import ARTIFACTS, Encode, serve

Images = NDArray[np.uint8]
Answers = NDArray[np.float32]
Large = tuple[list[bytes], Answers]
"""Files and the probabilities of each."""

THREADS = 8
REQUESTS_PER_THREAD = 40
SCALE = 4
TOLERANCE = 0.01
"""Differences that quantisation may cause; images of the pool differ by more."""


@pytest.fixture(scope="module")
def client(engine_choice: EngineChoice) -> Iterator[httpx.Client]:
    # On a busy machine, jobs may wait longer than the default deadline.
    settings = Settings(artifacts=ARTIFACTS, engine=engine_choice, deadline_seconds=120)
    with serve(settings) as client:
        yield client


@pytest.fixture(scope="session")
def pool(test_slice: tuple[Images, Images], classifier: Classifier) -> tuple[Images, Answers]:
    """Images whose probabilities clearly differ from one another, and the probabilities."""
    images = test_slice[0]
    answers = classifier.assess(classifier.to_images(list(images))).probabilities
    chosen: list[int] = []
    for index, answer in enumerate(answers):
        if all(np.abs(answers[other] - answer).max() > 4 * TOLERANCE for other in chosen):
            chosen.append(index)
    assert len(chosen) > 50
    return images[chosen], answers[chosen]


@pytest.fixture(scope="session")
def large(pool: tuple[Images, Answers], classifier: Classifier, encode: Encode) -> Large:
    """The same images, enlarged so that each is a large job, and their probabilities."""
    files = [encode(image.repeat(SCALE, 0).repeat(SCALE, 1)) for image in pool[0]]
    prepared = [
        read_image(file, prepare="plain", shape=(28, 28), max_pixels=100_000).pixels
        for file in files
    ]
    return files, classifier.assess(classifier.to_images(prepared)).probabilities


def predict_large_file(client: httpx.Client, file: bytes) -> Answers:
    answer = client.post("/predict?prepare=plain", content=file)
    assert answer.status_code == 200, answer.text
    return probabilities_of(answer)


def exceed_deadline(client: httpx.Client, file: bytes) -> None:
    """Send a request with a deadline that cannot be met."""
    late = client.post("/predict?prepare=plain", content=file, headers={DEADLINE_HEADER: "1e-6"})
    assert late.status_code == 504


def probabilities_of(answer: httpx.Response) -> Answers:
    rows = [list(p["probabilities"].values()) for p in answer.json()["predictions"]]
    return np.array(rows, np.float32)


def predict(
    client: httpx.Client, random: np.random.Generator, images: Images, encode: Encode
) -> Answers:
    """Return the probabilities of the images, sent in a random form of request."""
    form = int(random.integers(5))
    if form == 4 and len(images) == 1:
        answer = client.put("/predict", content=encode(images[0]))
    elif form in {0, 4}:
        files = [("files", (f"{i}.png", encode(p))) for i, p in enumerate(images)]
        answer = client.post("/predict", files=files)
    elif form == 1:
        answer = client.post("/predict", json={"instances": images.tolist()})
    else:
        tensor = {
            "name": "images",
            "shape": images.shape,
            "datatype": "UINT8",
            "parameters": {"binary_data_size": images.size},
        }
        output = {"name": "probabilities", "parameters": {"binary_data": form == 2}}
        head = json.dumps({"inputs": [tensor], "outputs": [output]}).encode()
        answer = client.post(
            "/v2/models/fashion_mnist/infer",
            content=head + images.tobytes(),
            headers={"Inference-Header-Content-Length": str(len(head))},
        )
        assert answer.status_code == 200, answer.text
        if form == 2:
            length = int(answer.headers["Inference-Header-Content-Length"])
            return np.frombuffer(answer.content[length:], np.float32).reshape(-1, 10)
        data: Answers = np.array(answer.json()["outputs"][0]["data"], np.float32)
        return data.reshape(-1, 10)
    assert answer.status_code == 200, answer.text
    return probabilities_of(answer)


def disconnect_before_response(client: httpx.Client, image: bytes) -> None:
    url = client.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=10) as connection:
        head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(image)
        connection.sendall(head + image)


@pytest.mark.parametrize("seed", range(2))
def test_responses_match_their_images_under_concurrency_and_cancellation(
    client: httpx.Client,
    pool: tuple[Images, Answers],
    large: Large,
    encode: Encode,
    seed: int,
) -> None:
    images, expected = pool
    files, expected_of_files = large
    start = threading.Barrier(THREADS)

    def run_client(thread: int) -> float:
        random = np.random.default_rng([seed, thread])
        start.wait()
        worst = 0.0
        for _ in range(REQUESTS_PER_THREAD):
            one = int(random.integers(len(files)))
            if random.random() < 0.2:
                disconnect_before_response(client, encode(images[one]))
            if random.random() < 0.2:
                disconnect_before_response(client, files[one])
            if random.random() < 0.1:
                exceed_deadline(client, files[one])
            if random.random() < 0.3:
                given = predict_large_file(client, files[one])
                worst = max(worst, float(np.abs(given - expected_of_files[one]).max()))
            rows = random.integers(len(images), size=random.choice([1, 1, 2, 7, 40]))
            given = predict(client, random, images[rows], encode)
            assert given.shape == expected[rows].shape
            worst = max(worst, float(np.abs(given - expected[rows]).max()))
        return worst

    with ThreadPoolExecutor(THREADS) as threads:
        worst = max(threads.map(run_client, range(THREADS)))
    assert worst < TOLERANCE
