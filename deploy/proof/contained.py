"""Executes a command of an unpacked image under the restrictions of the strictest container.

deploy/proof/image.py starts it in new mount and PID namespaces, so that it is PID 1. The one
argument is JSON: root, user ("uid:gid"), directory, environment, command.
"""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
LAST_CAPABILITY = int(Path("/proc/sys/kernel/cap_last_cap").read_text())


def main() -> None:
    """Confine this process, then replace it."""
    specification = json.loads(sys.argv[1])
    root = specification["root"]
    for mount in (
        ["--bind", root, root],
        ["--options", "remount,bind,ro", root],
        ["--types", "proc", "proc", f"{root}/proc"],
        ["--types", "tmpfs", "tmpfs", f"{root}/tmp"],  # noqa: S108 (of the image)
        ["--types", "tmpfs", "tmpfs", f"{root}/dev"],
    ):
        subprocess.run(["mount", *mount], check=True)
    for device in ("null", "zero", "random", "urandom"):
        Path(root, "dev", device).touch()
        subprocess.run(["mount", "--bind", f"/dev/{device}", f"{root}/dev/{device}"], check=True)
    os.chroot(root)
    os.chdir(specification["directory"])
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(LAST_CAPABILITY + 1):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    user, group = map(int, specification["user"].split(":"))
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)
    command = specification["command"]
    os.execve(command[0], command, specification["environment"])  # noqa: S606


if __name__ == "__main__":
    main()
