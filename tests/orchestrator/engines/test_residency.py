"""Residency is pure: each test is one engine's adapters and what follows from them."""

from datetime import UTC, datetime, timedelta

from orchestrator.engines.residency import TURN_SECONDS, Changes, Resident, decide

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def waiting(name: str, *, priority: int = 20, since: float = 1) -> Resident:
    return Resident(name, priority, ago(since), None)


def busy(name: str, *, priority: int = 20, loaded: float = 1) -> Resident:
    return Resident(name, priority, NOW, ago(loaded))


def idle(name: str, *, wanted: float = 1, deleted: bool = False) -> Resident:
    return Resident(name, None, ago(wanted), ago(1000), deleted)


def changes(*residents: Resident, room: int = 2, published: tuple[str, ...] = ()) -> Changes:
    return decide(residents, published, loaded_max=room, now=NOW)


def test_what_is_wanted_is_loaded_while_there_is_room() -> None:
    assert changes(busy("a"), waiting("b")) == Changes([], ["b"])


def test_the_most_urgent_comes_first_then_who_has_waited_longest() -> None:
    residents = [waiting("late", since=1), waiting("early", since=9), waiting("urgent", priority=10)]
    assert changes(*residents) == Changes([], ["urgent", "early"])


def test_the_idle_one_that_was_wanted_longest_ago_makes_room() -> None:
    assert changes(idle("a", wanted=5), idle("b", wanted=9), waiting("c")) == Changes(["b"], ["c"])


def test_idle_ones_stay_while_nobody_needs_their_room() -> None:
    assert changes(idle("a"), idle("b", wanted=9999)) == Changes([], [])


def test_where_all_are_wanted_one_gives_way_after_its_turn() -> None:
    young = busy("a", loaded=TURN_SECONDS - 1)
    assert changes(young, busy("b"), waiting("c")) == Changes([], [])
    old = busy("a", loaded=TURN_SECONDS)
    assert changes(old, busy("b"), waiting("c")) == Changes(["a"], ["c"])


def test_nothing_more_urgent_gives_way() -> None:
    old = busy("a", loaded=TURN_SECONDS * 9, priority=10)
    assert changes(old, busy("b", priority=10), waiting("c", priority=20)) == Changes([], [])


def test_a_busy_one_keeps_its_place_where_an_idle_one_can_go() -> None:
    assert changes(busy("a", loaded=TURN_SECONDS * 9), idle("b"), waiting("c")) == Changes(["b"], ["c"])


def test_a_deleted_one_goes_once_nobody_wants_it() -> None:
    assert changes(idle("a", deleted=True), busy("b")) == Changes(["a"], [])
    wanted = Resident("a", 20, NOW, ago(1), deleted=True)
    assert changes(wanted) == Changes([], [])


def test_the_room_of_a_deleted_one_is_taken_at_once() -> None:
    assert changes(idle("a", deleted=True), busy("b"), waiting("c")) == Changes(["a"], ["c"])


def test_new_adapters_fill_the_room_that_is_left_and_put_nobody_out() -> None:
    assert changes(busy("a"), published=("new", "newer")) == Changes([], ["new"])
    assert changes(busy("a"), idle("b"), published=("new",)) == Changes([], [])


def test_more_than_fit_take_turns() -> None:
    """Three adapters over two places: within two turns each has had one."""
    now, loaded, since = NOW, {}, dict.fromkeys("abc", NOW)
    had: set[str] = set()
    for _ in range(3):
        residents = [Resident(name, 20, since[name], loaded.get(name)) for name in "abc"]
        found = decide(residents, [], loaded_max=2, now=now)
        for name in found.unload:
            del loaded[name]
            since[name] = now
        for name in found.load:
            loaded[name] = now
        assert len(loaded) == 2
        had |= loaded.keys()
        now += timedelta(seconds=TURN_SECONDS)
    assert had == {"a", "b", "c"}
