"""A virtual environment for each peer, as their requirements conflict."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENTS = ROOT / ".venv-peers"

REQUIREMENTS = {
    "litserve": "litserve==0.2.19",
    "bentoml": "bentoml==1.4.40",
    "mlserver": "mlserver==1.7.1",
    "ray": "ray[serve]==2.60.0",
    "triton": "nvidia-pytriton==0.7.0",
}
"""The packages of a peer, in addition to the service's engine and decoder."""

SHARED = ("ai-edge-litert", "pillow")


def interpreter(environment: str) -> str:
    """Return the Python of an environment; the service uses the Python that runs this.

    It is created on first use, which takes a minute or two.

    Raises:
        subprocess.CalledProcessError: A package cannot be installed here.
    """
    if environment == "service":
        return sys.executable
    folder = ENVIRONMENTS / environment
    python = folder / "bin" / "python"
    complete = folder / ".complete"
    if not complete.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        shared = [f"{name}=={version(name)}" for name in SHARED]
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, REQUIREMENTS[environment], *shared], check=True)
        complete.touch()
    return str(python)
