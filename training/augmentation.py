"""Changes to the training images that leave their class as it is."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from training.fields import FieldBank, field_bank
from training.recipe import IMAGE_SIDE, Augmentation
from training.warp import warp

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]


def augment(
    images: Floats, labels: Labels, settings: Augmentation, seed: int, place: tuple[int, int]
) -> Floats:
    """Augment a batch.

    Args:
        images: (n, 28, 28, 1) float32 in [0, 1], in random order.
        labels: (n,) uint8 class ids.
        settings: what to do.
        seed: seed of the training.
        place: number of the epoch and of the batch; with the seed it decides every draw.

    Returns:
        (n, 28, 28, 1) float32 in [0, 1].
    """
    generator = np.random.default_rng((seed, *place))
    pictures = images[..., 0]
    photos = round(len(pictures) * settings.photo_share)
    augmented = np.empty_like(pictures)
    augmented[:photos] = photo_like(pictures[:photos], labels[:photos], field_bank(seed), generator)
    augmented[photos:] = _moved(pictures[photos:], settings, generator)
    return augmented[..., None]


def _moved(pictures: Floats, settings: Augmentation, generator: np.random.Generator) -> Floats:
    """Flip, shift and erase."""
    if settings.flip:
        mirrored = generator.random(len(pictures)) < 0.5
        pictures = np.where(mirrored[:, None, None], pictures[:, :, ::-1], pictures)
    if settings.shift:
        pictures = _shifted(pictures, settings.shift, generator)
    if settings.erase:
        pictures = _erased(pictures, settings.erase, generator)
    return pictures


def _shifted(pictures: Floats, most: int, generator: np.random.Generator) -> Floats:
    """Shift each picture by up to `most` pixels along both axes, black coming in."""
    padded = np.pad(pictures, ((0, 0), (most, most), (most, most)))
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, (IMAGE_SIDE, IMAGE_SIDE), axis=(1, 2)
    )
    down, right = generator.integers(2 * most + 1, size=(2, len(pictures)))
    shifted: Floats = windows[np.arange(len(pictures)), down, right]
    return shifted


def _erased(pictures: Floats, share: float, generator: np.random.Generator) -> Floats:
    """Fill a rectangle of 2 to 20 % of some pictures with noise.

    Zhong et al. 2017, Random Erasing Data Augmentation, https://arxiv.org/abs/1708.04896.
    """
    count = len(pictures)
    area = generator.uniform(0.02, 0.2, count) * IMAGE_SIDE**2
    aspect = np.exp(generator.uniform(-np.log(3), np.log(3), count))
    sizes = np.stack([np.sqrt(area * aspect), np.sqrt(area / aspect)])
    sizes = np.clip(np.rint(sizes), 1, IMAGE_SIDE - 1)
    starts = np.floor(generator.random((2, count)) * (IMAGE_SIDE + 1 - sizes))
    pixels = np.arange(IMAGE_SIDE)
    inside = (pixels >= starts[..., None]) & (pixels < (starts + sizes)[..., None])
    chosen = (generator.random(count) < share)[:, None, None]
    erased = inside[0][:, :, None] & inside[1][:, None, :] & chosen
    return np.where(erased, generator.random(pictures.shape, np.float32), pictures)


def photo_like(
    pictures: Floats, labels: Labels, fields: FieldBank, generator: np.random.Generator
) -> Floats:
    """Make pictures look as the service's preparation leaves photographs taken at home.

    Other proportions and poses (see `warp`), a bitten or swollen outline, flat or harsh contrast,
    shading, creases, stripes and noise, and now and then a ground that was not removed.

    Args:
        pictures: (n, 28, 28) float32 in [0, 1].
        labels: (n,) uint8 class ids.
        fields: patterns to draw with.
        generator: where everything else is drawn from.

    Returns:
        (n, 28, 28) float32 in [0, 1].
    """
    count = len(pictures)
    if count == 0:
        return pictures

    def uniform(low: float, high: float) -> Floats:
        return generator.uniform(low, high, (count, 1, 1)).astype(np.float32)

    def some(share: float) -> npt.NDArray[np.bool_]:
        return generator.random((count, 1, 1)) < share

    # Closed: a fine gap, as between straps, belongs to the garment.
    silhouettes = ndimage.grey_closing((pictures > 0.03).astype(np.float32), size=(1, 3, 3))
    image, mask = warp(pictures, silhouettes, labels, generator)
    mask = _rough_outline(mask, uniform(0, 0.6) * some(0.4), fields.edges(generator, count))
    area = np.maximum(mask.sum(axis=(1, 2), keepdims=True), 1)
    mean = (image * mask).sum(axis=(1, 2), keepdims=True) / area
    image = np.where((mask > 0.3) & (image < 0.03), 0.9 * mean, image)
    image = np.where(some(0.12), 2 * mean - image, image)
    contrast = np.where(some(0.25), uniform(0, 0.4), uniform(0.4, 1.3))
    level = np.where(some(0.75), mean * uniform(0.75, 1.15), uniform(0.25, 0.95))
    image = level + (image - mean) * contrast
    image = image + fields.shades(generator, count) * uniform(0, 0.3) * some(0.5)
    image = image + fields.creases(generator, count) * uniform(0, 0.35) * some(0.5)
    image = image + fields.stripes(generator, count) * uniform(0, 0.25) * some(0.12)
    image = image + fields.noise(generator, count) * uniform(0, 0.08) * some(0.5)
    ground = uniform(0, 1) + fields.shades(generator, count) * uniform(0, 0.35)
    ground = np.clip(ground + fields.noise(generator, count) * uniform(0, 0.1), 0, 1)
    left = generator.random((count, 1, 1))
    patch = (fields.shades(generator, count) > 0.3) & (left < 0.12)
    result = np.clip(image, 0.08, 1) * mask + (1 - mask) * ground * (patch | (left < 0.04))
    result = np.where(some(0.3), (result + _blurred(result)) / 2, result)
    looks: Floats = result.astype(np.float32)
    return looks


def _rough_outline(mask: Floats, roughness: Floats, edges: Floats) -> Floats:
    """Move the outline in and out by up to about a pixel where roughness, (n, 1, 1), is not 0."""
    rough = np.clip((_blurred(mask) + 0.6 * roughness * edges - 0.5) * 4 + 0.5, 0, 1)
    return np.where(roughness > 0, rough, mask)


def _blurred(pictures: Floats) -> Floats:
    blurred: Floats = ndimage.uniform_filter(pictures, size=(1, 3, 3), mode="nearest")
    return blurred
