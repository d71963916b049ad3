"""Synchronous requests, to try a model before a batch: on engines that are warm, within small limits, without
a promise of latency. Bodies are the engine's to judge, as in a batch."""

from contextlib import ExitStack

from fastapi import APIRouter, Request, Response

from api.auth import Caller
from api.deps import YardDep
from api.sandbox import forward
from api.sandbox.admission import admit
from api.sandbox.request import read
from api.yard import Yard
from orchestrator.entitlements import checks
from orchestrator.organizations.principal import Principal

AT_ONCE_MAX = 64  # of one organization in one process, those that wait for their adapter too

router = APIRouter(tags=["Sandbox"])


@router.post("/chat/completions")
async def create_chat_completion(asked: Request, yard: YardDep, caller: Caller) -> Response:
    """Answer a chat now. With `stream`, as it is written."""
    return await _answer(yard, caller, asked, "/v1/chat/completions")


@router.post("/completions")
async def create_completion(asked: Request, yard: YardDep, caller: Caller) -> Response:
    """Go on with a text now. With `stream`, as it is written."""
    return await _answer(yard, caller, asked, "/v1/completions")


@router.post("/embeddings")
async def create_embeddings(asked: Request, yard: YardDep, caller: Caller) -> Response:
    """Embed texts now."""
    return await _answer(yard, caller, asked, "/v1/embeddings")


@router.post("/responses")
async def create_response(asked: Request, yard: YardDep, caller: Caller) -> Response:
    """Answer now in the form of OpenAI's newer API. With `stream`, as it is written. Nothing is kept."""
    return await _answer(yard, caller, asked, "/v1/responses")


async def _answer(yard: Yard, caller: Principal, asked: Request, endpoint: str) -> Response:
    tier = yard.tier(caller)

    def check_size(size: int) -> None:
        checks.require(checks.request_size(yard.tiers, tier, size))

    with ExitStack() as slot:
        slot.enter_context(yard.request_slots.take(caller.organization_id, limit=AT_ONCE_MAX))
        request = await read(asked, endpoint, check_size=check_size)
        admitted = await admit(yard, caller, request)
        return await forward.answer(yard, asked, request, admitted, slot)
