import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.cli.client import Unreachable
from api.cli.exits import Exit
from tests.api.cli.conftest import Yard
from tests.api.cli.scripted import ScriptedApi, batch, file


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"custom_id": "1"}\n' * 4)
    return path


def test_submit_uploads_the_file_and_starts_a_batch(yard: Yard, api: ScriptedApi, lines: Path) -> None:
    api.on("POST /v1/files", file())
    api.on("POST /v1/batches", batch("validating"))
    result = yard("batch", "submit", lines)
    assert result.exit_code == Exit.OK
    assert result.stdout == "started batch_1\nwatch it: yard batch watch batch_1\n"
    upload, creation = api.asked
    assert lines.read_bytes() in upload.body
    assert b'name="purpose"\r\n\r\nbatch' in upload.body
    assert upload.headers["authorization"] == "Bearer the-key"
    assert creation.json() == {
        "input_file_id": "file-in",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }


def test_submit_passes_on_what_it_is_told(yard: Yard, api: ScriptedApi, lines: Path) -> None:
    api.on("POST /v1/files", file())
    api.on("POST /v1/batches", batch("validating"))
    words = ["--window", "48h", "--skip-invalid", "--metadata", "a=1", "--metadata", "b=x=y"]
    yard("batch", "submit", lines, "--endpoint", "/v1/completions", *words)
    assert api.asked[-1].json() == {
        "input_file_id": "file-in",
        "endpoint": "/v1/completions",
        "completion_window": "48h",
        "metadata": {"a": "1", "b": "x=y"},
        "tokenyard": {"on_invalid_line": "skip"},
    }


def test_metadata_without_a_value_is_a_usage_error(yard: Yard, api: ScriptedApi, lines: Path) -> None:
    result = yard("batch", "submit", lines, "--metadata", "nonsense")
    assert result.exit_code == Exit.USAGE
    assert api.asked == []


def test_waiting_ends_with_a_summary(yard: Yard, api: ScriptedApi, lines: Path) -> None:
    api.on("POST /v1/files", file())
    api.on("POST /v1/batches", batch("validating"))
    api.on(
        "GET /v1/batches/batch_1",
        batch("validating"),
        batch("in_progress", completed=2),
        batch("completed", completed=4, output_file_id="file-out"),
    )
    result = yard("batch", "submit", lines, "--wait")
    assert result.exit_code == Exit.OK
    assert "in_progress, 2/4 lines, 2.0 lines/s, 1 s left" in result.stderr
    for said in ("4 completed, 0 failed of 4", "1,200 in (800 cached), 30 out", "$0.004321"):
        assert said in result.stdout
    assert "1 min 29 s" in result.stdout
    assert "file-out" in result.stdout


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (batch("completed", completed=4), Exit.OK),
        (batch("completed", completed=3, failed=1), Exit.FAILED),
        (batch("failed"), Exit.FAILED),
        (batch("cancelled", completed=1), Exit.STOPPED),
        (batch("expired", completed=1), Exit.STOPPED),
    ],
)
def test_the_exit_code_says_how_the_batch_ended(
    yard: Yard, api: ScriptedApi, ended: dict[str, Any], code: Exit
) -> None:
    api.on("GET /v1/batches/batch_1", ended)
    assert yard("batch", "watch", "batch_1").exit_code == code


def test_a_failed_batch_shows_what_is_wrong_with_which_line(yard: Yard, api: ScriptedApi) -> None:
    problem = {"code": "invalid_json_line", "line": 3, "param": None, "message": "Not JSON."}
    errors = {"object": "list", "data": [problem]}
    api.on("GET /v1/batches/batch_1", batch("failed", errors=errors))
    assert "3\tinvalid_json_line\t-\tNot JSON." in yard("batch", "get", "batch_1").stdout


def test_results_and_failed_lines_are_written_side_by_side(
    yard: Yard, api: ScriptedApi, tmp_path: Path
) -> None:
    api.on(
        "GET /v1/batches/batch_1",
        batch("completed", completed=3, failed=1, output_file_id="file-o", error_file_id="file-e"),
    )
    api.on("GET /v1/files/file-o/content", b"good\n")
    api.on("GET /v1/files/file-e/content", b"bad\n")
    yard("batch", "watch", "batch_1", "--output", tmp_path / "r.jsonl")
    assert (tmp_path / "r.jsonl").read_bytes() == b"good\n"
    assert (tmp_path / "r.errors.jsonl").read_bytes() == b"bad\n"


def test_ctrl_c_leaves_the_batch_running(
    yard: Yard, api: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("api.cli.watch.time.sleep", interrupt)
    api.on("GET /v1/batches/batch_1", batch("in_progress"))
    result = yard("batch", "watch", "batch_1")
    assert result.exit_code == Exit.INTERRUPTED
    assert "Watch it again: yard batch watch batch_1" in result.stderr
    assert api.requests() == ["GET /v1/batches/batch_1"]


def test_watching_outlives_a_yard_that_restarts(
    yard: Yard, api: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second poll goes to a port where nobody listens."""
    polls: Iterator[Any] = iter([batch("in_progress"), Unreachable("away"), batch("completed", completed=4)])

    def get(_client: object, _path: str) -> dict[str, Any]:
        answer = next(polls)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    monkeypatch.setattr("api.cli.client.Client.get", get)
    assert yard("batch", "watch", "batch_1").exit_code == Exit.OK


def test_list_goes_on_to_the_next_page(yard: Yard, api: ScriptedApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.cli.client.PAGE_ITEMS", 1)
    api.on(
        "GET /v1/batches",
        {"data": [batch("completed", completed=4)], "has_more": True},
        {"data": [batch("in_progress", id="batch_2")], "has_more": False},
    )
    rows = [line.split("\t") for line in yard("batch", "list").stdout.splitlines()]
    assert [row[0] for row in rows] == ["batch_1", "batch_2"]
    assert rows[0][1:6] == ["completed", "4", "0", "4", "$0.004321"]
    assert api.asked[1].query["after"] == "batch_1"


def test_json_is_the_answer_of_the_api(yard: Yard, api: ScriptedApi) -> None:
    api.on("GET /v1/batches/batch_1", batch("in_progress"))
    assert json.loads(yard("batch", "get", "batch_1", "--json").stdout) == batch("in_progress")


def test_results_so_far_go_to_the_terminal(yard: Yard, api: ScriptedApi) -> None:
    api.on("GET /v1/batches/batch_1/output", b'{"custom_id": "1"}\n')
    result = yard("batch", "output", "batch_1", "--after", "2")
    assert result.stdout == '{"custom_id": "1"}\n'
    assert api.asked[0].query == {"after": "2"}


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_cancel_and_retry_ask_the_yard(yard: Yard, api: ScriptedApi, verb: str) -> None:
    api.on(f"POST /v1/batches/batch_1/{verb}", batch("cancelling", id="batch_2"))
    result = yard("batch", verb, "batch_1")
    assert result.exit_code == Exit.OK
    assert "batch_2" in result.stdout


QUOTE = {
    "prompt_tokens": 1000,
    "expected_output_tokens": 50,
    "worst_output_tokens": 96,
    "expected_cost_micros": 33,
    "worst_cost_micros": 41,
    "start_p50_seconds": 0.0,
    "start_p90_seconds": 0.0,
    "finish_p50_seconds": 70.0,
    "finish_p90_seconds": 130.0,
    "basis": "Output as in the last 50 batches.",
}


@pytest.mark.parametrize(("bad_lines", "code"), [(0, Exit.OK), (1, Exit.FAILED)])
def test_validate_shows_problems_and_a_quote_and_leaves_nothing(
    yard: Yard, api: ScriptedApi, lines: Path, bad_lines: int, code: Exit
) -> None:
    problem = {"code": "missing_required_parameter", "line": 2, "param": "url", "message": "No url."}
    api.on("POST /v1/files", file())
    api.on(
        "POST /v1/files/file-in/validate",
        {
            "lines": 4,
            "bad_lines": bad_lines,
            "problems": [problem] * bad_lines,
            "report_file_id": None,
            "models": [{"id": "yard-smoke", "lines": 4}],
            "quote": QUOTE,
        },
    )
    api.on("DELETE /v1/files/file-in", {"id": "file-in", "deleted": True})
    result = yard("batch", "validate", lines)
    assert result.exit_code == code
    assert "1,000 in, 50 out (at most 96)" in result.stdout
    assert "$0.000033 (at most $0.000041)" in result.stdout
    assert re.search(r"begins in\s+0 s\n", result.stdout)
    assert "1 min 10 s, or 2 min 10 s in one case of ten" in result.stdout
    assert ("2\tmissing_required_parameter\turl\tNo url." in result.stdout) == bool(bad_lines)
    assert api.requests()[-1] == "DELETE /v1/files/file-in"
