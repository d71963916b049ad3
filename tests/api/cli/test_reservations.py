"""`yard reservation`."""

from tests.api.cli.conftest import Yard
from tests.api.cli.scripted import ScriptedApi

RESERVED = {"organization_id": "org_1", "model": "small", "created_at": 1_790_000_000}
ENGINES = RESERVED | {"engines": 2, "share": 0.0}
SHARE = RESERVED | {"engines": 0, "share": 0.25}


def test_engines_are_reserved(yard: Yard, api: ScriptedApi) -> None:
    api.on("POST /v1/organizations/org_1/reservations", ENGINES)
    said = yard("reservation", "set", "org_1", "small", "--engines", 2).output
    assert said == "org_1 has 2 engines of small whenever it has work\n"
    assert api.asked[0].json() == {"model": "small", "engines": 2, "share": 0.0}


def test_all_that_is_reserved_is_listed(yard: Yard, api: ScriptedApi) -> None:
    api.on("GET /v1/reservations", {"object": "list", "data": [ENGINES, SHARE]})
    rows = [line.split("\t")[:3] for line in yard("reservation", "list").output.splitlines()]
    assert rows == [["org_1", "small", "2 engines"], ["org_1", "small", "25%"]]


def test_what_is_reserved_is_given_back(yard: Yard, api: ScriptedApi) -> None:
    api.on("DELETE /v1/organizations/org_1/reservations/org/small", {"id": "org/small", "deleted": True})
    assert "nothing of org/small reserved" in yard("reservation", "end", "org_1", "org/small").output
