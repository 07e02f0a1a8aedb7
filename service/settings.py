"""Every knob of the service, from the command line, the environment, or its default."""

import ipaddress
import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.protocols.json_parsing import JsonLimits
from service.setting_types import Location, Origins, VersionLabels, VersionPolicy

EngineChoice = Literal["auto", "litert", "tensorflow"]
LogFormat = Literal["text", "json"]

ENVIRONMENT_PREFIX = "FASHION_"

PUBLISHED_ARTIFACTS = Path("artifacts/fashion_mnist")
"""Where training publishes by default, relative to the working directory."""

PACKAGED_ARTIFACTS = Path(__file__).parent / "shipped_model"
"""Where the wheel has the shipped model; a checkout has it in `PUBLISHED_ARTIFACTS`."""


def _default_artifacts() -> Path:
    if not PUBLISHED_ARTIFACTS.is_dir() and PACKAGED_ARTIFACTS.is_dir():
        return PACKAGED_ARTIFACTS
    return PUBLISHED_ARTIFACTS


def _default_cache() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "fashion-mnist-service"


class Settings(BaseSettings):
    """Settings of one service process and its workers."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
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

    artifacts: Location = Field(default_factory=_default_artifacts)
    """Directory of the model's versions, or a store of them: `s3://bucket/models`, `gs://…`, with
    the extra `s3` or `gcs`. The default is artifacts/fashion_mnist below the working
    directory where there is one, else the model that came with the package."""

    cache: Path = Field(default_factory=_default_cache)
    """Directory that keeps what was fetched from a store; fashion-mnist-service in the user's own
    cache by default."""

    version_policy: VersionPolicy = "latest"
    """Which versions are served: `latest`, `all`, or a list such as `1,3`. A request that names
    none gets the highest."""

    version_labels: VersionLabels = {}
    """Names for versions that requests may use, such as `stable=1,canary=2`, or the same as a
    JSON object. A label answers while its version is served."""

    model_public_key: Path | None = None
    """PEM file with the public key (elliptic curve) of whoever publishes the model: versions that
    are not signed with it, as OpenSSF's model_signing does, are refused. Needs the extra
    `signing`."""

    poll_seconds: float = Field(default=5, ge=0)
    """Seconds between two looks for new and removed versions; 0 looks only at the start."""

    grpc_port: int = Field(default=0, ge=0, le=65535)
    """TCP port of the Open Inference Protocol over gRPC; 0 leaves it off. Needs the extra
    `grpc`."""

    api_keys: str = ""
    """API keys that are accepted, as the lines that `python -m service.keys` prints, with commas
    between them. Without any, nobody is asked for one."""

    api_keys_file: Path | None = None
    """File with such lines, instead of `api_keys`."""

    cors_origins: Origins = ()
    """Origins whose pages may use the service from a browser, such as `https://example.org`, with
    commas between them; `*` for all."""

    tls_certificate: Path | None = None
    """PEM file of the certificate, with the chain behind it: HTTP and gRPC are then served over
    TLS alone."""

    tls_key: Path | None = None
    """PEM file of the certificate's private key, without a password."""

    max_body_bytes: int = Field(default=16 * 1024 * 1024, ge=1)
    """Bytes a request body may have; a longer one is answered 413 before it is read whole."""

    max_pixels: int = Field(default=25_000_000, ge=1)
    """Width times height a picture may have; a larger one is answered 413 before decoding."""

    max_images: int = Field(default=256, ge=1)
    """Pictures one request may carry, as instances, files or parts of a form; more are answered
    413."""

    max_chunks: int = Field(default=65536, ge=1)
    """Pieces a request body may arrive in; more are answered 413."""

    max_json_depth: int = Field(default=16, ge=1)
    """Arrays and objects of a JSON body that may lie within one another; more are answered 400."""

    max_json_marks: int = Field(default=1_000_000, ge=1)
    """Brackets, commas and quotes a JSON body may have; more are answered 413. 256 pictures in
    numbers have 400,000."""

    receive_seconds: float = Field(default=30, gt=0)
    """Seconds a client has to send a request body; a slower one is answered 408."""

    deadline_seconds: float = Field(default=10, gt=0)
    """Seconds the answer may take once the body has arrived; a later one is answered 504. The
    header X-Request-Timeout may ask for fewer."""

    max_images_in_flight: int = Field(default=2048, ge=1)
    """Images a worker takes on at a time, waiting ones included; past it requests are answered
    503."""

    max_bytes_in_flight: int = Field(default=256 * 1024 * 1024, ge=1)
    """Bytes of request bodies a worker holds at a time; past it requests are answered 503."""

    threads: int = Field(default=0, ge=0, le=256)
    """Threads of a worker for short jobs, and as many for long ones; 0 takes its share of the
    processors."""

    drain_seconds: int = Field(default=30, ge=0)
    """Seconds that accepted requests have to finish after the process is told to stop."""

    drain_notice_seconds: float = Field(default=1, ge=0)
    """Seconds of these during which the port stays open, with readiness at 503 and new requests
    refused, so that load balancers look away first."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is written to the log."""

    log_format: LogFormat = "text"
    """Lines for people, or one JSON object a line, with request and trace id: `text`, `json`."""

    @property
    def json_limits(self) -> JsonLimits:
        """What a JSON body may cost."""
        return JsonLimits(self.max_json_depth, self.max_json_marks)

    @property
    def notice_seconds(self) -> float:
        """The part of `drain_seconds` that passes before connections are refused."""
        return min(self.drain_notice_seconds, self.drain_seconds)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the service."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def scheme(self) -> Literal["http", "https"]:
        """What the service's URL begins with."""
        return "http" if self.tls_certificate is None else "https"

    @model_validator(mode="after")
    def _access_is_clear(self) -> Self:
        if self.api_keys and self.api_keys_file is not None:
            raise ValueError("api_keys and api_keys_file must not both be set")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key must be set together")
        return self

    @model_validator(mode="after")
    def _one_request_fits(self) -> Self:
        if self.max_images > self.max_images_in_flight:
            raise ValueError("max_images must not be more than max_images_in_flight")
        if 2 * self.max_body_bytes > self.max_bytes_in_flight:
            # Packed and unpacked, a compressed body is in memory twice.
            raise ValueError("max_body_bytes must not be more than half of max_bytes_in_flight")
        return self
