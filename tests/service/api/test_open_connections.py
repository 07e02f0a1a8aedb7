"""A worker knows whether it has more connections than another."""

from pathlib import Path

from service.api.open_connections import OpenConnections


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


def test_few_are_told_apart_by_one_and_many_by_an_eighth(tmp_path: Path) -> None:
    one, other = OpenConnections(tmp_path, 0), OpenConnections(tmp_path, 1)
    one.serve(1)
    other.serve(0)
    assert one.are_more_than_others()
    one.serve(799)
    other.serve(700)
    assert not one.are_more_than_others()
    other.serve(698)
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
