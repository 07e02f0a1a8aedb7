"""The CPU time and memory of a process and its descendants, as the kernel counts them."""

import time
from pathlib import Path

_CPUCLOCK_SCHED = 2
"""User and kernel mode, in nanoseconds; /proc counts in hundredths of a second."""


def process_tree(pid: int) -> list[int]:
    """Return a process and its descendants."""
    pids = [pid]
    for member in pids:
        try:
            for task in Path(f"/proc/{member}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
        except OSError:  # The process has ended.
            continue
    return pids


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and its descendants, in user and kernel mode."""
    return sum(map(_cpu_seconds, process_tree(pid)))


def proportional_mib(pid: int) -> float:
    """Return the memory of a process and its descendants, shared pages in proportion (PSS)."""
    return sum(map(_proportional_kib, process_tree(pid))) / 1024


def _cpu_seconds(pid: int) -> float:
    try:
        # The clock id as in clock_getcpuclockid(3).
        return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return 0


def _proportional_kib(pid: int) -> int:
    try:
        content = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in content.splitlines() if line.startswith("Pss:"))
