import json
import os
import shlex
import sys
from pathlib import Path

import pytest

from tests.training.conftest import TINY_DATA, Published
from training.__main__ import EXIT_FAILED, EXIT_USAGE, main
from training.native_logging import native_noise_hidden


def test_each_command_prints_the_next_one_and_nothing_to_stderr(tiny: Published) -> None:
    printed = json.loads(tiny.printed.read_text())
    assert [(status, errors) for status, _, errors in printed] == [(0, "")] * 3
    printed_lines = [output.splitlines() for _, output, _ in printed]
    rest = ["--run-dir", str(tiny.run_dir), *TINY_DATA]
    for lines, command in zip(printed_lines[:2], ("evaluate", "export"), strict=True):
        assert lines[-1].endswith(f"Next: python -m training {command} {shlex.join(rest)}")
    assert printed_lines[2][-2:] == [
        f"Published {tiny.artifacts / '1'}",
        f"Serve it: python -m service --artifacts {tiny.artifacts}",
    ]


def test_missing_data_set_is_reported_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", f"--data-dir={tmp_path}", f"--run-dir={tmp_path / 'run'}"]) == EXIT_FAILED
    message = capsys.readouterr().err
    assert message.startswith(f"python -m training fit: {tmp_path} has no ")
    assert message.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_run_folder_that_cannot_be_created_is_reported_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    assert main(["fit", *TINY_DATA, f"--run-dir={in_the_way / 'run'}"]) == EXIT_FAILED
    message = capsys.readouterr().err
    assert str(in_the_way) in message
    assert message.count("\n") == 1


def test_missing_library_is_reported_with_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "training.evaluate", raising=False)
    monkeypatch.setitem(sys.modules, "keras", None)
    assert main(["evaluate"]) == EXIT_FAILED
    assert "keras" in (message := capsys.readouterr().err)
    assert message.endswith(": the extra `training` brings it\n")


def test_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune"]) == EXIT_USAGE
    assert "choose from" in capsys.readouterr().err


def test_missing_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == EXIT_USAGE
    assert capsys.readouterr().err == (
        "python -m training: CLI subcommand is required {fit, evaluate, export, publish}\n"
    )


def test_native_output_is_hidden_unless_the_block_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with native_noise_hidden():
        os.write(2, b"chatter")
    assert not capfd.readouterr().err

    def fail() -> None:
        with native_noise_hidden():
            os.write(2, b"the reason")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert capfd.readouterr().err == "the reason"
