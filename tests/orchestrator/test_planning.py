import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.batches.line_index import IndexRow, LineIndex, LineIndexBuilder
from orchestrator.planning import order


def index_of(rows: list[IndexRow]) -> LineIndex:
    builder = LineIndexBuilder()
    builder.add(rows)
    return builder.build(["a", "b"], ["/v1/chat/completions"])


def row(*prefix: int, tokens: int = 10, model: int = 0) -> IndexRow:
    full = (*prefix, 0, 0, 0, 0)[:4]
    return IndexRow(0, 1, model=model, prefix=full, prompt_tokens=tokens, wanted=True)


def sent(rows: list[IndexRow], todo: list[int] | None = None) -> dict[str, list[int]]:
    lines = np.arange(len(rows)) if todo is None else np.array(todo, dtype=np.int64)
    return {model: lines.tolist() for model, lines in order(index_of(rows), lines).items()}


def test_lines_that_share_nothing_stay_in_the_order_of_the_file() -> None:
    assert sent([row(9, tokens=1), row(3, tokens=99), row(5)]) == {"a": [0, 1, 2]}


def test_lines_that_begin_alike_come_together() -> None:
    assert sent([row(9), row(3), row(9), row(3)]) == {"a": [1, 3, 0, 2]}


def test_what_is_shared_deeper_is_closer() -> None:
    rows = [row(9, 1, 5), row(9, 2, 6), row(9, 1, 7), row(9, 2, 6), row(9, 1, 5)]
    assert sent(rows) == {"a": [0, 4, 2, 1, 3]}


def test_the_group_with_the_longest_line_comes_first() -> None:
    rows = [row(3), row(3), row(9), row(9, tokens=500), row(4, tokens=100)]
    assert sent(rows) == {"a": [2, 3, 4, 0, 1]}


def test_each_model_has_an_order_of_its_own() -> None:
    rows = [row(9), row(1, model=1), row(3), row(1, model=1), row(9)]
    assert sent(rows) == {"a": [2, 0, 4], "b": [1, 3]}


def test_only_lines_to_do_are_sent() -> None:
    assert sent([row(1), row(2), row(3, model=1)], todo=[1]) == {"a": [1]}
    assert sent([row(1)], todo=[]) == {}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 1)), max_size=40))
def test_every_line_is_sent_once(shapes: list[tuple[int, int, int]]) -> None:
    rows = [row(first, second, model=model) for first, second, model in shapes]
    lines = [line for lines in sent(rows).values() for line in lines]
    assert sorted(lines) == list(range(len(rows)))
