from dataclasses import fields

import numpy as np
import pytest

from orchestrator.batches.line_index import PREFIX_DEPTHS, IndexRow, LineIndex, LineIndexBuilder

COLUMNS = tuple(field.name for field in fields(LineIndex))[2:]  # after models and endpoints


def row(n: int) -> IndexRow:
    return IndexRow(
        offset=2**40 + n,
        length=n,
        model=n % 3,
        endpoint=n % 2,
        prefix=(2**64 - 1, n, n, n),
        prompt_tokens=2**32 - 1,
        max_output_tokens=n,
        wanted=n % 2 == 0,
    )


def index(lines: int) -> LineIndex:
    builder = LineIndexBuilder()
    builder.add([row(n) for n in range(lines // 2)])
    builder.add([row(n) for n in range(lines // 2, lines)])
    return builder.build(["a", "ä", "c"], ["/x", "/y"])


@pytest.mark.parametrize("lines", [0, 1, 7])
def test_an_index_is_read_back_as_it_was_written(lines: int):
    written = index(lines)
    read = LineIndex.from_bytes(written.to_bytes())
    assert len(read) == lines
    assert (read.models, read.endpoints) == (written.models, written.endpoints)
    assert read.prefix.shape == (lines, len(PREFIX_DEPTHS))
    for name in COLUMNS:
        column = getattr(read, name)
        np.testing.assert_array_equal(column, getattr(written, name))
        assert column.dtype == getattr(written, name).dtype


def test_rows_keep_their_order_and_values():
    read = index(5)
    assert read.offset.tolist() == [2**40 + n for n in range(5)]
    assert read.prefix[3].tolist() == [2**64 - 1, 3, 3, 3]
    assert read.wanted.tolist() == [True, False, True, False, True]


def test_a_line_takes_fifty_six_bytes():
    assert len(index(1_000).to_bytes()) - len(index(0).to_bytes()) == pytest.approx(56_000, abs=8)


@pytest.mark.parametrize("data", [b"", b"something else", index(3).to_bytes()[:-1]])
def test_anything_but_a_whole_index_is_refused(data: bytes):
    with pytest.raises(ValueError, match=r"."):
        LineIndex.from_bytes(data)
