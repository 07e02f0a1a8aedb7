"""Writes metrics in Prometheus' text format, version 0.0.4."""

from collections.abc import Iterable, Mapping, Sequence

from service.telemetry.families import Family, Histogram
from service.telemetry.storage import Labels, Series, Shard

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LABEL_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


def write_families(families: Iterable[Family], shards: Sequence[Shard]) -> str:
    """Return all metrics, each the sum of what the workers have.

    A worker that has ended adds to counters and histograms, not to gauges.
    """
    ever = _sums(shards)
    now = _sums([shard for shard in shards if shard.pid])
    return "".join(
        write_family(family, now if family.kind == "gauge" else ever) for family in families
    )


def write_family(family: Family, numbers: Mapping[Series, Sequence[float]]) -> str:
    """Return one metric, its series sorted by their labels."""
    lines = [
        f"# HELP {family.name} {family.description.translate(_HELP_ESCAPES)}",
        f"# TYPE {family.name} {family.kind}",
    ]
    for labels, values in sorted(
        (labels, values) for (name, labels), values in numbers.items() if name == family.name
    ):
        pairs = _pairs(family.label_names, labels)
        if isinstance(family, Histogram):
            lines += _histogram_lines(family, pairs, values)
        else:
            lines.append(f"{family.name}{_braces(pairs)} {_number(values[0])}")
    return "\n".join(lines) + "\n"


def _histogram_lines(
    family: Histogram, pairs: Sequence[str], values: Sequence[float]
) -> Iterable[str]:
    *counts, total = values
    cumulative = 0.0
    for bound, count in zip([*map(_number, family.bounds), "+Inf"], counts, strict=True):
        cumulative += count
        place = _braces([*pairs, f'le="{bound}"'])
        yield f"{family.name}_bucket{place} {_number(cumulative)}"
    yield f"{family.name}_sum{_braces(pairs)} {_number(total)}"
    yield f"{family.name}_count{_braces(pairs)} {_number(cumulative)}"


def _sums(shards: Sequence[Shard]) -> dict[Series, Sequence[float]]:
    sums: dict[Series, Sequence[float]] = {}
    for shard in shards:
        for series, values in shard.series.items():
            if series in sums:
                values = [a + b for a, b in zip(sums[series], values, strict=True)]  # noqa: PLW2901
            sums[series] = values
    return sums


def _pairs(names: Sequence[str], values: Labels) -> list[str]:
    return [
        f'{name}="{value.translate(_LABEL_ESCAPES)}"'
        for name, value in zip(names, values, strict=True)
    ]


def _braces(pairs: Sequence[str]) -> str:
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
