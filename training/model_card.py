"""MODEL_CARD.md: the model for people, every figure from the manifest."""

import json
import math
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template

from .recipe import Recipe, differences

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")


def render(manifest: dict[str, Any]) -> str:
    """Return the card as Markdown behind the YAML front matter that Hugging Face reads."""
    template: Template = Template(
        TEMPLATE.read_text(encoding="utf-8"),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    return template.render(
        manifest=manifest,
        defaults=Recipe().model_dump(mode="json"),
        differences=differences,
        dumps=json.dumps,
        log=math.log,
    )
