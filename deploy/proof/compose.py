"""Runs docker-compose.yml on a Docker engine of its own, on a Debian machine.

    sudo python3 -m deploy.proof.compose [--folder FOLDER]

buildah makes the images of the service and of training from the Dockerfile; the proxy and
Prometheus are Debian's packages, under the image names of the stack. Grafana is not packaged and is
left out. The stack runs in a copy of the folders that it mounts, because it trains and publishes a
version. Needs root, a network for the packages, and Debian's docker.io, docker-compose, buildah and
debootstrap; takes ten to twenty minutes, most of them for building and training. The engine has its
own storage and network, and ends with the proof.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from deploy.proof.asking import IMAGE, ask, asked, check, losing_nothing, say, wait_for
from deploy.proof.buildah import FOLDER, Buildah
from deploy.proof.docker_engine import docker_engine, enter_own_network
from deploy.proof.stack import Stack, build_images

REPLICAS = 3
SERVICE = "http://127.0.0.1:8000"
PROMETHEUS = "http://127.0.0.1:9090/api/v1"
UP = 'up{job="fashion_mnist"}'
TRY_TO_WRITE = """
import pathlib, sys
for folder in sys.argv[1:]:
    try:
        pathlib.Path(folder, "proof").touch()
        print("w", end="")
    except OSError:
        print("-", end="")
"""


def main() -> int:
    """Build, start and test the stack; return 1 with a message if a check fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    folder = parser.parse_args().folder
    archives = build_images(Buildah(folder))
    enter_own_network()
    with docker_engine(folder / "docker") as engine:
        for archive in archives:
            engine("load", "--quiet", f"--input={archive}")
            archive.unlink()
        stack = Stack(engine, folder / "project")
        try:
            say(f"docker-compose up --scale service={REPLICAS}")
            stack.compose("up", "--detach", "--no-build", f"--scale=service={REPLICAS}")
            prove_confinement(stack)
            prove_spreading(stack)
            prove_readiness(stack)
            prove_upgrade(stack)
            prove_observability(stack)
            prove_training(stack)
            prove_keys_and_tls(stack)
        finally:
            stack.compose("--profile=observability", "--profile=train", "down", "--volumes")
    shutil.rmtree(folder / "project")
    say("proved")
    return 0


def prove_confinement(stack: Stack) -> None:
    """Check user, privileges, limits and the read-only file system of the containers."""
    say("confined")
    for container in stack.containers("service") + stack.containers("proxy"):
        known = stack.engine.inspect(container)
        status = Path(f"/proc/{known['State']['Pid']}/status").read_text()
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        check("0" not in facts["Uid"].split(), "it runs as root")
        check(int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0, "it has capabilities")
        check(facts["NoNewPrivs"] == "1", "it may gain privileges")
        limits = {name: known["HostConfig"][name] for name in ("Memory", "NanoCpus", "PidsLimit")}
        check(all(limits.values()), f"it has no limits: {limits}")
        check(known["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped", "no restart")
        print(known["Name"], facts["Uid"].split()[0], limits)
    for container in stack.containers("service"):
        python = ("/opt/fashion-mnist/bin/python", "-c", TRY_TO_WRITE)
        folders = ("/tmp", "/", "/opt/fashion-mnist", "/models/fashion_mnist")  # noqa: S108
        written = stack.engine("exec", container, *python, *folders)
        check(written == "w---", f"it can write into {folders}: {written}")


def prove_spreading(stack: Stack) -> None:
    """Send requests to the proxy, then stop one replica and crash another under load."""
    say("post images to the proxy")
    boot = asked(f"{SERVICE}/predict", IMAGE)
    print(boot["predictions"][0]["label"])
    check(boot["predictions"][0]["label"] == "Ankle boot", "that is no ankle boot")
    with losing_nothing(SERVICE):
        pass
    shares = [stack.answered_by(container) for container in stack.containers("service")]
    print(f"answered by each replica: {shares}")
    check(len(shares) == REPLICAS and all(shares), "not every replica got its share")
    stopped, crashed, _ = stack.containers("service")
    say("docker stop of a replica under load")
    with losing_nothing(SERVICE):
        stack.engine("stop", "--time=40", stopped)
    status = stack.engine.inspect(stopped)["State"]["ExitCode"]
    print("exit status", status)
    check(status == 0, "PID 1 did not end by itself")
    stack.engine("start", stopped)
    wait_for("a replica that comes back", lambda: stack.health(stopped) == "healthy")
    say("a replica crashes under load")
    with losing_nothing(SERVICE):
        os.kill(stack.engine.inspect(crashed)["State"]["Pid"], signal.SIGKILL)
        wait_for("a restart", lambda: stack.engine.inspect(crashed)["RestartCount"] == 1)
        wait_for("a healthy replica", lambda: stack.health(crashed) == "healthy")
        wait_for("requests for it", lambda: stack.answered_by(crashed) > 0)


def prove_readiness(stack: Stack) -> None:
    """Unload the model of a replica: Docker and the proxy notice, and it recovers on reload."""
    say("a replica without its model")
    container = stack.containers("service")[0]
    repository = f"{stack.address(container)}/v2/repository/models/fashion_mnist"
    with losing_nothing(SERVICE):
        check(ask(f"{repository}/unload", b"")[0] == 200, "it keeps its model")
        wait_for("an unhealthy replica", lambda: stack.health(container) == "unhealthy")
        check(ask(f"{repository}/load", b"")[0] == 200, "it does not take its model back")
        wait_for("a healthy replica", lambda: stack.health(container) == "healthy")


def prove_upgrade(stack: Stack) -> None:
    """Upgrade every replica under load and roll back; a broken image must be rejected."""
    say("rolling upgrade and rollback")
    image = "fashion-mnist-service"
    stack.engine("tag", f"{image}:latest", f"{image}:next")
    for tag in ("next", "latest"):
        before = set(stack.containers("service"))
        with losing_nothing(SERVICE):
            stack.upgrade(tag)
        after = stack.containers("service")
        check(len(after) == REPLICAS and not before & set(after), "not every replica is new")
        images = {stack.engine.inspect(container)["Config"]["Image"] for container in after}
        check(images == {f"{image}:{tag}"}, f"the replicas are of {images}")


def prove_observability(stack: Stack) -> None:
    """Start the observability profile, as far as there are images, and query Prometheus."""
    say("docker-compose --profile observability up prometheus")
    stack.compose(
        "--profile=observability", "up", "--detach", "--no-build", "--no-recreate",
        f"--scale=service={REPLICAS}", "prometheus",
    )  # fmt: skip

    def up() -> list[str]:
        status, found = ask(f"{PROMETHEUS}/query?query={quote(UP)}")
        if status != 200:
            return []
        return [series["value"][1] for series in json.loads(found)["data"]["result"]]

    wait_for("every replica scraped", lambda: up() == ["1"] * REPLICAS)
    [group] = asked(f"{PROMETHEUS}/rules")["data"]["groups"]
    print(f"{REPLICAS} replicas scraped, {len(group['rules'])} rules loaded")


def prove_training(stack: Stack) -> None:
    """Train another version and wait until the running replicas serve it."""
    say("docker-compose --profile train up export")
    before = asked(f"{SERVICE}/readyz")["model"]["version"]
    running = stack.containers("service")
    with losing_nothing(SERVICE):
        stack.compose("--profile=train", "up", "--no-build", "--no-recreate", "export")
        ready = [f"{stack.address(container)}/readyz" for container in running]
        wait_for(
            "the new version in every replica",
            lambda: {asked(url)["model"]["version"] for url in ready} == {before + 1},
        )
    check(stack.containers("service") == running, "the service was started anew")
    print(f"version {before} was served, now it is {before + 1}")


def prove_keys_and_tls(stack: Stack) -> None:
    """Start the stack with keys and TLS as in docs/deploy.md, and test it with curl."""
    say("docker-compose -f docker-compose.yml -f deploy/compose/secure.yml up")
    started = time.monotonic()
    secrets = stack.make_secrets()
    secure = ("-f", "docker-compose.yml", "-f", "deploy/compose/secure.yml")
    stack.compose(*secure, "up", "--detach", "--no-build")
    curl = ["curl", "--silent", "--cacert", str(secrets / "certificate.pem"), "--data-binary", "@-"]

    def answer(*options: str) -> dict[str, Any]:
        command = [*curl, *options, "https://localhost:8443/predict"]
        done = subprocess.run(command, input=IMAGE, stdout=subprocess.PIPE, check=False)
        return json.loads(done.stdout) if done.stdout.startswith(b"{") else {}

    key = (secrets / "client.key").read_text()
    wait_for("an answer over TLS", lambda: "predictions" in answer("-H", f"X-API-Key: {key}"))
    print(f"an answer by key and TLS after {time.monotonic() - started:.0f} s")
    check(answer()["error"]["code"] == "unauthenticated", "it answers without a key")


if __name__ == "__main__":
    sys.exit(main())
