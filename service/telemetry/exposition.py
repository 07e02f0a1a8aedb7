"""Writes metrics in Prometheus' text format, version 0.0.4."""

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .counters import Counter, Family, Gauge, Histogram, Labels, Shard

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

# Per worker, because a sum would hide a leak in one of them.
PROCESS_METRICS = (
    (Counter, "process_cpu_seconds_total", "User and system CPU time spent in seconds."),
    (Gauge, "process_start_time_seconds", "Start of the process in seconds since 1970."),
    (Gauge, "process_virtual_memory_bytes", "Virtual memory size in bytes."),
    (Gauge, "process_resident_memory_bytes", "Resident memory size in bytes."),
    (Gauge, "process_open_fds", "Number of open file descriptors."),
)


def write_families(families: Iterable[Family], shards: Sequence[Shard]) -> str:
    """Return the sum of each metric over all workers, of a gauge over the living ones."""
    all_time, alive = _sums(shards), _sums(shard for shard in shards if shard.pid)
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {family.description}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        sums = alive if family.kind == "gauge" else all_time
        for labels, values in sorted(sums[family.name].items()):
            escaped = (str(label).translate(_ESCAPES) for label in labels)
            pairs = [f'{n}="{v}"' for n, v in zip(family.label_names, escaped, strict=True)]
            if isinstance(family, Histogram):
                lines += _histogram_lines(family, pairs, values)
            else:
                lines.append(_line(family.name, pairs, values[0]))
    return "\n".join(lines) + "\n"


def add_process_metrics(shards: Iterable[Shard]) -> None:
    """Add the values of `PROCESS_METRICS` to the living workers' shards, if there is /proc."""
    for worker, pid, series in shards:
        with contextlib.suppress(OSError):  # The process is gone.
            for (_, name, _), value in zip(PROCESS_METRICS, _read_process(pid), strict=True):
                series[name] = {(worker,): [value]}


def _read_process(pid: int) -> Sequence[float]:
    process = Path("/proc", str(pid))
    # Numbered as in proc_pid_stat(5); the name, field 2, may contain spaces.
    fields = ["", "", "", *(process / "stat").read_text().rpartition(")")[2].split()]
    ticks_per_second = os.sysconf("SC_CLK_TCK")
    boot_time = int(Path("/proc/stat").read_text().partition("\nbtime ")[2].split()[0])
    return [
        (int(fields[14]) + int(fields[15])) / ticks_per_second,
        boot_time + int(fields[22]) / ticks_per_second,
        int(fields[23]),
        int(fields[24]) * os.sysconf("SC_PAGE_SIZE"),
        len(list((process / "fd").iterdir())),
    ]


def _sums(shards: Iterable[Shard]) -> Mapping[str, dict[Labels, list[float]]]:
    sums: dict[str, dict[Labels, list[float]]] = defaultdict(dict)
    for shard in shards:
        for name, series in shard.series.items():
            for labels, values in series.items():
                before = sums[name].get(labels, [0.0] * len(values))
                sums[name][labels] = [a + b for a, b in zip(before, values, strict=True)]
    return sums


def _histogram_lines(
    family: Histogram, pairs: Sequence[str], values: Sequence[float]
) -> Iterable[str]:
    *counts, total = values
    cumulative = 0.0
    for bound, count in zip([*map(_number, family.bounds), "+Inf"], counts, strict=True):
        cumulative += count
        yield _line(f"{family.name}_bucket", [*pairs, f'le="{bound}"'], cumulative)
    yield _line(f"{family.name}_sum", pairs, total)
    yield _line(f"{family.name}_count", pairs, cumulative)


def _line(name: str, pairs: Sequence[str], value: float) -> str:
    return f"{name}{{{','.join(pairs)}}} {_number(value)}" if pairs else f"{name} {_number(value)}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
