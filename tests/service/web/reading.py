"""Reads the numbers that the page shows."""

import re

from playwright.sync_api import Page, expect

_NUMBER = re.compile(r"[+−-]?\s?\d[\d,]*(?:\.\d+)?(?:e−?\d+)?")


def number(text: str) -> float:
    [found] = numbers(text)
    return found


def numbers(text: str) -> list[float]:
    """Return every number in a text; the page uses a minus sign, not a hyphen."""
    found = [
        match.replace("−", "-").replace(" ", "").replace(",", "") for match in _NUMBER.findall(text)
    ]
    return [float(each) for each in found]


def formula_of(page: Page) -> dict[str, float]:
    """Return the lines of the derivation's formula, in their order."""
    expect(page.locator("#derivation .formula .result").first).to_be_visible()
    lines = {}
    for line in page.locator("#derivation .formula > div").all():
        lines[line.locator("dt").inner_text()] = number(line.locator("dd").inner_text())
    return lines


def value_of(page: Page) -> float:
    """Return the inspected value, as the service returned it."""
    return numbers(page.locator("#inspected-value").inner_text())[-1]
