"""The official `openai` package finds, and deletes, the models that a customer has brought."""

import httpx2
import openai
import pytest

from orchestrator.organizations import keys, projects
from orchestrator.organizations import service as organizations
from tests.contracts.conftest import ServedYard
from tests.tiny_adapters import adapter_zip

pytestmark = pytest.mark.server


@pytest.fixture
def key(yard: ServedYard) -> str:
    """The key of an organization whose tier has fine-tuning."""
    with yard.database.transaction() as tx:
        organization = organizations.create(tx, name="Adapters", tier="enterprise")
        project = projects.get(tx, organization.id, None)
        _, key = keys.create(tx, project_id=project.id, name="sdk")
    return key


def test_a_brought_adapter_is_a_model_to_the_sdk(yard: ServedYard, key: str) -> None:
    http = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(base_url=f"{yard.url}/v1", api_key=key, http_client=http) as client:
        uploaded = client.post(
            "/files",
            cast_to=openai.types.FileObject,
            body={"purpose": "fine_tuning"},
            files=[("file", ("adapter.zip", adapter_zip()))],
            options={"headers": {"Content-Type": "multipart/form-data"}},
        )
        assert uploaded.bytes == len(adapter_zip())
        body = {"input_file_id": uploaded.id, "base_model": "yard-smoke", "name": "sdk", "type": "lora"}
        brought = client.post("/fine_tunings", cast_to=httpx2.Response, body=body).json()
        name = brought["data"]["fine_tuned_model"]
        assert [model.id for model in client.models.list()] == ["yard-smoke", name]
        model = client.models.retrieve(name)
        assert (model.id, model.object) == (name, "model")
        assert model.created > 1_700_000_000
        assert model.model_extra
        assert model.model_extra["parent"] == "yard-smoke"
        content = client.get(f"/models/{name}/content", cast_to=httpx2.Response).content
        assert content[:2] == b"PK"
        deleted = client.models.delete(name)
        assert (deleted.id, deleted.object, deleted.deleted) == (name, "model", True)
        with pytest.raises(openai.NotFoundError) as refused:
            client.models.retrieve(name)
        assert refused.value.code == "model_not_found"
        with pytest.raises(openai.PermissionDeniedError):
            client.models.delete("yard-smoke")
