"""The whole report and the quote of a file, before any batch."""

import json

from orchestrator.database.session import Database
from orchestrator.models import smoke
from orchestrator.settings import Settings
from tests.api.conftest import Customer, make_customer
from tests.api.lines import jsonl, line


def test_a_good_file_has_counts_and_a_quote_and_makes_no_batch(
    customer: Customer, settings: Settings
) -> None:
    assert not smoke.folder(settings.absolute_home()).exists(), "sizes are estimates here"
    file_id = customer.file_id(jsonl(10) + line(11, model="org/large"))
    seen = customer.post(f"/v1/files/{file_id}/validate").json()
    assert seen["object"] == "file.validation"
    assert (seen["file_id"], seen["lines"], seen["bad_lines"]) == (file_id, 11, 0)
    assert (seen["problems"], seen["report_file_id"]) == ([], None)
    models = {model["id"]: model for model in seen["models"]}
    assert {name: model["lines"] for name, model in models.items()} == {
        "yard-smoke": 10,
        "org/large": 1,
    }
    prompt_tokens = sum(model["prompt_tokens"] for model in models.values())
    assert seen["quote"]["prompt_tokens"] == prompt_tokens > 0
    assert 0 < seen["quote"]["expected_cost_micros"] <= seen["quote"]["worst_cost_micros"]
    assert customer.get("/v1/batches").json()["data"] == []


def test_every_problem_is_in_the_report_and_the_first_in_the_answer(customer: Customer) -> None:
    file_id = customer.file_id(b"not json\n" * 150 + line(151, model="no-such-model") + jsonl(1))
    seen = customer.post(f"/v1/files/{file_id}/validate").json()
    assert (seen["lines"], seen["bad_lines"], len(seen["problems"])) == (152, 151, 100)
    report = customer.get(f"/v1/files/{seen['report_file_id']}/content").text
    problems = [json.loads(problem) for problem in report.splitlines()]
    assert [problem["line"] for problem in problems] == list(range(1, 152))
    assert problems[-1]["code"] == "model_not_found"
    kept = customer.get(f"/v1/files/{seen['report_file_id']}").json()
    assert kept["purpose"] == "batch_output"
    assert kept["expires_at"] - kept["created_at"] == 3600


def test_only_batch_files_can_be_validated(customer: Customer) -> None:
    answer = customer.post(f"/v1/files/{customer.file_id(purpose='user_data')}/validate")
    assert answer.status_code == 400
    assert customer.post("/v1/files/file-unknown/validate").status_code == 404


def test_what_validates_says_a_batch_would_say(customer: Customer, database: Database) -> None:
    """The model of another tier is a problem of its line here, with the tier that has it."""
    free = make_customer(customer.http, database, name="Free", tier="free")
    file_id = free.file_id(line(1, model="org/large"))
    (problem,) = free.post(f"/v1/files/{file_id}/validate").json()["problems"]
    assert problem["code"] == "model_not_permitted"
    assert "Developer" in problem["message"]
