"""Placement is pure: each test is one situation and the decisions it calls for."""

from datetime import UTC, datetime, timedelta

from orchestrator.engines.model import EngineStatus
from orchestrator.engines.placement import (
    FAILURES_MAX,
    SCALE_OUT_FILLS,
    TURN_SECONDS,
    Drain,
    Failures,
    GiveUp,
    Running,
    Start,
    Wanted,
    backoff,
    decide,
)

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def wanted(model: str, *, lines: int = 10, priority: int = 20, since: float = 1) -> Wanted:
    return Wanted(
        model=model,
        lines=lines,
        priority=priority,
        since=ago(since),
        gpus=1,
        capacity=256,
        idle_seconds=300,
    )


def engine(
    model: str,
    *,
    status: EngineStatus = EngineStatus.READY,
    ready: float = 10,
    needed: float = 0,
) -> Running:
    return Running(
        id=f"eng_{model}",
        model=model,
        status=status,
        gpus=1,
        ready_at=ago(ready),
        needed_at=ago(needed),
        idle_seconds=300,
    )


def test_a_wanted_model_without_an_engine_gets_one() -> None:
    assert decide(gpus=1, wanted=[wanted("a")], running=[], failures={}, now=NOW) == [Start("a")]


def test_a_model_that_has_an_engine_on_its_way_gets_no_second() -> None:
    for status in (EngineStatus.REQUESTED, EngineStatus.STARTING, EngineStatus.READY):
        running = [engine("a", status=status)]
        assert not decide(gpus=2, wanted=[wanted("a")], running=running, failures={}, now=NOW)


def test_the_most_urgent_demand_takes_the_only_gpu() -> None:
    decisions = decide(
        gpus=1,
        wanted=[wanted("late", priority=30), wanted("urgent", priority=10)],
        running=[],
        failures={},
        now=NOW,
    )
    assert decisions == [Start("urgent")]


def test_an_engine_that_nobody_needs_is_drained_after_its_idle_time() -> None:
    idle = engine("a", needed=301)
    assert decide(gpus=1, wanted=[], running=[idle], failures={}, now=NOW) == [Drain("eng_a", "idle")]
    assert not decide(gpus=1, wanted=[], running=[engine("a", needed=299)], failures={}, now=NOW)


def test_an_idle_engine_makes_room_at_once_for_another_model() -> None:
    decisions = decide(gpus=1, wanted=[wanted("b")], running=[engine("a", needed=5)], failures={}, now=NOW)
    assert decisions == [Drain("eng_a", "to make room for b")]


def test_a_busy_engine_keeps_its_gpu_until_its_turn_is_over() -> None:
    demand = [wanted("a"), wanted("b")]
    young = [engine("a", ready=TURN_SECONDS - 1)]
    old = [engine("a", ready=TURN_SECONDS)]
    assert not decide(gpus=1, wanted=demand, running=young, failures={}, now=NOW)
    assert decide(gpus=1, wanted=demand, running=old, failures={}, now=NOW) == [
        Drain("eng_a", "to make room for b")
    ]


def test_a_busy_engine_never_gives_way_to_less_urgent_demand() -> None:
    demand = [wanted("a", priority=10), wanted("b", priority=20)]
    running = [engine("a", ready=TURN_SECONDS * 5)]
    assert not decide(gpus=1, wanted=demand, running=running, failures={}, now=NOW)


def test_only_one_engine_is_drained_at_a_time_to_make_room() -> None:
    running = [engine("a", status=EngineStatus.DRAINING), engine("c", needed=5)]
    assert not decide(gpus=2, wanted=[wanted("b")], running=running, failures={}, now=NOW)


def test_a_model_that_failed_waits_before_it_is_started_again() -> None:
    failed = {"a": Failures(count=2, last_at=ago(5), last_words="out of memory")}
    assert backoff(2) == timedelta(seconds=10)
    assert not decide(gpus=1, wanted=[wanted("a")], running=[], failures=failed, now=NOW)
    later = NOW + timedelta(seconds=5)
    assert decide(gpus=1, wanted=[wanted("a")], running=[], failures=failed, now=later) == [Start("a")]


def test_a_model_that_failed_too_often_is_given_up_with_its_last_words() -> None:
    failed = {"a": Failures(count=FAILURES_MAX, last_at=ago(500), last_words="no such model")}
    assert decide(gpus=1, wanted=[wanted("a")], running=[], failures=failed, now=NOW) == [
        GiveUp("a", "no such model")
    ]


def test_far_more_lines_than_an_engine_takes_start_another_where_a_gpu_is_free() -> None:
    huge = [wanted("a", lines=256 * SCALE_OUT_FILLS + 1)]
    assert decide(gpus=2, wanted=huge, running=[engine("a")], failures={}, now=NOW) == [Start("a")]
    assert not decide(gpus=1, wanted=huge, running=[engine("a")], failures={}, now=NOW)
