import json
from pathlib import Path

from api.cli.exits import Exit
from tests.api.cli.conftest import Yard
from tests.api.cli.scripted import ScriptedApi, file


def test_an_upload_says_what_was_seen_of_the_lines(yard: Yard, api: ScriptedApi, tmp_path: Path) -> None:
    problem = {"line": 2, "code": "invalid_json_line", "param": None, "message": "Not JSON."}
    seen = file()["validation"] | {"bad_lines": 1, "first_problems": [problem]}
    api.on("POST /v1/files", file(validation=seen))
    path = tmp_path / "lines.jsonl"
    path.write_text("{}\n")
    result = yard("files", "upload", path)
    assert result.exit_code == Exit.OK
    assert "yard-smoke (4)" in result.stdout
    assert "2\tinvalid_json_line\t-\tNot JSON." in result.stdout


def test_a_file_that_is_not_there_is_a_usage_error(yard: Yard, api: ScriptedApi) -> None:
    assert yard("files", "upload", "/no/such/file").exit_code == Exit.USAGE
    assert api.asked == []


def test_content_is_written_whole(yard: Yard, api: ScriptedApi, tmp_path: Path) -> None:
    api.on("GET /v1/files/file-1/content", b"a\nb\n")
    yard("files", "content", "file-1", "--output", tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == b"a\nb\n"


def test_a_refused_download_leaves_nothing(yard: Yard, api: ScriptedApi, tmp_path: Path) -> None:
    api.refuse("GET /v1/files/file-1/content", 404, message="No such File object: file-1")
    result = yard("files", "content", "file-1", "--output", tmp_path / "out.jsonl")
    assert result.exit_code == Exit.REFUSED
    assert "No such File object: file-1" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_files_are_listed_by_purpose(yard: Yard, api: ScriptedApi) -> None:
    api.on("GET /v1/files", {"data": [file()], "has_more": False})
    result = yard("files", "list", "--purpose", "batch", "--json")
    assert json.loads(result.stdout) == [file()]
    assert api.asked[0].query == {"limit": "20", "purpose": "batch"}


def test_a_file_is_deleted(yard: Yard, api: ScriptedApi) -> None:
    api.on("DELETE /v1/files/file-1", {"id": "file-1", "deleted": True})
    assert yard("files", "delete", "file-1").stdout == "deleted file-1\n"
