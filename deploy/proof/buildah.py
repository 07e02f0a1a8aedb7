"""Builds images without a Docker engine: buildah in a chroot, on a base made by debootstrap."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
FOLDER = Path("/var/tmp/fashion-mnist-proof")  # noqa: S108 (only root writes there)
"""Cache of builds for the next run; delete it when it is no longer needed."""


class Buildah:
    """Buildah with a storage of its own, separate from the machine's."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder

    def __call__(self, *arguments: str | Path, stdin: str | None = None, check: bool = True) -> str:
        """Run one command and return its output."""
        storage = [f"--root={self.folder}/storage", f"--runroot={self.folder}/run"]
        done = subprocess.run(
            ["buildah", *storage, "--storage-driver=overlay", *map(str, arguments)],
            cwd=ROOT,
            input=stdin,
            stdout=subprocess.PIPE,
            text=True,
            check=check,
        )
        return done.stdout.strip()

    def has(self, image: str) -> bool:
        """Return whether the image is in the storage."""
        return bool(self("images", "--quiet", "--filter", f"reference={image}", check=False))

    def inspect(self, image: str) -> dict[str, Any]:
        """Return the configuration of an image as Docker reports it."""
        known: dict[str, Any] = json.loads(self("inspect", "--type=image", image))["Docker"]
        return known

    def build(self, image: str, *options: str, dockerfile: str | None = None) -> None:
        """Build the Dockerfile, or the given text, with the machine's certificates and pip."""
        mounts = ["--volume=/etc/ssl/certs:/etc/ssl/certs:ro"]
        if Path("/etc/pip.conf").exists():
            mounts.append("--volume=/etc/pip.conf:/etc/pip.conf:ro")
        source = ["."] if dockerfile is None else ["--file=-", str(self.folder)]
        self(
            "build",
            "--isolation=chroot",
            "--pull-never",
            "--layers",
            "--format=docker",  # The OCI format has no HEALTHCHECK.
            "--quiet",
            *mounts,
            *options,
            f"--tag={image}",
            *source,
            stdin=dockerfile,
        )

    def save(self, image: str, archive: Path) -> None:
        """Write an image as an archive for `docker load`."""
        archive.unlink(missing_ok=True)
        self("push", "--quiet", image, f"docker-archive:{archive}:{image}")

    def make_base(self) -> str:
        """Make a substitute for the base image of the Dockerfile, unless there is one.

        It is the same Debian release with Debian's Python, at the path of the official image's.

        Returns:
            Its name.
        """
        name = base_image()
        if self.has(name):
            return name
        system = self.folder / "base"
        shutil.rmtree(system, ignore_errors=True)
        packages = "--include=ca-certificates,python3,python3-venv"
        suite = name.rpartition("-")[2]
        with (self.folder / "debootstrap.log").open("w") as log:
            command = ["debootstrap", "--variant=minbase", packages, suite, str(system), mirror()]
            subprocess.run(command, stdout=log, check=True)
        (system / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        container = self("from", "scratch")
        self("copy", "--quiet", container, system, "/")
        self("commit", "--quiet", container, name)
        self("rm", container)
        shutil.rmtree(system)
        return name


def base_image() -> str:
    """Return the full name of the Dockerfile's base image."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    [name] = [line.split()[1] for line in lines if line.endswith(" AS base")]
    return f"docker.io/library/{name}"


def mirror() -> str:
    """Return the Debian mirror of the machine's own apt."""
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return next(line for line in targets.stdout.splitlines() if "security" not in line)
