import json
from pathlib import Path
from typing import Any

import pytest

from api.cli.exits import Exit
from tests.api.cli.conftest import Yard
from tests.api.cli.scripted import LORA, ScriptedApi, event, file, fine_tuning

JOBS = "/v1/fine_tuning/jobs"
JOB = f"{JOBS}/ftjob-1"
MODEL = ("--model", "yard-smoke")


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b'{"prompt": "1", "completion": "2"}\n' * 10)
    return path


def says(api: ScriptedApi, *pages: list[dict[str, Any]]) -> None:
    """What each look at the job's events finds, then nothing more."""
    api.on(f"GET {JOB}/events", *({"data": page, "has_more": False} for page in (*pages, [])))


def test_create_uploads_the_dataset_and_starts_a_job(yard: Yard, api: ScriptedApi, examples: Path) -> None:
    api.on("POST /v1/files", file())
    api.on(f"POST {JOBS}", fine_tuning("validating_files"))
    result = yard("fine-tune", "create", examples, *MODEL)
    assert result.exit_code == Exit.OK, result.stderr
    assert result.stdout == "started ftjob-1\nwatch it: yard fine-tune watch ftjob-1\n"
    upload, creation = api.asked
    assert examples.read_bytes() in upload.body
    assert b'name="purpose"\r\n\r\nfine-tune' in upload.body
    given = {name: value for name, value in creation.json().items() if value is not None}
    assert given == {
        "model": "yard-smoke",
        "training_file": "file-in",
        "method": {"type": "supervised", "supervised": {}},
    }


def test_create_passes_on_what_it_is_told(yard: Yard, api: ScriptedApi, examples: Path) -> None:
    api.on("POST /v1/files", file(id="file-new"))
    api.on(f"POST {JOBS}", fine_tuning("validating_files"))
    words = "--method dpo --epochs 3 --batch-size 8 --learning-rate-multiplier 0.5 --beta 0.2 -r 8"
    words += " --alpha 16 --dropout 0.1 --target-module q_proj --target-module v_proj --rslora"
    words += " --evaluate-every 5 --early-stopping 2 --example-tokens 512 --quantization nf4"
    words += " --suffix topics --seed 7 --metadata team=search --validation file-old"
    yard("fine-tune", "create", examples, *MODEL, *words.split())
    assert api.asked[-1].json() == {
        "model": "yard-smoke",
        "training_file": "file-new",
        "validation_file": "file-old",
        "suffix": "topics",
        "seed": 7,
        "metadata": {"team": "search"},
        "method": {
            "type": "dpo",
            "dpo": {
                "hyperparameters": {
                    "n_epochs": 3,
                    "batch_size": 8,
                    "learning_rate_multiplier": 0.5,
                    "beta": 0.2,
                },
                "lora": {
                    "r": 8,
                    "alpha": 16,
                    "dropout": 0.1,
                    "target_modules": ["q_proj", "v_proj"],
                    "use_rslora": True,
                },
                "tokenyard": {
                    "evaluate_every_steps": 5,
                    "early_stopping_patience": 2,
                    "example_tokens_max": 512,
                    "quantization": "nf4",
                },
            },
        },
    }
    assert len(api.asked) == 2, "what has an id is not uploaded again"


def test_a_refused_job_leaves_no_dataset_behind(yard: Yard, api: ScriptedApi, examples: Path) -> None:
    api.on("POST /v1/files", file(id="file-a"), file(id="file-b"))
    api.refuse(f"POST {JOBS}", 403, message="Not on your tier. The Enterprise tier has it.")
    for file_id in ("file-a", "file-b"):
        api.on(f"DELETE /v1/files/{file_id}", {"id": file_id, "deleted": True})
    result = yard("fine-tune", "create", examples, *MODEL, "--validation", examples)
    assert result.exit_code == Exit.REFUSED
    assert "The Enterprise tier has it." in result.stderr
    assert api.requests()[-2:] == ["DELETE /v1/files/file-a", "DELETE /v1/files/file-b"]


def test_a_dataset_that_is_not_there_is_a_usage_error(yard: Yard, api: ScriptedApi) -> None:
    result = yard("fine-tune", "create", "nowhere.jsonl", *MODEL)
    assert result.exit_code == Exit.USAGE
    assert "nowhere.jsonl" in result.stderr
    assert api.asked == []


def test_waiting_shows_messages_loss_and_eta_and_ends_with_the_curve_and_the_model(
    yard: Yard, api: ScriptedApi
) -> None:
    api.on(f"POST {JOBS}", fine_tuning("validating_files"))
    api.on(
        f"GET {JOB}",
        fine_tuning("validating_files"),
        fine_tuning("queued"),
        fine_tuning("running", step=2),
        fine_tuning("succeeded", step=4),
    )
    says(
        api,
        [event(1, "Created fine-tuning job: ftjob-1")],
        [],
        [event(2, "Step 1/4", loss=4.0), event(3, "Step 2/4", loss=3.0)],
        [event(4, "Step 3/4", loss=2.0), event(5, "Step 4/4", loss=1.0)],
    )
    result = yard("fine-tune", "create", "file-in", *MODEL, "--wait")
    assert result.exit_code == Exit.OK, result.stderr
    said = result.stderr.splitlines()
    assert "Created fine-tuning job: ftjob-1" in said
    assert "queued, step 0/4, place 2 in the queue" in said
    assert "running, step 2/4, loss 3.0000, 2.0 steps/s, 1 s left" in said
    assert said[-1] == "    step 1  4"
    assert said[-7] == "       4 █"
    facts = dict(line.split(None, 1) for line in result.stdout.splitlines())
    assert facts["model"].strip() == "ft:yard-smoke:acme::abcdefgh"
    assert facts["adapter"].strip() == "rank 16, alpha 32, every layer, dropout 0.1, rsLoRA"
    assert "$0.000200" in result.stdout
    assert "1 min 30 s" in result.stdout
    asked = [asked.query for asked in api.asked if asked.path.endswith("/events")]
    assert [query.get("after") for query in asked][:3] == [None, "ftevent-1", "ftevent-1"]
    assert {query["order"] for query in asked} == {"asc"}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("succeeded", Exit.OK),
        ("failed", Exit.FAILED),
        ("cancelled", Exit.STOPPED),
        ("paused", Exit.STOPPED),
    ],
)
def test_the_exit_code_says_how_the_job_ended(yard: Yard, api: ScriptedApi, status: str, code: Exit) -> None:
    api.on(f"GET {JOB}", fine_tuning(status))
    says(api)
    result = yard("fine-tune", "watch", "ftjob-1")
    assert result.exit_code == code
    assert ("yard fine-tune resume ftjob-1" in result.stderr) == (status == "paused")


def test_ctrl_c_leaves_the_job_running(yard: Yard, api: ScriptedApi, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("api.cli.watch.time.sleep", interrupt)
    api.on(f"GET {JOB}", fine_tuning("running"))
    says(api)
    result = yard("fine-tune", "watch", "ftjob-1")
    assert result.exit_code == Exit.INTERRUPTED
    assert "Watch it again: yard fine-tune watch ftjob-1" in result.stderr


def test_a_failed_job_says_why_and_where_its_report_is(yard: Yard, api: ScriptedApi) -> None:
    error = {"code": "invalid_n_examples", "message": "Too few.", "param": "training_file"}
    api.on(f"GET {JOB}", fine_tuning("failed", error=error, tokenyard={"report_file": "file-report"}))
    shown = yard("fine-tune", "get", "ftjob-1").stdout
    assert "Too few." in shown
    assert "file-report" in shown


def test_jobs_events_and_checkpoints_are_listed(yard: Yard, api: ScriptedApi) -> None:
    api.on(f"GET {JOBS}", {"data": [fine_tuning("running", step=2)], "has_more": False})
    (row,) = yard("fine-tune", "list").stdout.splitlines()
    assert row.split("\t")[:4] == ["ftjob-1", "running", "2/4", "yard-smoke"]
    says(api, [event(2, "Step 1/4: training loss=4.0", loss=4.0), event(1, "Created")])
    told = yard("fine-tune", "events", "ftjob-1").stdout.splitlines()
    assert [line.split("\t")[2] for line in told] == ["Created", "Step 1/4: training loss=4.0"]
    checkpoint = {
        "step_number": 4,
        "fine_tuned_model_checkpoint": "ft:yard-smoke:acme::abcdefgh:ckpt-step-4",
        "metrics": {"train_loss": 1.0},
        "created_at": 1_790_000_000,
    }
    api.on(f"GET {JOB}/checkpoints", {"data": [checkpoint], "has_more": False})
    (row,) = yard("fine-tune", "checkpoints", "ftjob-1").stdout.splitlines()
    assert row.split("\t")[:4] == ["4", "ft:yard-smoke:acme::abcdefgh:ckpt-step-4", "1.0", "-"]


def test_json_is_the_answer_of_the_api(yard: Yard, api: ScriptedApi) -> None:
    api.on(f"GET {JOB}", fine_tuning("running"))
    assert json.loads(yard("fine-tune", "get", "ftjob-1", "--json").stdout) == fine_tuning("running")


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
def test_cancel_pause_and_resume_ask_the_yard(yard: Yard, api: ScriptedApi, verb: str) -> None:
    api.on(f"POST {JOB}/{verb}", fine_tuning("cancelling"))
    result = yard("fine-tune", verb, "ftjob-1")
    assert (result.exit_code, "cancelling" in result.stdout) == (Exit.OK, True)


ESTIMATE: dict[str, Any] = {
    "trainable": True,
    "error": None,
    "bad_examples": 0,
    "problems": [],
    "report_file": None,
    "training": {"batch_size": 5, "learning_rate": 0.005},
    "lora": LORA,
    "estimate": {
        "examples": 20,
        "validation_examples": 0,
        "truncated_examples": 1,
        "tokens_per_epoch": 400,
        "n_epochs": 3,
        "total_steps": 12,
        "trained_tokens": 1_200,
        "cost_micros": 600,
        "duration_seconds": 70.0,
        "duration_basis": "Earlier trainings.",
        "memory_needed_bytes": 1_200_000_000,
        "memory_available_bytes": 16_000_000_000,
        "warnings": ["1 of 20 examples is cut off."],
    },
}


def test_an_estimate_shows_steps_price_time_and_memory_and_leaves_nothing(
    yard: Yard, api: ScriptedApi, examples: Path
) -> None:
    api.on("POST /v1/files", file())
    api.on(f"POST {JOBS}/estimate", ESTIMATE)
    api.on("DELETE /v1/files/file-in", {"id": "file-in", "deleted": True})
    result = yard("fine-tune", "estimate", examples, *MODEL, "--epochs", "3")
    assert result.exit_code == Exit.OK, result.stderr
    for said in ("12 in 3 epochs of 5 a step", "$0.000600", "1 min 10 s", "1.2 GB of 16.0 GB", "cut off."):
        assert said in result.stdout
    assert api.asked[1].json()["method"]["supervised"] == {"hyperparameters": {"n_epochs": 3}}
    assert api.requests()[-1] == "DELETE /v1/files/file-in"


def test_an_estimate_of_bad_examples_lists_them_and_fails(yard: Yard, api: ScriptedApi) -> None:
    problem = {
        "file": "training_file",
        "line": 3,
        "code": "invalid_json_line",
        "param": None,
        "message": "No.",
    }
    refused = {
        "trainable": False,
        "error": {"code": "invalid_training_file", "message": "1 example cannot be learnt from."},
        "bad_examples": 1,
        "problems": [problem],
        "report_file": "file-report",
        "estimate": None,
    }
    api.on(f"POST {JOBS}/estimate", ESTIMATE | refused)
    result = yard("fine-tune", "estimate", "file-in", *MODEL)
    assert result.exit_code == Exit.FAILED
    assert "training_file\t3\tinvalid_json_line\t-\tNo." in result.stdout
    assert "file-report" in result.stdout
    assert api.requests() == [f"POST {JOBS}/estimate"], "what was there before stays"
