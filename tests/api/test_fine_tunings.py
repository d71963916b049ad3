"""Bringing an adapter: a ZIP becomes a model, or a clear refusal and nothing else."""

import pickle
import shutil
from collections.abc import Iterator

import pytest
from httpx2 import Response
from sqlmodel import select

from orchestrator.adapters.model import Adapter
from orchestrator.database.session import Database
from orchestrator.models import smoke
from orchestrator.settings import Settings
from tests.api.conftest import Customer, Look
from tests.tiny_adapters import adapter_zip, lora_config, lora_tensors, write_base, zipped


@pytest.fixture(autouse=True, scope="module")
def base(settings: Settings) -> Iterator[None]:
    """The base model's weights, as an engine that ran here before would have left them."""
    folder = smoke.folder(settings.absolute_home())
    write_base(folder)
    yield
    shutil.rmtree(folder)


def bring(of: Customer, content: bytes | None = None, **body: object) -> Response:
    """`POST /fine_tunings` of a ZIP just uploaded, a good one unless told otherwise."""
    content = adapter_zip() if content is None else content
    file_id = of.file_id(content, purpose="fine_tuning", filename="adapter.zip")
    given = {"input_file_id": file_id, "base_model": "yard-smoke", "name": "topics", "type": "lora"}
    return of.post("/v1/fine_tunings", json=given | body)


def test_an_adapter_is_brought_found_and_deleted(trainer: Customer) -> None:
    made = bring(trainer).json()
    assert made["object"] == "fine_tuning"
    assert made["id"].startswith("ft_")
    model = made["data"]["fine_tuned_model"]
    assert model == f"ft:yard-smoke:acme:topics:{made['id'][-8:]}"
    assert made["data"]["name"] == "topics"
    assert made["data"]["input_file_id"].startswith("file-")
    assert trainer.get("/v1/fine_tunings").json() == {"object": "list", "data": [made["data"]]}
    assert trainer.get(f"/v1/fine_tunings/{made['id']}").json() == made
    assert trainer.get(f"/v1/models/{model}").json()["adapter"]["source"] == made["id"]
    deleted = trainer.delete(f"/v1/fine_tunings/{made['id']}")
    assert deleted.json() == {"id": made["id"], "object": "fine_tuning", "deleted": True}
    assert trainer.get("/v1/fine_tunings").json()["data"] == []
    assert trainer.get(f"/v1/fine_tunings/{made['id']}").status_code == 404
    assert trainer.get(f"/v1/models/{model}").status_code == 404


def test_a_name_is_optional(trainer: Customer) -> None:
    model = bring(trainer, name=None).json()["data"]["fine_tuned_model"]
    assert model.startswith("ft:yard-smoke:acme::")


BAD = {
    "path that climbs": (
        zipped({"../adapter_model.safetensors": b"", "adapter_config.json": b"{}"}),
        "member",
    ),
    "pickle": (adapter_zip(weights=pickle.dumps({})), "is a pickle"),
    "pickle by name": (
        zipped({"adapter_model.bin": b"x", "adapter_config.json": b"{}"}),
        "a pickle is a program",
    ),
    "bomb": (adapter_zip(weights=bytes(60_000_000)), "60,000,000 bytes unpacked"),
    "other shapes": (adapter_zip(lora_tensors(inputs=16)), "for another base model"),
    "rank": (adapter_zip(lora_tensors(64), config=lora_config(r=64)), "serve ranks from 1 to 32"),
    "dora": (adapter_zip(config=lora_config(use_dora=True)), "'use_dora'"),
    "no zip": (b"just text", "it is no ZIP"),
    "config": (adapter_zip(config=b"[]"), "no JSON object"),
    "not safetensors": (adapter_zip(weights=b"x" * 100), "no safetensors file"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_adapter_is_refused_and_leaves_nothing(
    trainer: Customer, remains: Look, settings: Settings, database: Database, kind: str
) -> None:
    content, said = BAD[kind]
    answer = bring(trainer, content)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]
    left = remains(trainer)
    assert left.objects == [f"{trainer.organization_id}/files/{left.files[0]}/content"]  # what it uploaded
    with database.read() as tx:
        assert tx.exec(select(Adapter).where(Adapter.organization_id == trainer.organization_id)).all() == []
    assert list((settings.absolute_home() / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"base_model": "absent"}, "base_model", "does not exist. Models that take adapters: yard-smoke"),
        ({"base_model": "org/large"}, "base_model", "takes no adapters"),
        ({"name": "a:b"}, "name", "Expected 1 to 64"),
        ({"name": ""}, "name", "Expected 1 to 64"),
        ({"type": "full"}, "type", "lora"),
        ({"input_file_id": "file-absent"}, "input_file_id", "does not exist"),
        ({"extra": 1}, "extra", "Unknown parameter"),
    ],
)
def test_a_bad_parameter_is_named(trainer: Customer, body: dict[str, object], param: str, said: str) -> None:
    error = bring(trainer, **body)
    assert error.status_code == 400
    assert error.json()["error"]["param"] == param
    assert said in error.json()["error"]["message"]


def test_a_file_of_another_purpose_is_no_adapter(trainer: Customer) -> None:
    answer = bring(trainer, input_file_id=trainer.file_id())
    assert answer.status_code == 400
    assert "needs purpose 'fine_tuning'" in answer.json()["error"]["message"]


def test_an_adapter_s_file_is_a_zip_by_name(trainer: Customer) -> None:
    answer = trainer.upload(adapter_zip(), purpose="fine_tuning", filename="adapter.bin")
    assert answer.status_code == 400
    assert "Must be a .zip" in answer.json()["error"]["message"]


def test_a_tier_without_fine_tuning_is_told_which_has_it(customer: Customer) -> None:
    error = bring(customer)
    assert error.status_code == 403
    assert "Enterprise" in error.json()["error"]["message"]
    assert error.headers["x-should-retry"] == "false"


def test_another_organization_s_import_and_file_are_unknown(trainer: Customer, stranger: Customer) -> None:
    import_id = bring(trainer).json()["id"]
    file_id = trainer.file_id(adapter_zip(), purpose="fine_tuning", filename="a.zip")
    for verb in (Customer.get, Customer.delete):
        theirs = verb(stranger, f"/v1/fine_tunings/{import_id}")
        unknown = verb(stranger, "/v1/fine_tunings/ft_unknown")
        assert theirs.status_code == unknown.status_code == 404
        assert theirs.text.replace(import_id, "ft_unknown") == unknown.text
    assert stranger.get("/v1/fine_tunings").json()["data"] == []
    assert trainer.get(f"/v1/fine_tunings/{import_id}").status_code == 200
    other = bring(trainer, input_file_id=file_id.replace("file-", "file-x"))
    assert other.status_code == 400


def test_another_organization_s_file_cannot_be_brought(
    trainer: Customer, customer: Customer, remains: Look
) -> None:
    theirs = customer.file_id(adapter_zip(), purpose="fine_tuning", filename="a.zip")
    answer, unknown = (bring(trainer, input_file_id=named) for named in (theirs, "file-unknown"))
    assert answer.status_code == unknown.status_code == 400
    assert answer.text.replace(theirs, "file-unknown") == unknown.text


def test_the_same_adapter_twice_is_two_models_and_deleting_one_leaves_the_other(
    trainer: Customer, remains: Look
) -> None:
    first, second = (bring(trainer).json()["data"]["fine_tuned_model"] for _ in range(2))
    assert first != second
    assert len([key for key in remains(trainer).objects if key.endswith(".safetensors")]) == 2
    trainer.delete(f"/v1/models/{first}")
    assert trainer.get(f"/v1/models/{second}/content").status_code == 200
