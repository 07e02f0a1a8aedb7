"""Builds images without a Docker engine: buildah in a chroot, on a base made by debootstrap."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
FOLDER = Path("/var/tmp/fashion-mnist-proof")  # noqa: S108 (of root alone)
"""Keeps what was built for the next time; whoever has seen enough removes it."""


class Buildah:
    """Buildah with a storage of its own, which nothing else on the machine sees."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder

    def __call__(self, *arguments: str | Path, stdin: str | None = None, check: bool = True) -> str:
        """Run one command and return what it prints."""
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
        """Whether the image is in the storage."""
        return bool(self("images", "--quiet", "--filter", f"reference={image}", check=False))

    def inspect(self, image: str) -> dict[str, Any]:
        """Return what Docker would know of an image."""
        known: dict[str, Any] = json.loads(self("inspect", "--type=image", image))["Docker"]
        return known

    def build(self, image: str, *options: str, dockerfile: str | None = None) -> None:
        """Build the Dockerfile, or the text of another, with the machine's certificates and pip."""
        mounts = ["--volume=/etc/ssl/certs:/etc/ssl/certs:ro"]
        if Path("/etc/pip.conf").exists():
            mounts.append("--volume=/etc/pip.conf:/etc/pip.conf:ro")
        source = ["."] if dockerfile is None else ["--file=-", str(self.folder)]
        self(
            "build",
            "--isolation=chroot",
            "--pull-never",
            "--layers",
            "--format=docker",  # The OCI format has no health check.
            "--quiet",
            *mounts,
            *options,
            f"--tag={image}",
            *source,
            stdin=dockerfile,
        )

    def save(self, image: str, archive: Path) -> None:
        """Write an image down as `docker load` reads it."""
        archive.unlink(missing_ok=True)
        self("push", "--quiet", image, f"docker-archive:{archive}:{image}")

    def make_base(self) -> str:
        """Make a stand-in for the image the Dockerfile starts from, unless there is one.

        It is the same Debian release with its own Python, where the official image has it.

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
    """Return the image the Dockerfile starts from, by its whole name."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    [name] = [line.split()[1] for line in lines if line.endswith(" AS base")]
    return f"docker.io/library/{name}"


def mirror() -> str:
    """Return the mirror of Debian that the machine's own apt uses."""
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return next(line for line in targets.stdout.splitlines() if "security" not in line)
