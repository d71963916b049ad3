"""People: invited with a token that works once, allowed what their role says, gone at once."""

import threading
from datetime import timedelta

import pytest

from orchestrator import clock
from orchestrator.database.session import Database
from orchestrator.errors import Conflict, NotEntitled, NotFound, Unauthenticated
from orchestrator.organizations import invitations, members
from orchestrator.organizations import service as organizations
from orchestrator.organizations.authentication import authenticate
from orchestrator.organizations.model import Invitation, Role
from orchestrator.organizations.scopes import Scope
from tests.orchestrator.organizations.bearers import make_bearer

WEEK = timedelta(days=7)


def test_a_token_makes_one_member_with_a_key_of_their_own(database: Database):
    with database.transaction() as tx:
        owner = make_bearer(tx)
        sent, token = invitations.send(
            tx, owner, email=" Ada@Acme.test ", role=Role.DEVELOPER, valid_for=WEEK
        )
        assert token not in str(sent)
        member, _, secret = invitations.accept(tx, token=token, name="Ada")
        bearer = authenticate(tx, secret)
        assert (member.email, bearer.member_id, bearer.role) == ("ada@acme.test", member.id, Role.DEVELOPER)
        assert bearer.organization_id == owner.organization_id
        for act, refusal in (
            (lambda: invitations.accept(tx, token=token, name="Eve"), "was accepted on"),
            (lambda: invitations.withdraw(tx, owner, sent.id), "was accepted on"),
            (
                lambda: invitations.send(tx, owner, email="ada@acme.test", role=Role.READER, valid_for=WEEK),
                "is a member",
            ),
        ):
            with pytest.raises(Conflict, match=refusal):
                act()


def test_a_withdrawn_an_expired_and_an_invented_token_are_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    with database.transaction() as tx:
        owner = make_bearer(tx)
        sent, gone = invitations.send(tx, owner, email="a@b.test", role=Role.OWNER, valid_for=WEEK)
        with pytest.raises(Conflict, match=f"invited already, by '{sent.id}'"):
            invitations.send(tx, owner, email="a@b.test", role=Role.READER, valid_for=WEEK)
        invitations.withdraw(tx, owner, sent.id)
        _, late = invitations.send(tx, owner, email="a@b.test", role=Role.OWNER, valid_for=WEEK)
        later = clock.now() + WEEK
        monkeypatch.setattr(clock, "now", lambda: later)
        for token, refusal in ((gone, "was withdrawn"), (late, "expired")):
            with pytest.raises(Conflict, match=refusal):
                invitations.accept(tx, token=token, name="A")
        with pytest.raises(NotFound):
            invitations.accept(tx, token="yard_invite_guess", name="A")


def test_nobody_invites_or_promotes_above_their_own_role(database: Database):
    with database.transaction() as tx:
        developer = make_bearer(tx, Role.DEVELOPER, email="dev@acme.test")
        with pytest.raises(NotEntitled, match="above this key's own"):
            invitations.send(tx, developer, email="a@b.test", role=Role.OWNER, valid_for=WEEK)
        with pytest.raises(NotEntitled, match="above this key's own"):
            members.change_role(tx, developer, developer.member_id, role=Role.OWNER)


def test_a_narrowed_key_invites_and_promotes_nobody_to_what_it_lacks(database: Database):
    with database.transaction() as tx:
        whole = make_bearer(tx, email="a@acme.test")
        here = organizations.get(tx, whole.organization_id)
        narrow = make_bearer(tx, organization=here, scopes=[Scope.ORGANIZATION_WRITE])
        reader = make_bearer(tx, Role.READER, organization=here, email="r@acme.test")
        owner = make_bearer(tx, organization=here, email="o@acme.test")
        for act in (
            lambda: invitations.send(tx, narrow, email="e@evil.test", role=Role.READER, valid_for=WEEK),
            lambda: members.change_role(tx, narrow, reader.member_id, role=Role.OWNER),
        ):
            with pytest.raises(NotEntitled, match="which this key lacks"):
                act()
        demoted = members.change_role(tx, narrow, owner.member_id, role=Role.DEVELOPER)
        assert demoted.role is Role.DEVELOPER


def test_two_who_accept_with_one_token_at_once_are_one_member(database: Database):
    with database.transaction() as tx:
        owner = make_bearer(tx)
        _, token = invitations.send(tx, owner, email="a@b.test", role=Role.READER, valid_for=WEEK)
    both = threading.Barrier(2)
    ends = []

    def accept() -> None:
        both.wait(timeout=5)
        try:
            with database.transaction() as tx:
                invitations.accept(tx, token=token, name="A")
            ends.append("joined")
        except Conflict:
            ends.append("refused")

    threads = [threading.Thread(target=accept) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert sorted(ends) == ["joined", "refused"]


def test_a_new_role_holds_for_keys_that_are_there(database: Database):
    with database.transaction() as tx:
        owner = make_bearer(tx)
        _, token = invitations.send(tx, owner, email="a@b.test", role=Role.DEVELOPER, valid_for=WEEK)
        member, _, secret = invitations.accept(tx, token=token, name="A")
        for role, has in (
            (Role.READER, Role.READER),
            (Role.OWNER, Role.DEVELOPER),  # a key does not grow beyond what it was made with
        ):
            members.change_role(tx, owner, member.id, role=role)
            assert authenticate(tx, secret).role is has


def test_the_last_owner_stays(database: Database):
    with database.transaction() as tx:
        first = make_bearer(tx, email="first@acme.test")
        here = organizations.get(tx, first.organization_id)
        for act in (
            lambda: members.remove(tx, first, first.member_id),
            lambda: members.change_role(tx, first, first.member_id, role=Role.READER),
        ):
            with pytest.raises(Conflict, match="is the last owner"):
                act()
        make_bearer(tx, organization=here, email="second@acme.test")
        members.change_role(tx, first, first.member_id, role=Role.READER)


def test_two_owners_cannot_demote_each_other_at_once(database: Database):
    with database.transaction() as tx:
        one = make_bearer(tx, email="one@acme.test")
        here = organizations.get(tx, one.organization_id)
        other = make_bearer(tx, organization=here, email="other@acme.test")
    refused: list[Conflict] = []

    def demote(caller, member_id):
        try:
            with database.transaction() as tx:
                members.change_role(tx, caller, member_id, role=Role.READER)
        except Conflict as error:
            refused.append(error)

    racers = [
        threading.Thread(target=demote, args=pair)
        for pair in ((one, other.member_id), (other, one.member_id))
    ]
    with database.transaction() as tx:
        organizations.hold(tx, here.id)
        for racer in racers:
            racer.start()
    for racer in racers:
        racer.join(10)
    assert len(refused) == 1


def test_a_removed_member_s_keys_and_invitations_end_at_once(database: Database):
    with database.transaction() as tx:
        owner = make_bearer(tx, email="owner@acme.test")
        _, token = invitations.send(tx, owner, email="a@b.test", role=Role.OWNER, valid_for=WEEK)
        member, _, secret = invitations.accept(tx, token=token, name="A")
        sent, _ = invitations.send(
            tx, authenticate(tx, secret), email="friend@b.test", role=Role.OWNER, valid_for=WEEK
        )
    with database.transaction() as tx:
        members.remove(tx, owner, member.id)
    with database.transaction() as tx:
        with pytest.raises(Unauthenticated, match="was revoked"):
            authenticate(tx, secret)
        with pytest.raises(NotFound):
            members.get(tx, member.id, organization_id=owner.organization_id)
        assert tx.get_one(Invitation, sent.id).revoked_at is not None
        _, token = invitations.send(tx, owner, email="a@b.test", role=Role.READER, valid_for=WEEK)
        assert invitations.accept(tx, token=token, name="A again")[0].id != member.id
