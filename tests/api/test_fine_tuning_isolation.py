"""Another organization's fine-tuning job answers exactly as one that was never there."""

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.database.session import Database
from tests.api.conftest import Customer, make_customer
from tests.api.fine_tuning_rows import JOBS, checkpoint


def job_id_of(owner: Customer, database: Database) -> str:
    job_id = owner.fine_tuning_id()
    checkpoint(database, job_id, 1)
    return job_id


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", JOBS + "/{id}"),
        ("POST", JOBS + "/{id}/cancel"),
        ("POST", JOBS + "/{id}/pause"),
        ("POST", JOBS + "/{id}/resume"),
        ("GET", JOBS + "/{id}/events"),
        ("GET", JOBS + "/{id}/checkpoints"),
    ],
)
def test_another_organization_s_job_is_unknown(
    trainer: Customer, customer: Customer, database: Database, method: str, path: str
) -> None:
    theirs = job_id_of(make_customer(trainer.http, database, tier="enterprise"), database)
    unknown = theirs[:-8] + "00000000"

    def ask(named: str) -> tuple[int, str]:
        ask: Callable[..., Any] = trainer.get if method == "GET" else trainer.post
        answer = ask(path.format(id=named))
        return answer.status_code, answer.text.replace(named, "<id>")

    assert ask(theirs) == ask(unknown)
    assert ask(theirs)[0] == 404


def test_lists_and_cursors_stop_at_the_job_and_the_organization(
    trainer: Customer, database: Database
) -> None:
    other = make_customer(trainer.http, database, tier="enterprise")
    theirs, own = job_id_of(other, database), job_id_of(trainer, database)
    assert [job["id"] for job in trainer.get(JOBS).json()["data"]] == [own]
    foreign = {
        JOBS: theirs,
        f"{JOBS}/{own}/events": other.get(f"{JOBS}/{theirs}/events").json()["first_id"],
        f"{JOBS}/{own}/checkpoints": other.get(f"{JOBS}/{theirs}/checkpoints").json()["first_id"],
    }
    for path, cursor in foreign.items():
        refused = trainer.get(path, params={"after": cursor})
        unknown = trainer.get(path, params={"after": "unknown"})
        assert refused.status_code == unknown.status_code == 400
        assert refused.text.replace(cursor, "unknown") == unknown.text


@pytest.mark.parametrize("param", ["training_file", "validation_file"])
def test_another_organization_s_dataset_is_unknown(trainer: Customer, database: Database, param: str) -> None:
    other = make_customer(trainer.http, database, tier="enterprise")
    theirs = other.dataset_id()
    refused = trainer.create_fine_tuning(**{param: theirs})
    unknown = trainer.create_fine_tuning(**{param: "file-unknown"})
    assert refused.status_code == unknown.status_code == 400
    assert refused.text.replace(theirs, "file-unknown") == unknown.text
