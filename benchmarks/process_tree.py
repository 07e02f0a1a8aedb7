"""What a process and all below it use, by the kernel's account."""

import os
from pathlib import Path


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    members = [pid]
    for member in members:
        try:
            for task in Path(f"/proc/{member}/task").iterdir():
                members += map(int, (task / "children").read_text().split())
        except OSError:  # It has ended meanwhile.
            continue
    return members


def cpu_seconds(pid: int) -> float:
    """Return the processor time that all of them have spent, in user and kernel mode."""
    return sum(map(_cpu_ticks, family(pid))) / os.sysconf("SC_CLK_TCK")


def proportional_mib(pid: int) -> float:
    """Return the memory of all of them, shared pages in proportion (PSS)."""
    return sum(map(_proportional_kib, family(pid))) / 1024


def _cpu_ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def _proportional_kib(pid: int) -> int:
    try:
        content = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in content.splitlines() if line.startswith("Pss:"))
