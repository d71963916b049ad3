"""Adapters as models: who sees them, who may delete them, and what their names say."""

import pytest
from sqlmodel import Session

from orchestrator.adapters import catalog, service
from orchestrator.adapters.model import Adapter, Origin
from orchestrator.adapters.names import check_suffix, model_name, slug
from orchestrator.adapters.store import StoredAdapter
from orchestrator.database.session import Database
from orchestrator.errors import Invalid, NotEntitled, NotFound
from orchestrator.models.registry import Registry
from orchestrator.organizations.model import Organization
from tests import factories
from tests.tiny_adapters import registry_of

FILES = StoredAdapter("0" * 64, "org_x/adapters/0/", 10, 8, ("q_proj",))


def publish(tx: Session, organization: Organization, **given: object) -> Adapter:
    project = factories.make_project(tx, organization=organization)
    values = {
        "organization": organization,
        "project_id": project.id,
        "base_model": "yard-smoke",
        "origin": Origin.TRAINED,
        "source_id": "ftjob-abcdefgh12345678",
        "name": None,
        "suffix": "topics",
        "files": FILES,
        "card": {},
    }
    return service.publish(tx, **values | given)


def test_a_name_says_the_base_the_organization_the_suffix_and_its_source():
    assert model_name("yard-smoke", "Acme Corp.", "topics", "ftjob-x12345678") == (
        "ft:yard-smoke:acme-corp:topics:12345678"
    )
    assert model_name("org/large", "Ünïcode", None, "ft_x12345678") == "ft:org/large:n-code::12345678"
    assert slug("検索") == ""
    assert len(slug("a very long name of an organization with many words")) <= 24


@pytest.mark.parametrize("suffix", ["", "a" * 65, "a:b", "a/b", "ü", "a b", "-a", "..", "a\n"])
def test_a_suffix_that_would_break_a_name_is_refused(suffix: str):
    with pytest.raises(Invalid, match="Expected 1 to 64"):
        check_suffix(suffix)
    assert check_suffix("Topics_v1.2") == "Topics_v1.2"


def test_a_job_s_checkpoints_bear_the_name_of_its_final_model(database: Database):
    with database.transaction() as tx:
        acme = factories.make_organization(tx, name="Acme")
        early = publish(tx, acme, step=20, origin=Origin.CHECKPOINT)
        final = publish(tx, acme)
    assert final.id == "ft:yard-smoke:acme:topics:12345678"
    assert early.id == f"{final.id}:ckpt-step-20"


def test_publishing_twice_makes_one_model_with_its_first_bytes(database: Database):
    with database.transaction() as tx:
        acme = factories.make_organization(tx)
        first = publish(tx, acme)
        again = publish(tx, acme, files=StoredAdapter("1" * 64, "p/", 1, 1, ("q_proj",)))
    assert (again.id, again.digest) == (first.id, "0" * 64)


def test_another_organization_s_adapter_is_as_unknown_as_one_that_never_was(database: Database):
    with database.transaction() as tx:
        acme, other = (factories.make_organization(tx, name=name) for name in ("Acme", "Other"))
        theirs = publish(tx, acme)
        assert service.visible(tx, organization_id=acme.id, adapter_id=theirs.id) == theirs
        said = []
        for name in (theirs.id, "ft:never"):
            for verb in (service.visible, service.delete):
                with pytest.raises(NotFound) as refused:
                    verb(tx, organization_id=other.id, adapter_id=name)
                said.append(refused.value.message.replace(name, "<id>"))
        assert len(set(said)) == 1
        assert service.list_visible(tx, organization_id=other.id) == []


def test_what_is_shared_is_seen_by_all_and_deleted_by_its_own(database: Database):
    with database.transaction() as tx:
        acme, other = (factories.make_organization(tx, name=name) for name in ("Acme", "Other"))
        adapter = publish(tx, acme)
        service.share(tx, adapter_id=adapter.id, shared=True)
        assert service.list_visible(tx, organization_id=other.id) == [adapter]
        with pytest.raises(NotEntitled, match="only the organization that made it"):
            service.delete(tx, organization_id=other.id, adapter_id=adapter.id)
        service.share(tx, adapter_id=adapter.id, shared=False)
        assert service.list_visible(tx, organization_id=other.id) == []
        service.delete(tx, organization_id=acme.id, adapter_id=adapter.id)
        with pytest.raises(NotFound):
            service.share(tx, adapter_id=adapter.id, shared=True)


def test_a_deleted_adapter_is_gone_but_for_what_was_admitted_already(database: Database):
    registry = registry_of(rank_max=32)
    with database.transaction() as tx:
        acme = factories.make_organization(tx)
        adapter = publish(tx, acme)
        service.delete(tx, organization_id=acme.id, adapter_id=adapter.id)
        assert tx.get_one(Adapter, adapter.id).deleted_at is not None
        with pytest.raises(NotFound):
            service.visible(tx, organization_id=acme.id, adapter_id=adapter.id)
        asked = {"registry": registry, "names": [adapter.id], "organization_id": acme.id}
        assert catalog.resolve(tx, **asked) == {}
        assert catalog.resolve(tx, **asked, deleted_too=True)[adapter.id].adapter == adapter


def test_names_stand_for_base_models_and_adapters_over_them(database: Database):
    registry = registry_of(rank_max=32)
    with database.transaction() as tx:
        acme, other = (factories.make_organization(tx, name=name) for name in ("Acme", "Other"))
        own, theirs = publish(tx, acme), publish(tx, other)
        orphan = publish(tx, acme, base_model="gone", suffix="orphan")
        names = ["yard-smoke", own.id, theirs.id, orphan.id, "unknown", own.id]
        found = catalog.resolve(tx, registry, names, organization_id=acme.id)
    assert set(found) == {"yard-smoke", own.id}
    assert (found["yard-smoke"].adapter, found["yard-smoke"].base) == (None, "yard-smoke")
    assert (found[own.id].adapter, found[own.id].base) == (own, "yard-smoke")


def test_an_adapter_of_a_base_that_takes_none_any_more_stands_for_nothing(database: Database):
    with database.transaction() as tx:
        acme = factories.make_organization(tx)
        own = publish(tx, acme)
        assert catalog.resolve(tx, Registry(()), [own.id], organization_id=acme.id) == {}
        without = registry_of(rank_max=None)
        assert catalog.resolve(tx, without, [own.id], organization_id=acme.id) == {}
