import hashlib
import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.datasets import preparation
from orchestrator.datasets.preparation import DatasetFacts, DatasetSpec, PreparedDataset, prepare
from orchestrator.datasets.token_file import TokenFile
from tests.tiny_tokenizer import write_tokenizer

Prepare = Callable[..., PreparedDataset]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tokenizer(tmp_path_factory.mktemp("tokenizer"), end="end", words=("end",)))


@pytest.fixture
def prepare_files(tmp_path: Path, tokenizer: str) -> Prepare:
    """Prepare a training file of these lines, and if given a validation file of those."""

    def prepare_files(
        train: Sequence[bytes] | bytes, valid: Sequence[bytes] | None = None, **changes: Any
    ) -> PreparedDataset:
        (tmp_path / "train.jsonl").write_bytes(train if isinstance(train, bytes) else b"\n".join(train))
        if valid is not None:
            (tmp_path / "valid.jsonl").write_bytes(b"\n".join(valid))
        options = {"method": "supervised", "example_tokens_max": 100, "examples_min": 1, **changes}
        spec = DatasetSpec(
            train=tmp_path / "train.jsonl",
            valid=None if valid is None else tmp_path / "valid.jsonl",
            folder=tmp_path,
            tokenizer=tokenizer,
            **options,
        )
        return pickle.loads(pickle.dumps(prepare(pickle.loads(pickle.dumps(spec)))))

    return prepare_files


def chat(question: str = "hi", answer: str = "hello") -> bytes:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": messages}).encode()


def report_of(prepared: PreparedDataset) -> list[dict[str, Any]]:
    return [json.loads(line) for line in prepared.report.read_bytes().splitlines()]


def test_good_files_become_tokens_and_facts(prepare_files: Prepare, tmp_path: Path):
    lines = [chat(answer="x " * n) for n in range(1, 21)]
    prepared = prepare_files(lines, valid=[chat("one two", "three")])
    assert prepared.train == DatasetFacts(
        examples=20,
        tokens=sum(5 + n for n in range(1, 21)),
        learnt_tokens=sum(n + 1 for n in range(1, 21)),
        truncated=0,
        longest=25,
        p50=15,
        p95=24,
        sha256=hashlib.sha256((tmp_path / "train.jsonl").read_bytes()).hexdigest(),
    )
    tokens = TokenFile(prepared.train_tokens)
    assert tokens.lengths.tolist() == [5 + n for n in range(1, 21)]
    assert tokens.learnt.sum() == prepared.train.learnt_tokens
    assert prepared.valid is not None
    assert prepared.valid_tokens is not None
    assert (prepared.valid.examples, len(TokenFile(prepared.valid_tokens))) == (1, 1)
    assert (prepared.problems, prepared.first_problems, prepared.warnings) == (0, (), ())
    assert prepared.report.read_bytes() == b""


def test_the_form_of_the_file_does_not_matter(prepare_files: Prepare):
    plain = prepare_files(chat() + b"\n" + chat() + b"\n")
    tokens = plain.train_tokens.read_bytes()
    dressed = prepare_files(b"\xef\xbb\xbf" + chat() + b"\r\n" + chat())
    assert (dressed.problems, dressed.train_tokens.read_bytes()) == (0, tokens)


def test_every_problem_of_both_files_is_in_the_report_in_order(
    prepare_files: Prepare, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(preparation, "GROUP_LINES_MAX", 2)
    monkeypatch.setattr(preparation, "LINE_BYTES_MAX", 1_000)
    train = [chat(), b"bad", chat(), b"\xff", chat("x " * 600), chat()]
    prepared = prepare_files(train, valid=[b'{"messages": []}', chat("x " * 100)])
    found = [(told["file"], told["line"], told["code"]) for told in report_of(prepared)]
    assert found == [
        ("training_file", 2, "invalid_json_line"),
        ("training_file", 4, "invalid_utf8"),
        ("training_file", 5, "line_too_long"),
        ("validation_file", 1, "invalid_value"),
        ("validation_file", 2, "nothing_to_learn"),
    ]
    assert [(each.file, each.line, each.code) for each in prepared.first_problems] == found
    assert (prepared.problems, prepared.bad_examples, prepared.train.examples) == (5, 5, 3)
    assert len(TokenFile(prepared.train_tokens)) == 3


def test_only_the_first_problems_are_handed_back(prepare_files: Prepare, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(preparation, "FIRST_PROBLEMS_MAX", 3)
    prepared = prepare_files([b"bad"] * 5)
    assert (len(prepared.first_problems), prepared.problems, len(report_of(prepared))) == (3, 5, 5)


def test_too_few_examples_are_refused_in_openais_words(prepare_files: Prepare):
    (problem,) = prepare_files([chat()] * 3, examples_min=10).first_problems
    assert (problem.code, problem.param, problem.line) == ("invalid_n_examples", "training_file", None)
    assert problem.message == "Training file has 3 example(s), but must have at least 10 examples"
    assert prepare_files([chat()] * 10, examples_min=10).problems == 0


def test_a_bad_example_counts_as_one_so_it_is_not_reported_twice(prepare_files: Prepare):
    prepared = prepare_files([chat()] * 9 + [b"bad"], examples_min=10)
    assert [problem.code for problem in prepared.first_problems] == ["invalid_json_line"]


def test_empty_files_are_problems(prepare_files: Prepare):
    prepared = prepare_files([], valid=[], examples_min=10)
    found = [(problem.file, problem.code) for problem in prepared.first_problems]
    assert found == [("training_file", "invalid_n_examples"), ("validation_file", "empty_file")]


def test_examples_in_both_files_are_counted_and_warned_of(prepare_files: Prepare):
    prepared = prepare_files(
        [chat("one"), chat("one"), chat("one two")], valid=[chat("two three"), chat("one two three")]
    )
    assert prepared.shared_examples == 1  # to this tokenizer all words are alike
    (warning,) = prepared.warnings
    assert "1 of 2 examples of the validation file are in the training file too" in warning


def test_cut_examples_are_counted_and_warned_of(prepare_files: Prepare):
    prepared = prepare_files([chat(answer="x " * 200), chat()])
    assert (prepared.train.truncated, prepared.train.longest) == (1, 100)
    (warning,) = prepared.warnings
    assert "1 of 2 examples of the training file are longer than 100 tokens" in warning


def test_a_template_without_tools_says_so(tmp_path: Path):
    call = {"function": {"name": "f", "arguments": "{}"}}
    answer = {"role": "assistant", "content": "hi", "tool_calls": [call]}
    line = json.dumps({"messages": [{"role": "user", "content": "hi"}, answer]}).encode()
    (tmp_path / "t.jsonl").write_bytes(line)
    template = "{% for m in messages %}{{ m.role + ' ' + m.content + ' ' }}{% endfor %}"
    template += "{% if add_generation_prompt %}assistant{% endif %}"
    folder = write_tokenizer(tmp_path / "tokenizer", chat_template=template)
    spec = DatasetSpec(tmp_path / "t.jsonl", None, tmp_path, "supervised", str(folder), 100, examples_min=1)
    (warning,) = prepare(spec).warnings
    assert "no place for tools, which 1 of the examples have" in warning


def test_a_preference_is_two_sequences_and_one_example(prepare_files: Prepare):
    example = {
        "input": {"messages": [{"role": "user", "content": "hi"}]},
        "preferred_output": [{"role": "assistant", "content": "one two"}],
        "non_preferred_output": [{"role": "assistant", "content": "three"}],
    }
    prepared = prepare_files([json.dumps(example).encode()] * 2, method="dpo")
    assert (prepared.train.examples, prepared.train.tokens) == (2, 2 * (7 + 6))
    assert TokenFile(prepared.train_tokens).lengths.tolist() == [7, 6, 7, 6]


def test_memory_does_not_grow_with_the_file(prepare_files: Prepare, monkeypatch: pytest.MonkeyPatch):
    """A group of lines is small here, so that a file of 150 of them shows what grows. The bytes alone of
    the file are more than may be added."""
    monkeypatch.setattr(preparation, "GROUP_LINES_MAX", 16)
    monkeypatch.setattr("orchestrator.jsonl.lines.CHUNK_BYTES", 1 << 16)
    line = chat(answer=" ".join(["w" * 2_000] * 4))
    prepare_files([line] * 160, valid=[line] * 16)  # what is made once is made
    whole = b"\n".join([line] * 2_400)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = memory("VmRSS")
    prepared = prepare_files(whole, valid=[line])
    assert prepared.train.examples == 2_400
    assert memory("VmHWM") - before < len(whole) / 2


def memory(field: str) -> int:
    """Bytes of this process: `VmRSS` now, `VmHWM` at the most."""
    status = Path("/proc/self/status").read_text()
    (kib,) = (row.split()[1] for row in status.splitlines() if row.startswith(f"{field}:"))
    return int(kib) * 1024
