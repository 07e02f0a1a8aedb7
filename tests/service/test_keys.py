"""Keys are recognised by their digests, and their secrets do not leak."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from service import keys as keys_module
from service.errors import StartError
from service.keys import KeyRing, load_keys, main, make_key, read_keys
from tests.conftest import ROOT


def test_each_key_is_found_with_its_name_and_scopes() -> None:
    shop_secret, shop = make_key("shop", ["predict"])
    operator_secret, operator = make_key("operator", ["administer", "predict"])
    ring = KeyRing(read_keys(f"# clients\n{shop.line()}\n\n  {operator.line()}\n"))
    assert ring.find(shop_secret) == shop
    assert ring.find(operator_secret) == operator
    assert operator.scopes == {"predict", "administer"}


@pytest.mark.parametrize("wrong", ["", "fashion_", "ключ", "\udcff"])
def test_wrong_secret_matches_no_key(wrong: str) -> None:
    secret, key = make_key("shop", ["predict"])
    ring = KeyRing(read_keys(key.line()))
    assert ring.find(wrong) is None
    assert ring.find(secret[:-1]) is None
    assert ring.find(secret + "x") is None
    assert ring.find(key.digest.hex()) is None


def test_line_of_a_key_contains_only_the_digest_of_its_random_secret() -> None:
    secret, key = make_key("shop", ["predict"])
    assert key.line() == f"shop:predict:sha256:{hashlib.sha256(secret.encode()).hexdigest()}"
    assert make_key("shop", ["predict"])[0] != secret


@pytest.mark.parametrize(
    "line",
    [
        "fashion_pasted-by-mistake",
        f"shop:sha256:{'0' * 64}",
        f"shop:fly:sha256:{'0' * 64}",
        f"shop:predict+predict:sha256:{'0' * 64}",
        f"shop:predict:md5:{'0' * 64}",
        f"shop:predict:sha256:{'0' * 63}",
        f"two words:predict:sha256:{'0' * 64}",
    ],
)
def test_malformed_line_is_rejected_by_line_number_without_its_content(line: str) -> None:
    with pytest.raises(StartError, match="line 2 of the API keys") as refused:
        read_keys(f"# clients\n{line}")
    assert line not in str(refused.value)


def test_duplicate_names_and_digests_are_rejected() -> None:
    _, shop = make_key("shop", ["predict"])
    _, other = make_key("shop", ["predict"])
    for second in (other.line(), shop.line().replace("shop", "twin")):
        with pytest.raises(StartError, match="line 2 of the API keys repeats"):
            read_keys(f"{shop.line()}\n{second}")


def test_thousands_of_keys_are_read_in_linear_time() -> None:
    count = 50_000  # Pairwise comparison would take minutes.
    keys = read_keys("\n".join(f"n{n}:predict:sha256:{n:064x}" for n in range(count)))
    assert [key.name for key in keys] == [f"n{n}" for n in range(count)]


def test_changed_key_file_is_reloaded_unless_it_is_invalid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keys_module, "LOOK_SECONDS", 0)
    (shop, shop_key), (other, other_key) = (make_key(name, ["predict"]) for name in ("a", "b"))
    file = tmp_path / "keys"
    file.write_text(f"{shop_key.line()}\n")
    ring = load_keys("", file)
    assert ring is not None
    assert ring.find(shop) == shop_key
    for way in ("written", "renamed"):
        for line in (other_key.line(), shop_key.line()):
            changed = file if way == "written" else tmp_path / "new"
            changed.write_text(f"# {way}\n{line}\n")
            changed.replace(file)
            assert (ring.find(other) is None) == (line == shop_key.line()), way
            assert (ring.find(shop) is None) == (line == other_key.line()), way
    # An unreadable or invalid file revokes no key and is logged once.
    for text in ("nonsense", "", None):
        file.unlink() if text is None else file.write_text(text)
        caplog.clear()
        assert all(ring.find(shop) == shop_key for _ in range(3))
        assert caplog.text.count("keys stay valid") == 1
    file.write_text(other_key.line())
    assert ring.find(shop) is None


def test_key_file_is_not_checked_on_every_lookup(tmp_path: Path) -> None:
    (shop, shop_key), (_, other_key) = (make_key(name, ["predict"]) for name in ("a", "b"))
    file = tmp_path / "keys"
    file.write_text(shop_key.line())
    ring = load_keys("", file)
    assert ring is not None
    assert ring.find(shop) == shop_key
    file.write_text(other_key.line())
    assert ring.find(shop) == shop_key


def test_command_prints_a_secret_and_the_line_of_its_key() -> None:
    command = [sys.executable, "-m", "service.keys", "shop", "--scopes", "predict", "administer"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = KeyRing(read_keys(made.stdout)).find(made.stderr.split()[-1])
    assert found is not None
    assert found.name == "shop"
    assert found.scopes == {"predict", "administer"}


def test_key_name_with_a_space_is_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["two words"])
    assert "a name has 1 to 64" in capsys.readouterr().err
    assert main(["shop"]) == 0
