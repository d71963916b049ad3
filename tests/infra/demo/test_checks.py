"""The demo notices each kind of broken promise, so that its success means something."""

from dataclasses import replace

from infra.demo.checks import Result, Results, complaints, refusal
from infra.demo.lines import DemoLine, demo_lines

LINES = demo_lines(good=20, bad=4)


def result(line: DemoLine) -> Result:
    if line.answer is None:
        body: Result = {"error": {"message": "temperature must be at least 0"}}
        response = {"status_code": 400, "body": body}
    else:
        body = {"choices": [{"message": {"content": f" {line.answer}"}}]}
        response = {"status_code": 200, "body": body}
    return {"custom_id": line.custom_id, "response": response, "error": None}


GOOD = Results(
    output=[result(line) for line in LINES if line.answer is not None],
    errors=[result(line) for line in LINES if line.answer is None],
    total=24,
    completed=20,
    failed=4,
)


def test_a_batch_that_kept_every_promise_draws_no_complaint() -> None:
    assert list(complaints(LINES, GOOD)) == []


def test_a_lost_line_is_noticed() -> None:
    lost = GOOD.output[3]["custom_id"]
    found = list(complaints(LINES, replace(GOOD, output=[*GOOD.output[:3], *GOOD.output[4:]])))
    assert f"{lost} is 0 times in the two files, not once" in found


def test_a_line_in_both_files_is_noticed() -> None:
    twice = GOOD.output[0]
    found = list(complaints(LINES, replace(GOOD, errors=[twice, *GOOD.errors])))
    assert f"{twice['custom_id']} is 2 times in the two files, not once" in found


def test_another_order_is_noticed() -> None:
    [complaint] = complaints(LINES, replace(GOOD, output=GOOD.output[::-1]))
    assert "in the order of the input" in complaint


def test_counts_that_do_not_add_up_are_noticed() -> None:
    [complaint] = complaints(LINES, replace(GOOD, completed=19))
    assert "request_counts say (24, 19, 4)" in complaint


def test_wrong_answers_are_noticed() -> None:
    wrong = [
        {**one, "response": {"body": {"choices": [{"message": {"content": "no"}}]}}} for one in GOOD.output
    ]
    [complaint] = complaints(LINES, replace(GOOD, output=wrong))
    assert "only 0% of the answers are right" in complaint


def test_a_line_that_never_ran_says_why() -> None:
    error = {"code": "batch_expired", "message": "The window closed."}
    assert refusal({"custom_id": "1", "response": None, "error": error}) == "The window closed."


def test_most_lines_share_one_of_a_few_system_prompts() -> None:
    prompts = [
        line.body["messages"][0]["content"]
        for line in LINES
        if line.answer is not None and len(line.body["messages"]) == 2
    ]
    assert len(prompts) > len(LINES) / 2
    assert len(set(prompts)) < len(prompts) / 2


def test_the_lines_are_the_same_every_time() -> None:
    assert demo_lines(good=20, bad=4) == LINES
