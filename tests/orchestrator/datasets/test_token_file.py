from pathlib import Path

import pytest

from orchestrator.datasets.token_file import TokenFile, TokenFileWriter


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "train.tokens"


def write(path: Path, *sequences: tuple[list[int], list[int]]) -> TokenFile:
    with TokenFileWriter(path) as writer:
        for ids, learn in sequences:
            writer.add(ids, learn)
    return TokenFile(path)


def test_what_was_written_is_read(path: Path):
    tokens = write(path, ([5, 6, 7], [0, 1, 1]), ([8], [0]), ([9, 2**32 - 1], [1, 1]))
    found = [(tokens[n].ids.tolist(), tokens[n].learn.tolist()) for n in range(len(tokens))]
    assert found == [([5, 6, 7], [0, 1, 1]), ([8], [0]), ([9, 2**32 - 1], [1, 1])]
    assert tokens.lengths.tolist() == [3, 1, 2]
    assert tokens.learnt.tolist() == [2, 0, 1]  # nothing predicts a first token
    with pytest.raises(IndexError):
        tokens[3]


def test_many_sequences_are_counted_like_few(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("orchestrator.datasets.token_file.SUMMED_SEQUENCES", 3)
    tokens = write(path, *(([1] * (n + 1), [1] * (n + 1)) for n in range(8)))
    assert tokens.learnt.tolist() == list(range(8))


def test_nothing_else_is_left_beside_it(path: Path):
    write(path, ([1], [1]))
    assert list(path.parent.iterdir()) == [path]


def test_it_may_be_empty(path: Path):
    tokens = write(path)
    assert (len(tokens), tokens.lengths.tolist(), tokens.learnt.tolist()) == (0, [], [])


def test_a_sequence_without_tokens_or_with_other_marks_is_refused_and_nothing_is_left(path: Path):
    for ids, learn in (([], []), ([1, 2], [1])):
        with pytest.raises(ValueError, match="as many marks as tokens"):
            write(path, (ids, learn))
        assert list(path.parent.iterdir()) == []


def test_what_is_cut_off_or_another_file_is_refused(path: Path):
    write(path, ([1, 2], [0, 1]))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="cut off"):
        TokenFile(path)
    path.write_bytes(b'{"messages": []}')
    with pytest.raises(ValueError, match="no token file"):
        TokenFile(path)
