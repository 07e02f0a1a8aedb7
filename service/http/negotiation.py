"""Which of several representations a client prefers (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence

from service.errors import NotAcceptable


def preferred(accept: str | None, offers: Sequence[str]) -> str:
    """Return the media type of `offers` that an Accept header ranks highest.

    Args:
        accept: The header; None, or nothing in it, accepts anything.
        offers: Media types that can be answered, the default first.

    Raises:
        NotAcceptable: None of them is accepted.
    """
    ranges = [_parse(part) for part in (accept or "*/*").split(",") if part.strip()]
    weights = [_weight(offer, ranges) for offer in offers]
    best = max(weights)
    if best == 0:
        raise NotAcceptable(f"Accept: {accept}: this can be answered as {', '.join(offers)}")
    return offers[weights.index(best)]


def _parse(media_range: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in media_range.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return name, min(max(float(parameter[2:]), 0.0), 1.0)
            except ValueError:
                return name, 0.0
    return name, 1.0


def _weight(offer: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Return the weight that the most specific matching range gives the offer."""
    for pattern in (offer, f"{offer.split('/', maxsplit=1)[0]}/*", "*/*"):
        for name, weight in ranges:
            if name == pattern:
                return weight
    return 0.0
