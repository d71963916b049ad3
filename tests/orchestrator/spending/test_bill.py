"""The arithmetic of grants."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.spending.bill import Bill, grant

MICROS = st.integers(0, 10**12)


def test_what_is_asked_for_is_granted_where_there_is_room():
    assert grant(Bill(spent=100, pending=20, wanted=50, least=10), granted=130, room=1_000) == 170


def test_a_grant_ends_at_the_room_that_others_leave():
    assert grant(Bill(spent=100, pending=20, wanted=50, least=10), granted=130, room=140) == 140


def test_what_is_of_no_use_is_given_back():
    assert grant(Bill(spent=100, pending=20, wanted=50, least=30), granted=130, room=140) == 120


def test_work_that_asks_for_nothing_keeps_its_grant():
    assert grant(Bill(spent=100, pending=20), granted=500, room=1_000) == 500


def test_a_cap_that_was_lowered_takes_back_what_is_not_committed():
    assert grant(Bill(spent=100, pending=20), granted=500, room=300) == 300
    assert grant(Bill(spent=100, pending=20), granted=500, room=-40) == 120


@given(spent=MICROS, pending=MICROS, wanted=MICROS, least=MICROS, granted=MICROS, room=MICROS)
def test_no_grant_is_below_what_is_committed_or_else_above_the_room(
    spent, pending, wanted, least, granted, room
):
    bill = Bill(spent, pending, wanted, least)
    new = grant(bill, granted=granted, room=room)
    assert new >= bill.committed
    assert new <= max(room, bill.committed)
