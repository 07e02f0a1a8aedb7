"""Settings of the service, from the command line, the environment or defaults."""

import ipaddress
import json
import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ENVIRONMENT_PREFIX = "FASHION_"

# Environment variable with the directory that several workers share; unset if there is one.
WORKERS_DIRECTORY = "FASHION_MNIST_WORKERS_DIRECTORY"

PUBLISHED_ARTIFACTS = Path("artifacts/fashion_mnist")  # The default target of training.
PACKAGED_ARTIFACTS = Path(__file__).parent / "shipped_model"  # In the wheel only.


def _read_location(value: object) -> object:
    return Path(value) if isinstance(value, str) and "://" not in value else value


def _read_list(value: object) -> object:
    """Read a list such as `a,b`, or JSON."""
    if not isinstance(value, str):
        return value
    if value.startswith(("[", "{")):
        return json.loads(value)
    return [item.strip() for item in value.split(",") if item.strip()]


def _read_policy(value: object) -> object:
    if not isinstance(value, str) or value in ("latest", "all"):
        return value
    if not re.fullmatch(r"\s*[1-9][0-9]*\s*(,\s*[1-9][0-9]*\s*)*", value):
        raise ValueError(f"{value!r} is neither latest, all, nor version numbers such as 1,3")
    return _read_list(value)


def _read_labels(value: object) -> object:
    """Read a mapping such as `a=1,b=2`, or JSON."""
    items = _read_list(value)
    if not isinstance(items, list):
        return items
    pairs = [str(item).partition("=") for item in items]
    if not all(equals for _, equals, _ in pairs):
        raise ValueError(f"{value!r} is not of the form stable=1,canary=2")
    return {label.strip(): number for label, _, number in pairs}


def _check_origin(origin: str) -> str:
    if origin != "*" and not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:-]+", origin):
        raise ValueError(f"{origin!r} is neither * nor of the form https://example.org")
    return origin


def _check_proxies(addresses: str) -> str:
    """Reject what uvicorn would take for the name of a socket, which matches no proxy."""
    for address in filter(str.strip, addresses.split(",") if addresses != "*" else ()):
        ipaddress.ip_network(address.strip())
    return addresses


EngineChoice = Literal["auto", "litert", "tensorflow"]
Location = Annotated[Path | str, BeforeValidator(_read_location)]

# `NoDecode` passes the text to the validator, so that a list or a mapping need not be JSON.
_List = (NoDecode, BeforeValidator(_read_list))
VersionPolicy = Annotated[
    Literal["latest", "all"] | tuple[PositiveInt, ...], NoDecode, BeforeValidator(_read_policy)
]
VersionLabels = Annotated[
    dict[Annotated[str, Field(min_length=1)], PositiveInt], NoDecode, BeforeValidator(_read_labels)
]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_check_origin)], ...], *_List]


def _default_artifacts() -> Path:
    is_wheel = not PUBLISHED_ARTIFACTS.is_dir() and PACKAGED_ARTIFACTS.is_dir()
    return PACKAGED_ARTIFACTS if is_wheel else PUBLISHED_ARTIFACTS


def _default_cache() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "fashion-mnist-service"


class Settings(BaseSettings):
    """Settings of one service process and its workers."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on. The default is reachable from this machine only."""
    port: int = Field(default=8000, ge=1, le=65535)
    """TCP port to listen on."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that share the port; each loads its own copy of the model."""
    grpc_port: int = Field(default=0, ge=0, le=65535)
    """TCP port of the Open Inference Protocol over gRPC, with the extra `grpc`; 0 for none."""

    engine: EngineChoice = "auto"
    """Inference engine: `litert` is small and starts fast, `tensorflow` is the reference, `auto`
    uses litert if the model directory has a flatbuffer."""
    artifacts: Location = Field(default_factory=_default_artifacts)
    """Directory of the model's versions, or a store of them: `s3://bucket/models`, `gs://…`, with
    the extra `s3` or `gcs`. The default is artifacts/fashion_mnist in the working directory if it
    exists, else the model that came with the package."""
    cache: Path = Field(default_factory=_default_cache)
    """Directory for files from a store; by default fashion-mnist-service in the user's cache."""
    version_policy: VersionPolicy = "latest"
    """Versions to serve: `latest`, `all` or `1,3`. Requests that name none get the highest."""
    version_labels: VersionLabels = {}
    """Names of versions for requests, such as `stable=1,canary=2`, or a JSON object. A label works
    while its version is served."""
    model_public_key: Path | None = None
    """PEM file with the publisher's public key (elliptic curve). Versions without a valid signature
    by OpenSSF's model_signing are refused. Needs the extra `signing`."""
    poll_seconds: float = Field(default=5, ge=0)
    """Seconds between checks for new and removed versions; 0 checks only at the start."""

    api_keys: str = ""
    """Accepted API keys: lines that `fashion-mnist-keys` (in a checkout `python -m service.keys`)
    prints, separated by commas. Without keys, all requests are accepted."""
    api_keys_file: Path | None = None
    """File with such lines, instead of `api_keys`; reloaded when it changes."""
    cors_origins: Origins = ()
    """Origins of pages that may use the service: `https://example.org,https://…`; `*` for all."""
    root_path: str = Field(default="", pattern=r"^(/[^/?#]+)*$")
    """Path prefix behind a proxy, such as `/ml`; needed only if the proxy does not strip it."""
    forwarded_allow_ips: Annotated[str, AfterValidator(_check_proxies)] = "127.0.0.1"
    """Addresses or networks of proxies, separated by commas, whose X-Forwarded-For and
    X-Forwarded-Proto are trusted; `*` for all."""
    tls_certificate: Path | None = None
    """PEM file of the certificate chain, read at the start only. HTTP and gRPC then require TLS."""
    tls_key: Path | None = None
    """PEM file of the private key, without a password."""

    max_body_bytes: int = Field(default=16 * 1024 * 1024, ge=1)
    """Maximum bytes of a request body; a longer one is rejected with 413 while it is read."""
    max_pixels: int = Field(default=25_000_000, ge=1)
    """Maximum width times height of an image: four times as much for JPEG, less for formats that
    take more memory. A larger one is rejected with 413 before decoding."""
    max_images: int = Field(default=256, ge=1)
    """Maximum images in one request, as instances, files or parts; more are rejected with 413."""
    max_chunks: int = Field(default=65536, ge=1)
    """Maximum chunks that a request body arrives in; more are rejected with 413."""
    max_json_depth: int = Field(default=16, ge=1)
    """Maximum nesting of arrays and objects in a JSON body; deeper nesting is rejected with 400."""
    max_json_marks: int = Field(default=1_000_000, ge=1)
    """Maximum brackets, commas and quotes in a JSON body; more are rejected with 413. 256 images in
    numbers have 400,000."""
    receive_seconds: float = Field(default=30, gt=0)
    """Seconds a client has to send a request body; a slower one is answered with 408."""
    send_seconds: float = Field(default=30, gt=0)
    """Seconds a client has to receive an answer; the connection of a slower one is closed."""
    keep_alive_seconds: int = Field(default=75, ge=1)
    """Seconds a connection may be idle between requests. Proxies must close idle connections
    earlier; their defaults are up to 60."""
    deadline_seconds: float = Field(default=10, gt=0)
    """Seconds until the answer once the body has arrived; a late request is answered with 504. The
    header X-Request-Timeout may ask for fewer."""

    max_images_in_flight: int = Field(default=2048, ge=1)
    """Maximum images in flight per worker, queued ones included; more are rejected with 503."""
    max_bytes_in_flight: int = Field(default=64 * 1024 * 1024, ge=1)
    """Maximum bytes of request bodies and large answers in a worker's memory; more are rejected
    with 503. Requests of up to 64 KiB may take a quarter more."""
    threads: int = Field(default=0, ge=0, le=256)
    """Threads per worker for small jobs, and as many for large ones; 0 uses the worker's share of
    the processors."""
    drain_seconds: int = Field(default=30, ge=0)
    """Seconds that accepted requests have to finish after a stop signal."""
    drain_notice_seconds: float = Field(default=1, ge=0)
    """Part of `drain_seconds` during which the port stays open, readiness is 503 and new requests
    are rejected, so that load balancers stop sending first."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level written to the log."""
    log_format: Literal["text", "json"] = "text"
    """`text`, or `json`: one object per line, with request and trace ids."""

    @property
    def notice_seconds(self) -> float:
        """Seconds of `drain_seconds` before connections are refused."""
        return min(self.drain_notice_seconds, self.drain_seconds)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the service."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def addresses(self) -> str:
        """URLs of the page and the API documentation, as seen from this machine."""
        scheme = "http" if self.tls_certificate is None else "https"
        host = "localhost" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104
        url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"
        return f"page {url}/ and API {url}/docs"

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if self.api_keys and self.api_keys_file is not None:
            raise ValueError("api_keys and api_keys_file must not both be set")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key must be set together")
        if self.grpc_port == self.port:
            raise ValueError("grpc_port and port must differ")
        if self.max_images > self.max_images_in_flight:
            raise ValueError("max_images must not be more than max_images_in_flight")
        if 2 * self.max_body_bytes > self.max_bytes_in_flight:  # Compressed and decompressed.
            raise ValueError("max_body_bytes must not be more than half of max_bytes_in_flight")
        return self
