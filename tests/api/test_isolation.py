"""What belongs to another organization answers exactly as what was never there."""

import pytest

from tests.api.conftest import Customer

FILE_ROUTES = [
    ("GET", "/v1/files/{id}"),
    ("GET", "/v1/files/{id}/content"),
    ("DELETE", "/v1/files/{id}"),
    ("POST", "/v1/files/{id}/validate"),
]
BATCH_ROUTES = [
    ("GET", "/v1/batches/{id}"),
    ("POST", "/v1/batches/{id}/cancel"),
    ("POST", "/v1/batches/{id}/retry"),
    ("GET", "/v1/batches/{id}/output"),
]
UPLOAD_ROUTES = [
    ("POST", "/v1/uploads/{id}/parts"),
    ("POST", "/v1/uploads/{id}/complete"),
    ("POST", "/v1/uploads/{id}/cancel"),
]


def upload_id(owner: Customer) -> str:
    body = {"bytes": 1, "filename": "x.jsonl", "mime_type": "a/b", "purpose": "batch"}
    made: str = owner.post("/v1/uploads", json=body).json()["id"]
    return made


@pytest.mark.parametrize(("method", "path"), FILE_ROUTES + BATCH_ROUTES + UPLOAD_ROUTES)
def test_another_organization_s_id_is_unknown(
    customer: Customer, stranger: Customer, method: str, path: str
) -> None:
    kind = path.split("/")[2]
    make = {"files": Customer.file_id, "batches": Customer.batch_id, "uploads": upload_id}[kind]
    theirs, own = make(stranger), make(customer)
    unknown = own[:-8] + "00000000"

    def ask(someone: Customer, named: str) -> tuple[int, str]:
        body = {}
        if path.endswith("/parts"):
            body = {"files": {"data": ("p", b"x", "a/b")}}
        elif path.endswith("/complete"):
            body = {"json": {"part_ids": ["part_x"]}}
        headers = {"authorization": f"Bearer {someone.key}"}
        url = path.format(id=named)
        answer = someone.http.request(method, url, headers=headers, **body)
        return answer.status_code, answer.text.replace(named, "<id>")

    assert ask(customer, theirs) == ask(customer, unknown)
    assert ask(customer, theirs)[0] == 404
    assert ask(stranger, theirs)[0] != 404


def test_another_organization_s_file_cannot_be_a_batch_s_input(
    customer: Customer, stranger: Customer
) -> None:
    theirs = stranger.file_id()
    answer = customer.create_batch(theirs)
    unknown = customer.create_batch("file-unknown")
    assert answer.status_code == unknown.status_code == 400
    assert answer.text.replace(theirs, "file-unknown") == unknown.text


def test_lists_and_cursors_stop_at_the_organization(customer: Customer, stranger: Customer) -> None:
    theirs = {"/v1/files": stranger.file_id(), "/v1/batches": stranger.batch_id()}
    for path, foreign in theirs.items():
        assert customer.get(path).json()["data"] == []
        assert customer.get(path, params={"after": foreign}).status_code == 400


def test_idempotency_keys_are_a_project_s_own(customer: Customer, stranger: Customer) -> None:
    ours = customer.batch_id(idempotency_key="shared")
    assert stranger.batch_id(idempotency_key="shared") != ours


def test_another_organization_s_people_projects_and_keys_are_unknown(
    customer: Customer, stranger: Customer
) -> None:
    key_id = stranger.get("/v1/organization").json()["key"]["id"]
    invite = {"email": "a@b.test", "role": "reader"}
    sent = stranger.post("/v1/organization/invites", json=invite).json()
    body = {"token": sent["token"], "name": "A"}
    user_id = customer.http.post("/v1/organization/invites/accept", json=body).json()["user"]["id"]
    own, theirs = (f"/v1/organization/projects/{who.project_id}" for who in (customer, stranger))
    for method, path in (
        ("GET", theirs),
        ("POST", f"{theirs}/archive"),
        ("GET", f"{theirs}/api_keys"),
        ("POST", f"{theirs}/api_keys"),
        ("GET", f"{own}/api_keys/{key_id}"),
        ("DELETE", f"{own}/api_keys/{key_id}"),
        ("DELETE", f"/v1/organization/admin_api_keys/{key_id}"),
        ("GET", f"/v1/organization/invites/{sent['id']}"),
        ("DELETE", f"/v1/organization/invites/{sent['id']}"),
        ("GET", f"/v1/organization/users/{user_id}"),
        ("POST", f"/v1/organization/users/{user_id}"),
        ("DELETE", f"/v1/organization/users/{user_id}"),
    ):
        headers = {"authorization": f"Bearer {customer.key}"}
        json = {"name": "x"} if path.endswith("api_keys") else {"role": "owner"}
        how = {"json": json} if method == "POST" else {}
        assert customer.http.request(method, path, headers=headers, **how).status_code == 404, path
    for listed in ("users", "invites", "audit_logs"):
        assert sent["id"] not in customer.get(f"/v1/organization/{listed}").text
        assert user_id not in customer.get(f"/v1/organization/{listed}").text
