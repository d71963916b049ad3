"""Quotes that a customer was given."""

from tests.api.conftest import Customer


def test_a_quote_that_was_asked_for_is_kept_for_its_organization_alone(
    customer: Customer, stranger: Customer
) -> None:
    file_id = customer.file_id()
    quoted = customer.post(f"/v1/files/{file_id}/validate").json()["quote"]
    found = customer.get("/v1/usage/quotes").json()
    (kept,) = found["data"]
    assert (kept["file_id"], kept["quoted"], kept["actual"]) == (file_id, quoted, None)
    assert found["errors"] == {
        "quotes": 0,
        "cost_median": None,
        "cost_p90": None,
        "finish_median": None,
        "finish_p90": None,
    }
    assert stranger.get("/v1/usage/quotes").json()["data"] == []
