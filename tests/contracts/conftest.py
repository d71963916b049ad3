"""The object stores that the conformance suite is run on, and the S3 servers behind them."""

import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from api.app import create_app
from infra import s3_server
from infra.ceph.rgw import Rgw
from orchestrator.database.migrate import migrate
from orchestrator.database.session import Database
from orchestrator.embedded.postgres import EmbeddedPostgres
from orchestrator.organizations import keys, projects
from orchestrator.organizations import service as organizations
from orchestrator.settings import S3Settings, Settings
from orchestrator.storage.open import open_store
from orchestrator.storage.store import ObjectStore
from tests.serving import serving


class S3TestSettings(BaseSettings):
    """An S3 server to test on instead of moto: YARD_TEST_S3_ENDPOINT and the two keys beside it."""

    model_config = SettingsConfigDict(env_prefix="YARD_TEST_S3_", frozen=True)

    endpoint: str | None = None
    access_key_id: str = "any"
    secret_access_key: SecretStr = SecretStr("any")


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Settings]:
    """moto in a process of its own, or the server that the environment names."""
    named = S3TestSettings()
    if named.endpoint is not None:
        yield _reach(named.endpoint, named.access_key_id, named.secret_access_key)
        return
    with s3_server.running(tmp_path_factory.mktemp("moto")) as url:
        yield _reach(url, named.access_key_id, named.secret_access_key)


@pytest.fixture(scope="session")
def rgw() -> Iterator[Rgw]:
    """A Ceph cluster; its making takes about 20 seconds. pytest's folders would keep its disk."""
    with tempfile.TemporaryDirectory(prefix="yard-test-ceph-") as folder, Rgw(Path(folder)) as rgw:
        yield rgw


@pytest.fixture(scope="session")
def ceph(rgw: Rgw) -> S3Settings:
    """How to reach the Ceph cluster."""
    return _reach(rgw.endpoint_url, rgw.access_key_id, SecretStr(rgw.secret_access_key))


@pytest.fixture(params=["local", "s3", pytest.param("ceph", marks=pytest.mark.ceph)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """The settings of an empty store that only this test uses, one of each kind in turn."""
    if request.param == "local":
        return Settings(store_url=f"file://{tmp_path}/store")
    place = f"s3://yard-tests/{uuid.uuid4().hex}"
    return Settings(store_url=place, s3=request.getfixturevalue(request.param))


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[ObjectStore]:
    """An empty store that only this test uses."""
    store = open_store(settings)
    yield store
    await store.delete([found.key async for found in store.list("")])


def _reach(url: str, access_key_id: str, secret_access_key: SecretStr) -> S3Settings:
    return S3Settings(
        endpoint_url=url,
        public_endpoint_url=url,
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
    )


@dataclass(frozen=True)
class ServedYard:
    """The API behind a real server, and a key of an organization of its own for one test."""

    url: str
    key: str
    database: Database
    project_id: str


@pytest.fixture(scope="session")
def served(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Database]]:
    """The whole API over a database and a store of its own."""
    postgres.create_database("test_sdks")
    migrate(postgres.url("test_sdks"))
    database = Database(postgres.url("test_sdks"))
    settings = Settings(
        home=tmp_path_factory.mktemp("yard"),
        database_url=SecretStr(database.url),
        webhook_private_addresses=True,
    )
    with serving(create_app(settings)) as port:
        yield f"http://127.0.0.1:{port}", database
    database.close()


@pytest.fixture
def yard(served: tuple[str, Database]) -> ServedYard:
    """A developer's key to the served API."""
    return _yard_for("developer", *served)


@pytest.fixture
def enterprise_yard(served: tuple[str, Database]) -> ServedYard:
    """The same for an enterprise, which may fine-tune."""
    return _yard_for("enterprise", *served)


def _yard_for(tier: str, url: str, database: Database) -> ServedYard:
    with database.transaction() as tx:
        organization = organizations.create(tx, name="SDK", tier=tier)
        project = projects.get(tx, organization.id, None)
        _, key = keys.create(tx, project_id=project.id, name="sdk")
    return ServedYard(url, key, database, project.id)
