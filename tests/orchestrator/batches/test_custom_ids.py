import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.batches.custom_ids import CustomIds


@given(st.lists(st.text(max_size=3), max_size=200))
def test_it_agrees_with_a_dictionary(ids: list[str]):
    custom_ids, first_lines = CustomIds(lines_max=200), {}
    for line, custom_id in enumerate(ids, 1):
        assert custom_ids.earlier_line(custom_id, line) == first_lines.get(custom_id)
        first_lines.setdefault(custom_id, line)


def test_it_holds_as_many_ids_as_it_promised():
    custom_ids = CustomIds(lines_max=1_000)
    assert all(custom_ids.earlier_line(f"id-{n}", n) is None for n in range(1, 1_001))
    assert all(custom_ids.earlier_line(f"id-{n}", 2_000) == n for n in range(1, 1_001))


def test_a_million_ids_take_less_than_forty_megabytes():
    tracemalloc.start()
    try:
        CustomIds(lines_max=1_000_000)  # made whole at once: it never grows
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 20_000_000 < peak < 40_000_000
