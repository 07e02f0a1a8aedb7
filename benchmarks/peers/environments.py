"""An environment of its own for each peer, as their requirements do not agree."""

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
"""What is installed for a peer, beside the engine and the decoder that the service uses."""

SHARED = ("ai-edge-litert", "pillow")


def interpreter(environment: str) -> str:
    """Return the Python of an environment; that of the service is the one that runs this.

    It is made when it is asked for first, which takes a minute or two.

    Raises:
        subprocess.CalledProcessError: A package cannot be had here.
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
