from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.jsonl.lines import HEAD_BYTES, Line, LineSplitter, OversizedLine


def split(*chunks: bytes, line_bytes_max: int = 1_000) -> list[Line | OversizedLine]:
    splitter = LineSplitter(line_bytes_max)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return lines + splitter.finish()


def test_a_line_knows_where_it_starts():
    assert split(b"one\ntwo\n") == [Line(0, b"one"), Line(4, b"two")]


def test_the_last_newline_may_be_missing():
    assert split(b"one\ntwo") == [Line(0, b"one"), Line(4, b"two")]


def test_a_carriage_return_before_the_newline_is_no_part_of_the_line():
    assert split(b"one\r\ntwo\r\n") == [Line(0, b"one"), Line(5, b"two")]


def test_an_empty_line_is_a_line():
    assert split(b"\n\n") == [Line(0, b""), Line(1, b"")]


def test_a_byte_order_mark_opens_a_file_unnoticed():
    assert split(b"\xef\xbb\xbfone\ntwo") == [Line(3, b"one"), Line(7, b"two")]


def test_a_byte_order_mark_alone_is_an_empty_file():
    assert split(b"\xef\xbb\xbf") == split(b"") == []


def test_a_byte_order_mark_later_on_is_left_in():
    assert split(b"one\n\xef\xbb\xbftwo")[1] == Line(4, b"\xef\xbb\xbftwo")


def test_a_line_that_is_too_long_keeps_its_length_and_its_head():
    long = b"x" * 5_000
    assert split(b"one\n", long, b"\ntwo") == [
        Line(0, b"one"),
        OversizedLine(4, 5_000, long[:HEAD_BYTES]),
        Line(5_005, b"two"),
    ]


@given(
    st.lists(st.sampled_from([b"\n", b"\r", b"a", b"bb" * 40, b"\xef\xbb\xbf"])).map(b"".join),
    st.lists(st.integers(0, 400)),
)
def test_cutting_the_stream_elsewhere_changes_nothing(data: bytes, cuts: list[int]):
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    chunks = [data[a:b] for a, b in pairwise(edges)]
    assert split(*chunks, line_bytes_max=100) == split(data, line_bytes_max=100)
