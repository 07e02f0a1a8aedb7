"""The README's pictures show the model that is served."""

import re

import pytest
from PIL import Image

from service.model.artifact import Artifact
from tests.conftest import ROOT
from tests.service.web.screenshots import MODEL, PICTURES


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_the_readme_shows_the_model_that_is_served(
    name: str, artifact: Artifact
) -> None:
    """If not: make pictures."""
    manifest = artifact.manifest
    with Image.open(ROOT / f"docs/{name}.png") as picture:
        picture.load()
        assert picture.text[MODEL] == f"{manifest.name}, version {manifest.version}"  # type: ignore[attr-defined]  # of PNG files


def test_the_documents_show_these_pictures() -> None:
    shown = re.findall(r"\(([\w-]+)\.png\)", (ROOT / "docs/page.md").read_text())
    assert {*shown} == {*PICTURES, "feature-maps"}
    assert "(docs/page.png)" in (ROOT / "README.md").read_text()
