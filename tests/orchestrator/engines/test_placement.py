"""Placement is pure: each test is one situation and the decisions it calls for."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from orchestrator.engines.giving_way import TURN_SECONDS
from orchestrator.engines.model import EngineStatus
from orchestrator.engines.placement import (
    FAILURES_MAX,
    SCALE_OUT_FILLS,
    Decision,
    Drain,
    GiveUp,
    Start,
    Train,
    backoff,
    decide,
)
from orchestrator.engines.situation import Failures, Reserved, Running, Training, Wanted

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def wanted(
    model: str,
    *,
    lines: int = 10,
    priority: int = 20,
    since: float = 1,
    gpus: int = 1,
    lora: bool = False,
    reserved: int = 0,
    trial: bool = False,
) -> Wanted:
    return Wanted(
        model=model,
        lines=lines,
        priority=priority,
        since=ago(since),
        gpus=gpus,
        capacity=256,
        idle_seconds=300,
        lora=lora,
        reserved=reserved,
        trial=trial,
    )


def engine(
    model: str,
    *,
    status: EngineStatus = EngineStatus.READY,
    ready: float = 10,
    needed: float = 0,
    gpus: int = 1,
    lora: bool = False,
    name: str | None = None,
) -> Running:
    return Running(
        id=name or f"eng_{model}",
        model=model,
        status=status,
        gpus=gpus,
        lora=lora,
        ready_at=ago(ready),
        needed_at=ago(needed),
        idle_seconds=300,
    )


def training(
    base: str = "a",
    *,
    gpus: int = 1,
    priority: int = 20,
    since: float = 1,
    due: bool = True,
    job: str = "job_t",
    of: str = "",
) -> Training:
    return Training(job, base, gpus, priority, ago(since), due, organization_id=of)


def placed(
    gpus: int,
    *,
    wanted: Sequence[Wanted] = (),
    running: Sequence[Running] = (),
    waiting: Sequence[Training] = (),
    training: Sequence[Training] = (),
    reserved: Sequence[Reserved] = (),
    now: datetime = NOW,
) -> list[Decision]:
    """What is decided where nothing has failed."""
    return decide(
        gpus=gpus,
        wanted=wanted,
        running=running,
        failures={},
        now=now,
        waiting=waiting,
        training=training,
        reserved=reserved,
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


# Adapters.


def test_a_model_whose_adapters_are_wanted_gets_an_engine_that_takes_them() -> None:
    assert placed(1, wanted=[wanted("a", lora=True)]) == [Start("a", lora=True)]
    assert placed(1, wanted=[wanted("a")]) == [Start("a", lora=False)]


def test_an_engine_that_takes_adapters_serves_its_base_too() -> None:
    for lora in (False, True):
        assert not placed(2, wanted=[wanted("a", lora=lora)], running=[engine("a", lora=True)])


def test_on_one_gpu_an_engine_without_adapters_makes_room_at_once_for_one_with() -> None:
    running = [engine("a", ready=1)]
    decisions = placed(1, wanted=[wanted("a", lora=True)], running=running)
    assert decisions == [Drain("eng_a", "to come back with adapters")]


def test_one_still_starting_without_adapters_makes_room_too() -> None:
    running = [engine("a", status=EngineStatus.STARTING)]
    assert placed(1, wanted=[wanted("a", lora=True)], running=running) == [
        Drain("eng_a", "to come back with adapters")
    ]


def test_where_a_gpu_is_free_the_engine_without_adapters_goes_on_beside_the_new_one() -> None:
    assert placed(2, wanted=[wanted("a", lora=True)], running=[engine("a")]) == [Start("a", lora=True)]


def test_an_engine_that_starts_while_an_adapter_for_it_is_trained_takes_adapters() -> None:
    assert placed(2, wanted=[wanted("a")], training=[training("a")]) == [Start("a", lora=True)]
    not_due = [training("a", due=False)]
    assert placed(1, wanted=[wanted("a")], waiting=not_due) == [Start("a", lora=True)]
    assert placed(2, wanted=[wanted("a")], training=[training("b")]) == [Start("a", lora=False)]


def test_a_training_alone_restarts_no_engine() -> None:
    assert not placed(2, wanted=[wanted("a")], running=[engine("a")], training=[training("a")])


# Trainings.


def test_a_training_begins_where_its_gpus_are_free() -> None:
    assert placed(2, waiting=[training(gpus=2)]) == [Train("job_t")]


def test_a_training_that_is_not_due_waits() -> None:
    assert not placed(1, waiting=[training(due=False)])


def test_a_training_keeps_its_gpus_to_its_end_whoever_waits() -> None:
    assert not placed(1, wanted=[wanted("a", priority=0)], training=[training(priority=90)])


def test_an_idle_engine_is_put_aside_at_once_for_a_training() -> None:
    decisions = placed(1, running=[engine("b", needed=5)], waiting=[training("a", priority=90)])
    assert decisions == [Drain("eng_b", "to make room for a training of a")]


def test_a_busy_engine_is_put_aside_at_once_for_a_more_urgent_training() -> None:
    decisions = placed(
        1,
        wanted=[wanted("a", priority=30)],
        running=[engine("a", ready=1)],
        waiting=[training("a", priority=10)],
    )
    assert decisions == [Drain("eng_a", "to make room for a training of a")]


def test_a_busy_engine_gives_way_to_a_training_as_urgent_after_its_turn() -> None:
    def situation(ready: float) -> list[Decision]:
        return placed(1, wanted=[wanted("a")], running=[engine("a", ready=ready)], waiting=[training("a")])

    assert not situation(TURN_SECONDS - 1)
    assert situation(TURN_SECONDS) == [Drain("eng_a", "to make room for a training of a")]


def test_a_busy_engine_never_gives_way_to_a_less_urgent_training() -> None:
    running = [engine("a", ready=TURN_SECONDS * 5)]
    demand = [wanted("a", priority=10)]
    assert not placed(1, wanted=demand, running=running, waiting=[training("a", priority=20)])


def test_of_equals_who_has_waited_longest_gets_the_gpu() -> None:
    # An engine just put aside waits since then, so the training that it made room for comes first.
    demand = [wanted("a", since=1)]
    assert placed(1, wanted=demand, waiting=[training(since=60)]) == [Train("job_t")]
    assert placed(1, wanted=[wanted("a", since=60)], waiting=[training("b", since=1)]) == [Start("a")]


def test_an_engine_comes_back_after_the_training_for_the_demand_that_remains() -> None:
    demand = [wanted("a")]
    assert not placed(1, wanted=demand, training=[training("b")])
    assert placed(1, wanted=demand) == [Start("a")]


def test_no_engine_starts_on_gpus_that_a_more_urgent_training_waits_for() -> None:
    decisions = placed(
        2,
        wanted=[wanted("a", priority=10), wanted("b", priority=90)],
        running=[engine("a", ready=10)],
        waiting=[training("c", gpus=2, priority=10)],
    )
    assert not decisions


def test_gpus_that_a_training_cannot_get_are_not_kept_for_it() -> None:
    decisions = placed(
        2,
        wanted=[wanted("a", priority=10), wanted("b", priority=90)],
        running=[engine("a", ready=10)],
        waiting=[training("c", gpus=2, priority=50)],
    )
    assert decisions == [Start("b")]


def test_a_small_training_does_not_overtake_a_large_one_that_waits() -> None:
    waiting = [training(gpus=2, since=60, job="large"), training(gpus=1, since=1, job="small")]
    assert not placed(2, waiting=waiting, training=[training(job="running")])


def test_no_training_takes_gpus_that_a_more_urgent_model_waits_for() -> None:
    decisions = placed(
        2,
        wanted=[wanted("a", gpus=2, priority=10), wanted("b", priority=10)],
        running=[engine("b", ready=10)],
        waiting=[training(priority=90)],
    )
    assert not decisions


def test_a_training_larger_than_the_yard_stands_in_nobodys_way() -> None:
    assert placed(1, wanted=[wanted("a", priority=90)], waiting=[training("b", gpus=2, priority=0)]) == [
        Start("a")
    ]


def test_several_engines_make_room_for_a_training_that_needs_their_gpus() -> None:
    running = [engine("a", needed=5), engine("b", needed=9), engine("c", needed=7)]
    decisions = placed(3, running=running, waiting=[training("d", gpus=2)])
    assert [d.engine_id for d in decisions if isinstance(d, Drain)] == ["eng_b", "eng_c"]


def test_no_engine_is_put_aside_where_another_suffices_alone() -> None:
    running = [engine("a", needed=9), engine("b", needed=5, gpus=2)]
    decisions = placed(3, running=running, waiting=[training("d", gpus=2)])
    assert decisions == [Drain("eng_b", "to make room for a training of d")]


def test_a_second_engine_of_one_model_comes_after_everybodys_first() -> None:
    demand = [wanted("a", lines=256 * SCALE_OUT_FILLS + 1, priority=10), wanted("b", priority=90)]
    assert placed(2, wanted=demand, running=[engine("a")]) == [Start("b")]
    assert placed(2, wanted=demand[:1], running=[engine("a")], waiting=[training("c", priority=90)]) == [
        Train("job_t")
    ]


# Reserved engines.


def test_a_reserved_engine_is_started_ahead_of_what_is_more_urgent() -> None:
    demand = [wanted("urgent", priority=1, since=99), wanted("reserved", priority=30, reserved=1)]
    assert placed(1, wanted=demand) == [Start("reserved")]


def test_busy_borrowers_give_way_at_once_whatever_their_tier() -> None:
    demand = [wanted("urgent", priority=1), wanted("reserved", priority=30, reserved=1)]
    assert placed(1, wanted=demand, running=[engine("urgent", ready=1)]) == [
        Drain("eng_urgent", "to make room for reserved")
    ]


def test_a_reserved_engine_at_work_is_put_aside_for_nobody() -> None:
    demand = [wanted("urgent", priority=1, since=99), wanted("reserved", priority=30, reserved=1)]
    old = [engine("reserved", ready=TURN_SECONDS * 9)]
    assert not placed(1, wanted=demand, running=old)
    assert not placed(1, wanted=demand[1:], running=old, waiting=[training(priority=1)])


def test_an_engine_beyond_those_reserved_is_put_aside_as_any_other() -> None:
    demand = [wanted("other"), wanted("reserved", reserved=1)]
    old = [engine("reserved", name=f"eng_{n}", ready=TURN_SECONDS * 9) for n in (1, 2)]
    assert placed(2, wanted=demand, running=old) == [Drain("eng_2", "to make room for other")]


def test_so_many_engines_as_are_reserved_are_there_however_few_the_lines() -> None:
    few = [wanted("a", lines=1, reserved=3)]
    running = [engine("a", name="eng_1"), engine("a", name="eng_2", status=EngineStatus.STARTING)]
    assert placed(3, wanted=few, running=running) == [Start("a")]
    assert not placed(4, wanted=few, running=[*running, engine("a", name="eng_3")])
    assert not placed(4, wanted=[wanted("a", lines=1)], running=running)


def test_two_organizations_with_reserved_engines_take_none_from_each_other() -> None:
    demand = [wanted("a", reserved=1, priority=30), wanted("b", reserved=1, priority=10)]
    assert placed(2, wanted=demand, running=[engine("a", ready=9999)]) == [Start("b")]
    assert not placed(1, wanted=demand, running=[engine("a", ready=9999)])


def test_without_work_a_reserved_engine_is_anybody_s() -> None:
    decisions = placed(1, wanted=[wanted("b")], running=[engine("a", needed=5)], reserved=[Reserved("o", 1)])
    assert decisions == [Drain("eng_a", "to make room for b")]


def test_a_reserved_engine_still_comes_back_with_adapters() -> None:
    demand = [wanted("a", lora=True, reserved=1)]
    assert placed(1, wanted=demand, running=[engine("a")]) == [Drain("eng_a", "to come back with adapters")]


def test_a_training_never_has_the_gpus_of_another_organization_s_reserved_engines() -> None:
    reserved = [Reserved("org_r", 1)]
    assert not placed(1, waiting=[training(of="org_t")], reserved=reserved)
    assert not placed(2, waiting=[training(of="org_t")], training=[training(job="first")], reserved=reserved)
    assert placed(2, waiting=[training(of="org_t")], reserved=reserved) == [Train("job_t")]
    assert placed(1, waiting=[training(of="org_r")], reserved=reserved) == [Train("job_t")]


def test_an_engine_that_is_only_tried_gives_way_to_a_batch_at_once_and_takes_no_batch_s() -> None:
    tried = wanted("tried", lines=1, priority=1_000, trial=True)
    busy = wanted("busy", priority=30)
    both = [tried, busy]
    makes_room = Drain("e", "to make room for busy")
    assert placed(1, wanted=both, running=[engine("tried", name="e")]) == [makes_room]
    assert placed(1, wanted=both, running=[engine("busy", ready=10_000)]) == []
    assert placed(2, wanted=both, running=[engine("busy")]) == [Start("tried")]
