import gzip
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import IDX_FOLDER
from training import TrainingError, data
from training.data import (
    CLASS_NAMES,
    DEBIAN_FOLDER,
    DIGESTS,
    load_fashion_mnist,
    parse_idx,
    to_inputs,
)
from training.recipe import Fit

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the small data set that a test may damage."""
    return Path(shutil.copytree(IDX_FOLDER, tmp_path / "idx"))


@pytest.fixture
def search_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The Debian folder and Keras' cache, both empty, and no network."""
    debian, keras_home = tmp_path / "debian", tmp_path / "keras"
    monkeypatch.setattr(data, "DEBIAN_FOLDER", debian)
    monkeypatch.setenv("KERAS_HOME", str(keras_home))
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(keras_home))
    # Nothing listens on port 9; an opener built before would not know the proxy.
    monkeypatch.setattr("urllib.request._opener", None)
    monkeypatch.delenv("no_proxy", raising=False)
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")
    return debian, keras_home / "datasets" / "fashion-mnist"


def rewrite(folder: Path, name: str, content: bytes) -> Path:
    path = folder / f"{name}.gz"
    path.write_bytes(gzip.compress(content))
    return path


def load_error(folder: Path) -> str:
    with pytest.raises(TrainingError) as caught:
        load_fashion_mnist(folder, allow_other_data=True)
    return str(caught.value)


@pytest.mark.skipif(not DEBIAN_FOLDER.exists(), reason="needs the package dataset-fashion-mnist")
def test_debian_package_contains_fashion_mnist() -> None:
    fashion_mnist = load_fashion_mnist(DEBIAN_FOLDER)
    assert fashion_mnist.about["name"] == "Fashion-MNIST"
    assert fashion_mnist.digests == DIGESTS
    assert fashion_mnist.train_images.shape == (60_000, 28, 28)
    assert fashion_mnist.test_images.shape == (10_000, 28, 28)
    assert np.bincount(fashion_mnist.train_labels).tolist() == [6_000] * 10
    assert np.bincount(fashion_mnist.test_labels).tolist() == [1_000] * 10


def test_plain_and_compressed_files_read_the_same(folder: Path) -> None:
    compressed = load_fashion_mnist(folder, allow_other_data=True)
    for name in DIGESTS:
        path = folder / f"{name}.gz"
        (folder / name).write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    plain = load_fashion_mnist(folder, allow_other_data=True)
    assert plain.digests == compressed.digests
    np.testing.assert_array_equal(plain.train_images, compressed.train_images)
    np.testing.assert_array_equal(plain.test_labels, compressed.test_labels)


def test_digest_is_of_the_decompressed_content(folder: Path) -> None:
    loaded = load_fashion_mnist(folder, allow_other_data=True)
    content = gzip.decompress((folder / f"{IMAGES}.gz").read_bytes())
    assert loaded.digests[IMAGES] == hashlib.sha256(content).hexdigest()
    assert loaded.about["name"] != "Fashion-MNIST"


def test_other_data_is_refused_unless_allowed(folder: Path) -> None:
    with pytest.raises(TrainingError, match=rf"{IMAGES}\.gz is not Fashion-MNIST's.*sha256"):
        load_fashion_mnist(folder)


def test_only_the_given_folder_is_searched(folder: Path) -> None:
    (folder / f"{LABELS}.gz").unlink()
    assert load_error(folder) == f"{folder} has no {LABELS}.gz and no {LABELS}"


def test_debian_folder_takes_precedence_over_the_keras_cache(
    search_folders: tuple[Path, Path],
) -> None:
    debian, cache = search_folders
    shutil.copytree(IDX_FOLDER, cache)
    assert load_fashion_mnist(allow_other_data=True).folder == cache
    shutil.copytree(IDX_FOLDER, debian)
    assert load_fashion_mnist(allow_other_data=True).folder == debian
    (debian / f"{LABELS}.gz").unlink()
    assert load_fashion_mnist(allow_other_data=True).folder == cache


def test_failed_download_is_reported_with_the_remedy(search_folders: tuple[Path, Path]) -> None:
    debian, _ = search_folders
    with pytest.raises(TrainingError, match=r"dataset-fashion-mnist.*--data-dir") as caught:
        load_fashion_mnist()
    assert str(debian) in str(caught.value)


def test_error_about_a_truncated_archive_names_the_file(folder: Path) -> None:
    path = folder / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:-1000])
    assert load_error(folder).startswith(f"{path} cannot be read: ")


def test_error_about_a_damaged_archive_names_the_file(folder: Path) -> None:
    path = folder / f"{IMAGES}.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert load_error(folder).startswith(f"{path} cannot be read: ")


def test_error_about_a_file_that_is_not_gzip_names_the_file(folder: Path) -> None:
    path = folder / f"{IMAGES}.gz"
    path.write_bytes(b"<html>not found</html>")
    assert load_error(folder).startswith(f"{path} cannot be read: ")


def test_missing_pixels_are_reported_with_the_sizes(folder: Path) -> None:
    content = gzip.decompress((folder / f"{IMAGES}.gz").read_bytes())
    path = rewrite(folder, IMAGES, content[:-1])
    assert load_error(folder) == (
        f"{path} is truncated or not what its header says: "
        "cannot reshape array of size 200703 into shape (256,28,28)"
    )


def test_file_that_ends_in_its_header_is_reported_as_truncated(folder: Path) -> None:
    path = rewrite(folder, LABELS, bytes([0, 0, 8, 1, 0]))
    assert load_error(folder).startswith(f"{path} is truncated or not what its header says: ")


def test_label_file_in_place_of_images_is_detected_by_its_magic_number(folder: Path) -> None:
    path = folder / f"{IMAGES}.gz"
    shutil.copy(folder / f"{LABELS}.gz", path)
    assert load_error(folder) == (
        f"{path} is not an IDX file of 3 dimensions: its magic number is 00000801, "
        "expected 00000803"
    )


def test_images_of_another_size_are_refused(folder: Path) -> None:
    header = bytes([0, 0, 8, 3]) + np.array([256, 14, 14], ">u4").tobytes()
    rewrite(folder, IMAGES, header + bytes(256 * 14 * 14))
    assert "(14, 14) pixels, expected (28, 28)" in load_error(folder)


def test_different_numbers_of_images_and_labels_are_rejected(folder: Path) -> None:
    shutil.copy(folder / "t10k-labels-idx1-ubyte.gz", folder / f"{LABELS}.gz")
    assert load_error(folder) == f"{folder}: 256 images with 64 labels"


def test_extra_label_extends_default_names_and_is_rejected_with_given_names(
    folder: Path,
) -> None:
    content = bytearray(gzip.decompress((folder / f"{LABELS}.gz").read_bytes()))
    content[-1] = 10
    rewrite(folder, LABELS, bytes(content))
    loaded = load_fashion_mnist(folder, allow_other_data=True)
    assert loaded.class_names == tuple(map(str, range(11)))
    with pytest.raises(TrainingError, match="labels must be there and lie in 0…9"):
        load_fashion_mnist(folder, allow_other_data=True, class_names=CLASS_NAMES)


def test_empty_set_is_refused(folder: Path) -> None:
    rewrite(folder, IMAGES, bytes([0, 0, 8, 3]) + np.array([0, 28, 28], ">u4").tobytes())
    rewrite(folder, LABELS, bytes([0, 0, 8, 1, 0, 0, 0, 0]))
    assert "labels must be there" in load_error(folder)


def test_idx_is_read_in_row_major_order() -> None:
    content = bytes([0, 0, 8, 3]) + np.array([2, 1, 3], ">u4").tobytes() + bytes(range(6))
    assert parse_idx(content, Path("x"), 3).tolist() == [[[0, 1, 2]], [[3, 4, 5]]]


def test_inputs_are_divided_by_255_and_get_a_channel() -> None:
    images = np.full((2, 28, 28), 51, np.uint8)
    inputs = to_inputs(images)
    assert inputs.shape == (2, 28, 28, 1)
    assert inputs.dtype == np.float32
    assert (inputs == np.float32(51) / np.float32(255)).all()


def test_split_is_reproducible_and_stratified_only_on_request() -> None:
    loaded = load_fashion_mnist(IDX_FOLDER, allow_other_data=True)
    training, validation = loaded.split(Fit())
    assert (len(training), len(validation)) == (204, 52)
    assert sorted([*training, *validation]) == list(range(256))
    np.testing.assert_array_equal(training, loaded.split(Fit())[0])
    stratified = loaded.split(Fit(validation_fraction=0.25, stratify=True))[1]
    wanted = np.bincount(loaded.train_labels) / 4
    assert np.abs(np.bincount(loaded.train_labels[stratified]) - wanted).max() < 1
    assert np.abs(np.bincount(loaded.train_labels[validation]) - wanted * 0.8).max() > 1


def test_images_of_indices_have_their_labels() -> None:
    loaded = load_fashion_mnist(IDX_FOLDER, allow_other_data=True)
    images, labels = loaded.select(np.array([7, 3]))
    np.testing.assert_array_equal(images, to_inputs(loaded.train_images)[[7, 3]])
    np.testing.assert_array_equal(labels, loaded.train_labels[[7, 3]])


def test_split_with_an_empty_part_is_rejected() -> None:
    loaded = load_fashion_mnist(IDX_FOLDER, allow_other_data=True)
    with pytest.raises(TrainingError, match="cannot be split"):
        loaded.split(Fit(validation_fraction=0.001, stratify=True))
