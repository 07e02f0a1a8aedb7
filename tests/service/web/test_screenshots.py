"""The README's images show the model that is served."""

import re

import pytest
from PIL import Image

from service.model.artifact import Artifact
from tests.conftest import ROOT
from tests.service.web.screenshots import MODEL, SCREENSHOTS


@pytest.mark.parametrize("name", SCREENSHOTS)
def test_an_image_of_the_readme_shows_the_model_that_is_served(
    name: str, artifact: Artifact
) -> None:
    """If not: make screenshots."""
    manifest = artifact.manifest
    with Image.open(ROOT / f"docs/{name}.png") as image:
        image.load()
        assert image.text[MODEL] == f"{manifest.name}, version {manifest.version}"  # type: ignore[attr-defined]  # of PNG files


def test_the_documents_show_these_images() -> None:
    shown = re.findall(r"\(([\w-]+)\.png\)", (ROOT / "docs/page.md").read_text())
    assert {*shown} == {*SCREENSHOTS, "feature-maps"}
    assert "(docs/page.png)" in (ROOT / "README.md").read_text()
