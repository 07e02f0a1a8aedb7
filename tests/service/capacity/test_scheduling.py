"""One pass of the event loop parses for a limited time and starts a limited number of tasks."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from service.capacity import scheduling
from service.capacity.scheduling import TASKS, FairScheduler


def run(test: Callable[[FairScheduler], Awaitable[None]]) -> None:
    async def begin() -> None:
        await test(FairScheduler())

    asyncio.run(begin())


def test_each_pass_starts_a_limited_number_of_tasks_in_order() -> None:
    started: list[int] = []

    async def test(scheduler: FairScheduler) -> None:
        for number in range(2 * TASKS + 2):
            scheduler.begin_task(partial(started.append, number))
        assert started == [*range(TASKS)]
        await asyncio.sleep(0)
        scheduler.begin_task(partial(started.append, 2 * TASKS + 2))
        assert started == [*range(2 * TASKS)]
        await asyncio.sleep(0)
        assert started == [*range(2 * TASKS + 3)]
        scheduler.begin_task(partial(started.append, 2 * TASKS + 3))
        assert started[-1] == 2 * TASKS + 3, "the pass may start one more task"

    run(test)


def test_deferred_data_is_parsed_in_order_with_pipelines_last_except_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scheduling, "PARSING_SECONDS", 60)
    parsed: list[str] = []

    async def test(scheduler: FairScheduler) -> None:
        assert scheduler.may_parse()
        for name in ("pipeline 1", "pipeline 2", "first", "second"):
            is_pipelined = name.startswith("pipeline")
            scheduler.later(partial(parsed.append, name), is_pipelined=is_pipelined)
        assert not scheduler.may_parse(), "deferred data is parsed first"
        assert not parsed
        await asyncio.sleep(0)
        assert parsed == ["pipeline 1", "first", "second", "pipeline 2"]
        assert scheduler.may_parse()

    run(test)


def test_pass_stops_parsing_at_its_time_limit_and_starts_with_a_pipeline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    parsed: list[str] = []
    monkeypatch.setattr(time, "perf_counter", lambda: now)

    def parse(name: str) -> None:
        nonlocal now
        now += 0.6 * scheduling.PARSING_SECONDS
        parsed.append(name)

    async def test(scheduler: FairScheduler) -> None:
        nonlocal now
        assert scheduler.may_parse()
        now += scheduling.PARSING_SECONDS
        assert not scheduler.may_parse()
        for name in ("a", "b", "c"):
            scheduler.later(partial(parse, name), is_pipelined=False)
            scheduler.later(partial(parse, f"pipeline {name}"), is_pipelined=True)
        await asyncio.sleep(0)
        assert parsed == ["pipeline a", "a"]
        await asyncio.sleep(0)
        assert parsed[2:] == ["pipeline b", "b"]

    run(test)


def test_limit_of_tasks_is_reset_for_each_pass() -> None:
    started: list[int] = []

    async def test(scheduler: FairScheduler) -> None:
        for _ in range(3):
            for number in range(TASKS):
                scheduler.begin_task(partial(started.append, number))
            assert started == [*range(TASKS)]
            started.clear()
            await asyncio.sleep(0)

    run(test)
