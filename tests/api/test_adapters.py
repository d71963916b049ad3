"""Adapters among the models: seen, downloaded, shared and deleted by whom it is meant for."""

import io
import zipfile

import pytest

from orchestrator import clock
from orchestrator.database.session import Database
from orchestrator.organizations.model import Project
from tests import factories
from tests.api.conftest import Customer
from tests.tiny_adapters import adapter_zip


def brought(of: Customer) -> str:
    """The name of an adapter just brought. Its base has no weights here, so any shapes pass."""
    file_id = of.file_id(adapter_zip(), purpose="fine_tuning", filename="adapter.zip")
    body = {"input_file_id": file_id, "base_model": "yard-smoke", "name": "topics"}
    answer = of.post("/v1/fine_tunings", json=body)
    assert answer.status_code == 200, answer.text
    model: str = answer.json()["data"]["fine_tuned_model"]
    return model


def ids(of: Customer) -> list[str]:
    return [model["id"] for model in of.get("/v1/models").json()["data"]]


def test_an_adapter_is_a_model_at_its_base_s_prices(trainer: Customer) -> None:
    model = brought(trainer)
    assert ids(trainer) == ["yard-smoke", "org/large", "tiny", model]
    base = trainer.get("/v1/models/yard-smoke").json()
    shown = trainer.get(f"/v1/models/{model}").json()
    assert (shown["object"], shown["parent"], shown["owned_by"]) == (
        *("model", "yard-smoke"),
        trainer.organization_id,
    )
    for same in ("prices", "context_window", "endpoints"):
        assert shown[same] == base[same]
    assert shown["adapter"]["rank"] == 4
    assert shown["adapter"]["target_modules"] == ["q_proj"]
    assert shown["adapter"]["card"]["lora"]["lora_alpha"] == 8
    assert abs(shown["created"] - clock.unix(clock.now())) < 100
    assert trainer.get("/v1/models").json()["data"][-1]["adapter"]["card"] is None


def test_a_base_model_is_as_old_as_the_registry_s_file(customer: Customer) -> None:
    created = [model["created"] for model in customer.get("/v1/models").json()["data"]]
    assert all(abs(each - clock.unix(clock.now())) < 10_000 for each in created)


@pytest.mark.parametrize("spell", [str, lambda name: name.replace(":", "%3A")])
def test_an_adapter_is_downloaded_as_it_was_brought(trainer: Customer, spell: type[str]) -> None:
    model = brought(trainer)
    answer = trainer.get(f"/v1/models/{spell(model)}/content")
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == f'attachment; filename="{model.replace(":", "-")}.zip"'
    with (
        zipfile.ZipFile(io.BytesIO(answer.content)) as got,
        zipfile.ZipFile(io.BytesIO(adapter_zip())) as sent,
    ):
        assert got.testzip() is None
        assert {name: got.read(name) for name in got.namelist()} == {
            name: sent.read(name) for name in sent.namelist()
        }
    again = trainer.file_id(answer.content, purpose="fine_tuning", filename="again.zip")
    body = {"input_file_id": again, "base_model": "yard-smoke"}
    assert trainer.post("/v1/fine_tunings", json=body).status_code == 200


def test_a_deleted_model_is_gone_everywhere(trainer: Customer) -> None:
    model = brought(trainer)
    deleted = trainer.delete(f"/v1/models/{model}")
    assert deleted.json() == {"id": model, "object": "model", "deleted": True}
    for path in (f"/v1/models/{model}", f"/v1/models/{model}/content"):
        assert trainer.get(path).json()["error"]["code"] == "model_not_found"
    assert trainer.delete(f"/v1/models/{model}").status_code == 404
    assert model not in ids(trainer)


@pytest.mark.parametrize(("verb", "path"), [("GET", ""), ("GET", "/content"), ("DELETE", "")])
def test_another_organization_s_model_is_unknown(
    trainer: Customer, stranger: Customer, verb: str, path: str
) -> None:
    model, unknown = brought(trainer), "ft:yard-smoke:acme::00000000"

    def ask(named: str) -> tuple[int, str]:
        headers = {"authorization": f"Bearer {stranger.key}"}
        answer = stranger.http.request(verb, f"/v1/models/{named}{path}", headers=headers)
        return answer.status_code, answer.text.replace(named, "<id>")

    assert ask(model) == ask(unknown)
    assert ask(model)[0] == 404
    assert model not in ids(stranger)
    assert trainer.get(f"/v1/models/{model}").status_code == 200


def test_a_base_model_is_not_a_customer_s_to_delete_or_download(
    trainer: Customer, free_customer: Customer
) -> None:
    refused = trainer.delete("/v1/models/yard-smoke")
    assert refused.status_code == 403
    assert "only its operator can remove it" in refused.json()["error"]["message"]
    assert trainer.get("/v1/models/yard-smoke/content").status_code == 404
    hidden, absent = (free_customer.delete(f"/v1/models/org%2F{name}") for name in ("large", "absent"))
    assert hidden.status_code == absent.status_code == 404
    assert hidden.text == absent.text.replace("absent", "large")


def test_the_operator_shares_an_adapter_and_takes_it_back(
    trainer: Customer, stranger: Customer, operator: Customer
) -> None:
    model = brought(trainer)
    for someone in (trainer, stranger):
        assert someone.post(f"/v1/models/{model}", json={"shared": True}).status_code == 404
    shared = operator.post(f"/v1/models/{model}", json={"shared": True})
    assert shared.json()["adapter"]["shared"]
    seen = stranger.get(f"/v1/models/{model}").json()
    assert (seen["owned_by"], seen["adapter"]["card"]) == ("operator", None)
    assert trainer.organization_id not in stranger.get("/v1/models").text
    for refused in (stranger.delete(f"/v1/models/{model}"), stranger.get(f"/v1/models/{model}/content")):
        assert refused.status_code == 403
        assert "shared with you by the operator" in refused.json()["error"]["message"]
    operator.post(f"/v1/models/{model}", json={"shared": False})
    assert stranger.get(f"/v1/models/{model}").status_code == 404
    assert operator.post("/v1/models/ft:absent", json={"shared": True}).status_code == 404


def test_an_adapter_of_a_base_that_takes_none_any_more_can_only_be_taken_home(
    trainer: Customer, database: Database
) -> None:
    with database.transaction() as tx:
        project = tx.get_one(Project, trainer.project_id)
        model = factories.make_adapter(tx, project=project, base_model="org/large").id
    assert model not in ids(trainer)
    assert trainer.get(f"/v1/models/{model}").status_code == 404
    assert trainer.delete(f"/v1/models/{model}").json()["deleted"]
