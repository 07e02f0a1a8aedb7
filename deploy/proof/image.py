"""Builds the Dockerfile and tests the image, on a Debian machine without a Docker engine.

    sudo python3 -m deploy.proof.image [--target training] [--lock service-extras] [--twice]

debootstrap makes the base image, tagged as the one that the Dockerfile names; buildah builds in a
chroot. The result then runs as in a container (contained.py), without a shell, answers requests,
and is stopped in the middle of one. `--twice` builds it again without a cache and requires the
layers to be identical. Needs root, a network for the packages, and Debian's buildah and
debootstrap; takes about two minutes, and keeps its storage in --folder for the next run.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from deploy.proof.asking import IMAGE, ask, asked, check, free_port, say, wait_for
from deploy.proof.buildah import FOLDER, ROOT, Buildah

ENVIRONMENT = "opt/fashion-mnist"
SHELLS = ["sh", "dash", "bash", "rbash"]
ALLOWED_BYTES_ABOVE_BASE = 250_000_000
STARTUP_SECONDS = 60


def main() -> int:
    """Build and test one target; return 1 with a message if a check fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--target", choices=["service", "training"], default="service")
    parser.add_argument("--lock", default="service", help="of requirements/, for the service")
    parser.add_argument("--twice", action="store_true", help="build it again and compare")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    buildah = Buildah(options.folder)
    base = buildah.make_base()
    image = f"localhost/fashion-mnist-{options.target}"
    build = [f"--target={options.target}", f"--build-arg=LOCK={options.lock}", "--timestamp=0"]
    say(f"build --target {options.target} (LOCK={options.lock})")
    buildah.build(image, *build)
    if options.twice:
        say("build it again, from nothing")
        buildah.build(f"{image}-again", "--no-cache", *build)
        first, second = (
            buildah.inspect(name)["rootfs"]["diff_ids"] for name in (image, f"{image}-again")
        )
        print(*first, sep="\n")
        check(first == second, f"the second image has other layers: {second}")
    above = size(buildah, image) - size(buildah, base)
    print(f"{above / 1e6:.0f} MB above the base")
    with Container(buildah, image) as container:
        lock = options.lock if options.target == "service" else "training"
        prove_what_is_installed(container, lock)
        if options.target == "training":
            say("run it")
            return container.start("--version").wait(STARTUP_SECONDS)
        if options.lock == "service":
            check(above <= ALLOWED_BYTES_ABOVE_BASE, "the image is too large")
        prove_service(container)
    say("proved")
    return 0


def prove_what_is_installed(container: "Container", lock: str) -> None:
    """Compare the bill of materials in the image, and the files beside it, with the lock."""
    environment = container.root / ENVIRONMENT
    bill = json.loads((environment / "sbom.cdx.json").read_text())
    listed = {name_of(part["name"]): part["version"] for part in bill["components"]}
    folders = environment.glob("lib/python*/site-packages/*.dist-info")
    installed = dict(folder.name.removesuffix(".dist-info").split("-", 1) for folder in folders)
    installed = {name_of(name): version for name, version in installed.items()}
    check(listed == installed, f"the SBOM lies: {listed.items() ^ installed.items()}")
    del installed["fashion-mnist-service"]
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    locked = {name_of(name): version for name, version in re.findall(r"(?m)^(\S+)==(\S+)", text)}
    check(installed.items() <= locked.items(), f"not locked: {installed.items() - locked.items()}")
    print(f"{len(listed)} components in its SBOM, each of them installed and locked")


def name_of(package: str) -> str:
    """Return the normalised name of a package, without extras."""
    return re.sub(r"[-_.]+", "-", package.partition("[")[0]).lower()


def prove_service(container: "Container") -> None:
    """Start the service as PID 1, send requests, and stop it in the middle of one."""
    say("run it: PID 1, user 10001, no capabilities, read-only root file system, no shell")
    container.remove_shells()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = container.start(FASHION_PORT=str(port))
    try:
        wait_for("readiness", lambda: process.poll() is None and ask(f"{url}/readyz")[0] == 200)
        check(container.healthcheck(FASHION_PORT=str(port)) == 0, "the health check fails")
        say("post an image")
        answer = asked(f"{url}/predict", IMAGE)
        print(answer)
        check(answer["predictions"][0]["label"] == "Ankle boot", "that is no ankle boot")
        say("SIGTERM while an image is still arriving")
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Length", str(len(IMAGE)))
        connection.endheaders(IMAGE[:100])
        time.sleep(0.5)
        container.terminate(process)
        wait_for("unreadiness", lambda: ask(f"{url}/readyz")[0] == 503)
        check(container.healthcheck(FASHION_PORT=str(port)) != 0, "healthy and about to end")
        connection.send(IMAGE[100:])
        response = connection.getresponse()
        print(response.status, response.read()[:70].decode(), "…")
        check(response.status == 200, "the accepted request was lost")
        connection.close()
        status = process.wait(STARTUP_SECONDS)
        print("exit status", status)
        check(status == 0, "PID 1 did not end by itself")
        check(container.healthcheck(FASHION_PORT=str(port)) != 0, "healthy without a service")
    finally:
        process.kill()


def size(buildah: Buildah, image: str) -> int:
    """Return the bytes of all layers, uncompressed."""
    with Container(buildah, image) as container:
        command = ["du", "--summarize", "--bytes", str(container.root)]
        du = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return int(du.stdout.split()[0])


class Container:
    """An unpacked image, run according to its configuration."""

    def __init__(self, buildah: Buildah, image: str) -> None:
        self._buildah = buildah
        self._config: dict[str, Any] = buildah.inspect(image)["config"]
        self._name = buildah("from", "--pull-never", image)
        self.root = Path(buildah("mount", self._name))

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *_: object) -> None:
        self._buildah("umount", self._name)
        self._buildah("rm", self._name)

    def remove_shells(self) -> None:
        """Remove every shell and interpreter of scripts from this container, not from its image."""
        for shell in SHELLS:
            (self.root / "usr/bin" / shell).unlink(missing_ok=True)

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


if __name__ == "__main__":
    sys.exit(main())
