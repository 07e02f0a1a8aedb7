"""Every knob of the service, from the command line, the environment, or its default."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

EngineChoice = Literal["auto", "litert", "tensorflow"]

ENVIRONMENT_PREFIX = "FASHION_"


class Settings(BaseSettings):
    """Settings of one service process and its workers."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        cli_prog_name="python -m service",
        cli_kebab_case=True,
        cli_hide_none_type=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on. The default is reached from this machine only."""

    port: int = Field(default=8000, ge=1, le=65535)
    """TCP port to listen on."""

    workers: int = Field(default=1, ge=1, le=64)
    """Processes that share the port; each loads the model for itself."""

    engine: EngineChoice = "auto"
    """What runs the network: `litert` starts in a moment and is small, `tensorflow` is the
    reference, `auto` takes litert where the model directory has a flatbuffer."""

    artifacts: Path = Path("artifacts/fashion_mnist")
    """Directory of the model's versions; the highest valid one is served."""

    max_body_bytes: int = Field(default=16 * 1024 * 1024, ge=1)
    """Bytes a request body may have; a longer one is answered 413 before it is read whole."""

    max_pixels: int = Field(default=25_000_000, ge=1)
    """Width times height a picture may have; a larger one is answered 413 before decoding."""

    max_images: int = Field(default=256, ge=1)
    """Pictures one request may carry; more are answered 413."""

    drain_seconds: int = Field(default=30, ge=0)
    """Seconds that accepted requests have to finish after the process is told to stop."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is written to the log."""
