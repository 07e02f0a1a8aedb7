"""The stack of docker-compose.yml, in a copy of the folders it mounts, and its images."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from deploy.proof.asking import asked, say
from deploy.proof.buildah import ROOT, Buildah
from deploy.proof.docker_engine import DockerEngine

COMPOSE = ROOT / "docker-compose.yml"
MOUNTED = ["docker-compose.yml", "artifacts", "deploy", "training/recipes"]
TRAINING_USER = 1000

STAND_INS = {
    "haproxy:": """\
FROM {base}
RUN apt-get update && apt-get install --yes --no-install-recommends haproxy
STOPSIGNAL SIGUSR1
USER haproxy
CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
""",
    "prom/alertmanager:": """\
FROM {base}
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus-alertmanager
RUN install --directory --owner=nobody --group=nogroup /alertmanager
USER nobody
WORKDIR /alertmanager
ENTRYPOINT ["/usr/bin/prometheus-alertmanager"]
""",
    "prom/prometheus:": """\
FROM {base}
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus
RUN install --directory --owner=nobody --group=nogroup /prometheus
USER nobody
WORKDIR /prometheus
ENTRYPOINT ["/usr/bin/prometheus"]
""",
}
RECIPE = """\
# One epoch: the test is whether the running service loads the version.
[fit]
epochs = 1
"""


class Stack:
    """The stack of docker-compose.yml, started in a copy of the folders it mounts."""

    def __init__(self, engine: DockerEngine, project: Path) -> None:
        self.engine = engine
        self._project = project
        self._settings = {"DOCKER_HOST": engine.host, "RECIPE": "proof"}
        shutil.rmtree(project, ignore_errors=True)
        for name in MOUNTED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            copy(ROOT / name, project / name)
        (project / "training/recipes/proof.toml").write_text(RECIPE)
        os.chown(project / "artifacts/fashion_mnist", TRAINING_USER, TRAINING_USER)

    def compose(self, *arguments: str) -> None:
        """Run docker-compose; its output goes to the terminal."""
        self._run("docker-compose", *arguments)

    def upgrade(self, tag: str) -> None:
        """Upgrade the replicas to this tag of the image with rolling-upgrade.sh."""
        self._run("deploy/compose/rolling-upgrade.sh", COMPOSE="docker-compose", TAG=tag)

    def make_secrets(self) -> Path:
        """Make keys and a certificate with make-secrets.sh; return their folder."""
        secrets = self._project / "deploy/compose/secrets"
        self._run(str(ROOT / "deploy/compose/make-secrets.sh"), SECRETS=str(secrets))
        return secrets

    def _run(self, *command: str, **settings: str) -> None:
        environment = {**os.environ, **self._settings, **settings}
        subprocess.run(command, cwd=self._project, env=environment, check=True)

    def containers(self, service: str) -> list[str]:
        """Return the ids of the running containers of a service."""
        label = f"label=com.docker.compose.service={service}"
        return self.engine("ps", "--quiet", f"--filter={label}").split()

    def address(self, container: str) -> str:
        """Return the URL of one replica, bypassing the proxy."""
        [network] = self.engine.inspect(container)["NetworkSettings"]["Networks"].values()
        return f"http://{network['IPAddress']}:8000"

    def answered_by(self, container: str) -> int:
        """Return the number of inferences of a replica since its start."""
        stats = asked(f"{self.address(container)}/v2/models/fashion_mnist/stats")
        count: int = stats["model_stats"][0]["inference_stats"]["success"]["count"]
        return count

    def health(self, container: str) -> str:
        """Return the health status of a container."""
        status: str = self.engine.inspect(container)["State"]["Health"]["Status"]
        return status


def build_images(buildah: Buildah) -> list[Path]:
    """Build the images of the stack that can be built here; return archives by image name."""
    base = buildah.make_base()
    archives: list[Path] = []
    for image in dict.fromkeys(re.findall(r" image: ([^\s$]+)", COMPOSE.read_text())):
        if target := re.fullmatch(r"fashion-mnist-(\w+):?", image):
            say(f"build {image}")
            buildah.build(image.rstrip(":"), f"--target={target[1]}")
        elif stand_in := [text for name, text in STAND_INS.items() if image.startswith(name)]:
            say(f"a stand-in for {image}")
            buildah.build(image, dockerfile=stand_in[0].format(base=base))
        else:
            say(f"not to be had here: {image}")
            continue
        archives.append(buildah.folder / f"image-{len(archives)}.tar")
        buildah.save(image.rstrip(":"), archives[-1])
    return archives
