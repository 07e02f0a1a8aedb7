"""What the operating system says of the workers' processes, under Prometheus' standard names."""

import os
from collections.abc import Sequence
from pathlib import Path

from service.telemetry.exposition import write_family
from service.telemetry.families import Counter, Family, Gauge
from service.telemetry.storage import Series, Shard, Storage

_PROC = Path("/proc")

# Fields of /proc/<pid>/stat behind the name of the program; see proc_pid_stat(5).
_USER_TICKS, _SYSTEM_TICKS, _START_TICKS, _VIRTUAL_BYTES, _RESIDENT_PAGES = 11, 12, 19, 20, 21


class ProcessMetrics:
    """Writes `process_*` of every living worker; nothing where there is no /proc.

    They carry the worker's number, because a sum would hide the one that grows. The time since a
    worker started is `time() - process_start_time_seconds`.
    """

    def __init__(self) -> None:
        storage = Storage()  # Only read when asked; nothing is kept.

        def family(kind: type[Counter] | type[Gauge], name: str, description: str) -> Family:
            return kind(storage, f"process_{name}", description, ["worker"])

        self._families = [
            family(Counter, "cpu_seconds_total", "User and system CPU time spent in seconds."),
            family(Gauge, "start_time_seconds", "Start of the process in seconds since 1970."),
            family(Gauge, "virtual_memory_bytes", "Virtual memory size in bytes."),
            family(Gauge, "resident_memory_bytes", "Resident memory size in bytes."),
            family(Gauge, "open_fds", "Number of open file descriptors."),
        ]

    def write(self, shards: Sequence[Shard]) -> str:
        """Return the metrics of the workers that are alive."""
        numbers: dict[Series, list[float]] = {}
        for shard in shards:
            if shard.pid:
                for family, value in zip(self._families, _read(shard.pid), strict=False):
                    numbers[family.name, (str(shard.worker),)] = [value]
        return "".join(write_family(family, numbers) for family in self._families)


def _read(pid: int) -> Sequence[float]:
    """Return the numbers in the order of the families; none if the process is gone."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
        open_fds = len(list((_PROC / str(pid) / "fd").iterdir()))
        boot = (_PROC / "stat").read_text()
    except OSError:
        return []
    fields = stat.rpartition(")")[2].split()
    ticks_per_second = os.sysconf("SC_CLK_TCK")
    boot_time = int(boot.partition("\nbtime ")[2].split()[0])
    return [
        (int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])) / ticks_per_second,
        boot_time + int(fields[_START_TICKS]) / ticks_per_second,
        int(fields[_VIRTUAL_BYTES]),
        int(fields[_RESIDENT_PAGES]) * os.sysconf("SC_PAGE_SIZE"),
        open_fds,
    ]
