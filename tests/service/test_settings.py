import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.cli import describe_problem, read_options
from service.settings import PACKAGED_ARTIFACTS, Settings


def settings_of(options: list[str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in read_options(options).items():
        monkeypatch.setenv(name, value)
    return Settings()


def test_defaults_are_loopback_port_8000_and_one_worker() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 1)
    assert settings.artifacts == Path("artifacts/fashion_mnist")


def test_empty_host_is_rejected() -> None:
    with pytest.raises(ValidationError, match="at least 1 character"):
        Settings(host="")


def test_packaged_model_is_the_default_without_an_artifacts_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("service.settings.PACKAGED_ARTIFACTS", tmp_path)  # As in a wheel.
    assert Settings().artifacts == tmp_path
    (tmp_path / "artifacts" / "fashion_mnist").mkdir(parents=True)
    assert Settings().artifacts == Path("artifacts/fashion_mnist")


def test_checkout_has_no_packaged_copy_of_the_model() -> None:
    assert not PACKAGED_ARTIFACTS.exists()


def test_command_line_overrides_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FASHION_PORT", "9000")
    monkeypatch.setenv("FASHION_ENGINE", "litert")
    settings = settings_of(["--port", "9000", "--port", "9001"], monkeypatch)
    assert settings.port == 9001
    assert settings.engine == "litert"


@pytest.mark.parametrize("field", sorted(Settings.model_fields))
def test_every_setting_has_a_description(field: str) -> None:
    assert Settings.model_fields[field].description


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ("--version-policy=latest", "latest"),
        ("--version-policy=1, 3", (1, 3)),
        ("--version-policy=1 --version-policy=3", (1, 3)),
        ("--version-labels=stable=1, canary=2", {"stable": 1, "canary": 2}),
        ('--version-labels={"stable": 1}', {"stable": 1}),
        ("--version-labels=", {}),
        ("--cors-origins=", ()),
        ("--cors-origins=*, https://example.org", ("*", "https://example.org")),
        ('--cors-origins=["http://[::1]:80"]', ("http://[::1]:80",)),
        ("--api-keys=a:b --api-keys=c:d", "a:b,c:d"),
        ("--forwarded-allow-ips=10.0.0.1 --forwarded-allow-ips=10.0.0.2", "10.0.0.1,10.0.0.2"),
        ("--forwarded-allow-ips=*", "*"),
        ("--forwarded-allow-ips=10.0.0.0/8, ::1", "10.0.0.0/8, ::1"),
        ("--forwarded-allow-ips=", ""),
        ("--artifacts=s3://bucket/models", "s3://bucket/models"),
        ("--artifacts=models", Path("models")),
    ],
)
def test_lists_and_mappings_have_a_short_syntax(
    monkeypatch: pytest.MonkeyPatch, options: str, value: object
) -> None:
    settings = settings_of(re.split(" (?=--)", options), monkeypatch)
    name = options.partition("=")[0].removeprefix("--").replace("-", "_")
    assert getattr(settings, name) == value


@pytest.mark.parametrize(
    "values",
    [
        {"port": 0},
        {"workers": 0},
        {"engine": "onnx"},
        {"max_pixels": 0},
        {"colour": 1},
        {"version_policy": "1,x"},
        {"version_policy": ""},
        {"version_labels": "stable"},
        {"version_labels": "=1"},
        {"cors_origins": "example.org"},
        {"forwarded_allow_ips": "10.0.0.1,proxy"},
        {"forwarded_allow_ips": "*,10.0.0.1"},
        {"api_keys": "a", "api_keys_file": "b"},
        {"tls_certificate": "a"},
        {"max_images": 3000},
        {"max_body_bytes": 2**28},
        {"grpc_port": 8000},
    ],
    ids=str,
)
def test_invalid_value_is_rejected(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--version-policy=newest", "'newest' is neither latest, all, nor version numbers"),
        ("--version-policy=1,0", "'1,0' is neither latest, all, nor version numbers"),
        ("--version-policy=", "'' is neither latest, all, nor version numbers"),
        ("--version-labels=latest", "'latest' is not of the form stable=1,canary=2"),
        ("--version-labels=[1]", "'[1]' is not of the form stable=1,canary=2"),
        ("--forwarded-allow-ips=nonsense", "'nonsense' does not appear to be an IPv4 or IPv6"),
        ("--forwarded-allow-ips=10.0.0.1/8", "10.0.0.1/8 has host bits set"),
        ("--cors-origins=all", "'all' is neither * nor of the form https://example.org"),
    ],
)
def test_invalid_list_or_mapping_is_reported_as_one_problem(
    monkeypatch: pytest.MonkeyPatch, options: str, message: str
) -> None:
    with pytest.raises(ValidationError) as raised:
        settings_of([options], monkeypatch)
    [problem] = raised.value.errors()
    assert message in describe_problem(problem)
