"""Builds the Dockerfile and runs what it gives, on a Debian machine without a Docker engine.

    sudo python3 deploy/prove_image.py [--target training] [--lock service-extras]

The base image is made by debootstrap and tagged as the one the Dockerfile names; buildah builds in
a chroot. What was built then runs as a container would run it (deploy/contained.py), is asked, and
is stopped in the middle of a request. Needs root, a network for the packages, and Debian's buildah
and debootstrap; takes about two minutes, and leaves its storage in --folder for the next time.
"""

import argparse
import http.client
import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "tests/data/png/0000-ankle-boot.png"
ENVIRONMENT = "opt/fashion-mnist"
ALLOWED_BYTES_ABOVE_BASE = 250_000_000
STARTUP_SECONDS = 60


def main() -> int:
    """Build and prove one target; return 1 with a sentence if something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--target", choices=["service", "training"], default="service")
    parser.add_argument("--lock", default="service", help="of requirements/, for the service")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp/fashion-mnist-proof"))  # noqa: S108
    parser.add_argument("--mirror", help="of Debian; that of the machine by default")
    options = parser.parse_args()
    engine = Buildah(options.folder)
    base = base_image()
    if not engine.has(base):
        make_base(engine, base, options.mirror or machine_mirror())
    image = f"localhost/fashion-mnist-{options.target}"
    say(f"build --target {options.target} (LOCK={options.lock})")
    engine.build(image, options.target, options.lock)
    above = engine.size(image) - engine.size(base)
    print(f"{above / 1e6:.0f} MB above the base")
    with engine.container(image) as container:
        sbom = json.loads((container.root / ENVIRONMENT / "sbom.cdx.json").read_text())
        print(f"{len(sbom['components'])} components in its SBOM")
        if options.target == "training":
            say("run it")
            process = container.start("--version")
            return process.wait(STARTUP_SECONDS)
        if options.lock == "service":
            check(above <= ALLOWED_BYTES_ABOVE_BASE, "the image is too large")
        names = {component["name"] for component in sbom["components"]}
        check(not names & {"tensorflow", "keras", "pip"}, "the image has what it must not have")
        prove_service(container)
    say("proved")
    return 0


def prove_service(container: "Container") -> None:
    """Start the service as PID 1, ask it, and stop it in the middle of a request."""
    say("run it: PID 1, user 10001, no capabilities, read-only root file system")
    port = free_port()
    process = container.start(FASHION_PORT=str(port))
    try:
        wait_until_ready(port, process)
        check(container.healthcheck(FASHION_PORT=str(port)) == 0, "the health check fails")
        say("post a picture")
        picture = PICTURE.read_bytes()
        answer = post(port, picture)
        print(answer.decode())
        check(b'"label":"Ankle boot"' in answer, "that is no ankle boot")
        say("SIGTERM while a picture is still arriving")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Length", str(len(picture)))
        connection.endheaders(picture[:100])
        time.sleep(0.5)
        container.terminate(process)
        time.sleep(0.5)
        connection.send(picture[100:])
        response = connection.getresponse()
        print(response.status, response.read()[:70].decode(), "…")
        check(response.status == http.client.OK, "the accepted request was lost")
        connection.close()
        status = process.wait(STARTUP_SECONDS)
        print("exit status", status)
        check(status == 0, "PID 1 did not end by itself")
        check(container.healthcheck(FASHION_PORT=str(port)) != 0, "healthy without a service")
    finally:
        process.kill()


class Buildah:
    """Buildah with a storage of its own, which nothing else on the machine sees."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def __call__(self, *arguments: str | Path, check: bool = True) -> str:
        """Run one command and return what it prints."""
        storage = [f"--root={self.folder}/storage", f"--runroot={self.folder}/run"]
        command = ["buildah", *storage, "--storage-driver=vfs", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=check)
        return done.stdout.strip()

    def has(self, image: str) -> bool:
        """Whether the image is in the storage."""
        return bool(self("images", "--quiet", "--filter", f"reference={image}", check=False))

    def build(self, image: str, target: str, lock: str) -> None:
        """Build a target of the Dockerfile, with the machine's certificates and pip settings."""
        mounts = ["--volume=/etc/ssl/certs:/etc/ssl/certs:ro"]
        if Path("/etc/pip.conf").exists():
            mounts.append("--volume=/etc/pip.conf:/etc/pip.conf:ro")
        self(
            "build",
            "--isolation=chroot",
            "--pull-never",
            "--layers",
            "--format=docker",  # The OCI format has no health check.
            "--quiet",
            f"--build-arg=LOCK={lock}",
            *mounts,
            f"--target={target}",
            f"--tag={image}",
            ".",
        )

    def size(self, image: str) -> int:
        """Return the bytes of all layers, uncompressed."""
        with self.container(image) as container:
            du = subprocess.run(
                ["du", "--summarize", "--bytes", container.root],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        return int(du.stdout.split()[0])

    def container(self, image: str) -> "Container":
        """Unpack an image for the length of a `with` block."""
        return Container(self, image)


class Container:
    """An unpacked image, run by what its configuration says."""

    def __init__(self, engine: Buildah, image: str) -> None:
        self._engine = engine
        inspected = json.loads(engine("inspect", "--type=image", image))
        self._config: dict[str, Any] = inspected["Docker"]["config"]
        self._name = engine("from", "--pull-never", image)
        self.root = Path(engine("mount", self._name))

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *_: object) -> None:
        self._engine("umount", self._name)
        self._engine("rm", self._name)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start its entrypoint."""
        return self._run([*self._config["Entrypoint"], *arguments], environment)

    def healthcheck(self, **environment: str) -> int:
        """Return the exit status of its health check; 0 is healthy."""
        kind, *command = self._config["Healthcheck"]["Test"]
        check(kind == "CMD", "the health check needs a shell")
        return self._run(command, environment).wait(STARTUP_SECONDS)

    def terminate(self, process: subprocess.Popen[bytes]) -> None:
        """Send the image's stop signal to PID 1, the only child of `process`."""
        [child] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        signal = self._config.get("StopSignal", "SIGTERM").removeprefix("SIG")
        subprocess.run(["kill", f"-{signal}", child], check=True)

    def _run(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        specification = {
            "root": str(self.root),
            "user": self._config["User"],
            "directory": self._config.get("WorkingDir") or "/",
            "environment": dict(v.split("=", 1) for v in self._config["Env"]) | environment,
            "command": command,
        }
        contained = Path(__file__).with_name("contained.py")
        namespaces = ["--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
        confined = [sys.executable, str(contained), json.dumps(specification)]
        return subprocess.Popen(["unshare", *namespaces, "--", *confined])


def base_image() -> str:
    """Return the image the Dockerfile starts from, by its whole name."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    [name] = [line.split()[1] for line in lines if line.endswith(" AS base")]
    return f"docker.io/library/{name}"


def make_base(engine: Buildah, image: str, mirror: str) -> None:
    """Make a stand-in for the official image: the same Debian release with its own Python."""
    suite = image.rpartition("-")[2]
    say(f"a stand-in for {image}, from Debian {suite}")
    system = engine.folder / "base"
    shutil.rmtree(system, ignore_errors=True)
    packages = "--include=ca-certificates,python3,python3-venv"
    with (engine.folder / "debootstrap.log").open("w") as log:
        command = ["debootstrap", "--variant=minbase", packages, suite, str(system), mirror]
        subprocess.run(command, stdout=log, check=True)
    python = system / "usr/local/bin/python"  # Where the official image has it.
    python.symlink_to("/usr/bin/python3")
    container = engine("from", "scratch")
    engine("copy", "--quiet", container, system, "/")
    engine("commit", "--quiet", container, image)
    engine("rm", container)
    shutil.rmtree(system)


def machine_mirror() -> str:
    """Return the mirror that the machine's own apt uses."""
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return next(line for line in targets.stdout.splitlines() if "security" not in line)


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return once the service says so."""
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        check(process.poll() is None, "the service ended")
        connection = http.client.HTTPConnection("127.0.0.1", port)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == http.client.OK:
                return
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    check(False, f"not ready after {STARTUP_SECONDS} s")


def post(port: int, picture: bytes) -> bytes:
    """Ask what is on a picture."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/predict", picture)
    answer = connection.getresponse().read()
    connection.close()
    return answer


def say(step: str) -> None:
    """Announce a step."""
    print(f"\n== {step}", flush=True)


def check(condition: bool, complaint: str) -> None:
    """End with a sentence unless the condition holds."""
    if not condition:
        sys.exit(f"FAILED: {complaint}")


if __name__ == "__main__":
    sys.exit(main())
