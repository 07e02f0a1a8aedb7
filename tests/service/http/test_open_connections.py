"""A worker knows whether it has more connections than another."""

import time
from pathlib import Path

import pytest

from service.http.open_connections import BRIEF_SECONDS, OpenConnections


def test_only_those_who_serve_are_left_anything(tmp_path: Path) -> None:
    one, other = OpenConnections(tmp_path, 0), OpenConnections(tmp_path, 1)
    one.serve(3)
    assert not one.are_more_than_others()
    other.serve(0)
    assert one.are_more_than_others()
    assert not other.are_more_than_others()
    other.close()
    other.serve(1)
    other.accept(1)
    assert not one.are_more_than_others()


def test_as_many_are_not_more(tmp_path: Path) -> None:
    one, other = OpenConnections(tmp_path, 0), OpenConnections(tmp_path, 1)
    for count in (0, 1, 5, 1000):
        one.serve(count)
        other.serve(count)
        assert not one.are_more_than_others()
        assert not other.are_more_than_others()


@pytest.mark.parametrize(
    ("own", "others", "is_more"),
    [
        *((0, 0, False), (1, 0, True), (2, 1, True), (6, 5, True), (7, 6, False), (7, 5, True)),
        *((799, 700, False), (799, 698, True)),
    ],
)
def test_few_are_told_apart_by_one_and_many_by_an_eighth(
    tmp_path: Path, own: int, others: int, is_more: bool
) -> None:
    one, other = OpenConnections(tmp_path, 0), OpenConnections(tmp_path, 1)
    one.serve(own)
    other.serve(others)
    assert one.are_more_than_others() == is_more


def test_while_they_come_and_go_none_is_left_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = OpenConnections(tmp_path, 0), OpenConnections(tmp_path, 1)
    other.serve(0)
    one.serve(1)
    one.lose(10.0)
    assert one.are_more_than_others()
    one.lose(0.001)
    assert not one.are_more_than_others()
    later = time.monotonic() + BRIEF_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert one.are_more_than_others()


def test_those_that_are_not_open_yet_count(tmp_path: Path) -> None:
    one, other = OpenConnections(tmp_path, 0), OpenConnections(tmp_path, 1)
    other.serve(1)
    one.serve(1)
    one.accept(1)
    assert one.are_more_than_others()
    one.accept(0)
    assert not one.are_more_than_others()


def test_whoever_takes_the_place_of_a_killed_one_begins_anew(tmp_path: Path) -> None:
    one, killed = OpenConnections(tmp_path, 0), OpenConnections(tmp_path, 1)
    one.serve(5)
    killed.serve(9)
    successor = OpenConnections(tmp_path, 1)
    assert not one.are_more_than_others()
    successor.serve(0)
    assert one.are_more_than_others()
