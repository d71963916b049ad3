"""Drives one batch: keeps its lines in flight on the engines it may use, until each has a result.

Orders come from outside whenever they change: which engines, how many lines on each, or to stop.
A line is in one of these places:

    order ──> in flight ──> segments   an answer, or a reason why there is none
                │   ^
                ├─> again              its engine died, was busy, had it not loaded, or said 5xx: sent first
                └─> suspects           engines died twice with it: sent last, alone

What a line may cost is bounded: after ENGINES_LOST_MAX dead engines, LOSSES_MAX deaths of the same
few, or RESENDS_MAX refusals it gets an error line, so no line can take a fleet down. An engine that is
busy or gone is left alone for a growing while, and so is, for one model, an engine that has evicted its
adapter; how often, only the batch's window bounds.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence, Set
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, assert_never

from msgspec import Raw

from orchestrator import ids
from orchestrator.batches.line_index import LineIndex
from orchestrator.batches.result_lines import (
    Kind,
    LineError,
    Requests,
    answered,
    open_requests,
    unanswered,
)
from orchestrator.batches.segments import LineUsage, SegmentWriter
from workers.inference.budget import Budget
from workers.inference.client import (
    LINE_SECONDS_MAX,
    Answered,
    Busy,
    EngineClient,
    EngineGone,
    Target,
    TimedOut,
)
from workers.inference.lanes import Lane, Line

ENGINES_LOST_MAX = 3  # different ones, so that one broken engine convicts nobody at once
LOSSES_MAX = 10  # a fleet behind one address is one engine to us
SUSPECT_FROM = 2  # losses
RESENDS_MAX = 3  # after a 5xx; a line waits RESEND_SECONDS, twice that, and so on, in its slot
RESEND_SECONDS = 1.0
REST_SECONDS = 0.5  # an engine's first rest; each next one is twice as long
REST_SECONDS_MAX = 30.0

__all__ = ["Orders", "Target", "drive"]


@dataclass
class Orders:
    """What a driver is told while it runs, and what it tells. Event loop only."""

    targets: Mapping[str, Sequence[Target]] = field(default_factory=dict)  # by model
    adapters: Set[str] = frozenset()  # of the models: those that an engine may load and evict
    refused: dict[str, str] = field(default_factory=dict)  # models that no engine serves, and why
    stop: str | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    remaining: dict[str, int] = field(default_factory=dict)  # lines without a result, by model
    budget: Budget | None = None  # what it may spend; None: whatever it likes

    def retarget(self, targets: Mapping[str, Sequence[Target]]) -> None:
        """From now on send to these engines, so many lines to each. What is in flight stays."""
        self.targets = targets
        self.changed.set()

    def stop_sending(self, reason: str) -> None:
        """Abort what is in flight, store what is done, and return."""
        self.stop = reason
        self.changed.set()


async def drive(
    *,
    source: Path,
    index: LineIndex,
    order: Mapping[str, Sequence[int]],
    orders: Orders,
    segments: SegmentWriter,
    line_seconds_max: float = LINE_SECONDS_MAX,
) -> None:
    """Send the lines (from 0) of `source` in the order given for each model; return when every one
    has a result in a segment, or soon after `orders.stop`, with the rest undone.

    Raises what `segments` raises (LeaseLost), and ValueError if `source` is not the file indexed.
    """
    async with AsyncExitStack() as stack:
        requests = stack.enter_context(open_requests(source, index))
        client = await stack.enter_async_context(EngineClient(line_seconds_max=line_seconds_max))
        walk = _Walk(index, requests, order, orders, segments, client)
        try:
            await walk.run()
        except ExceptionGroup as group:
            raise group.exceptions[0] from None  # the first is why the others were cancelled


# Who gets no lines for a while: an engine, or an engine for the lines of one model.
_Rester: TypeAlias = str | tuple[str, str]


class _Walk:
    """The state of one drive. Whatever frees or brings a slot calls `_fill`; nothing polls."""

    def __init__(
        self,
        index: LineIndex,
        requests: Requests,
        order: Mapping[str, Sequence[int]],
        orders: Orders,
        segments: SegmentWriter,
        client: EngineClient,
    ) -> None:
        self._index = index
        self._requests = requests
        self._lanes = [Lane(model, lines) for model, lines in order.items()]
        self._orders = orders
        self._budget = orders.budget or Budget(index)
        self._segments = segments
        self._client = client
        self._running: set[asyncio.Task[None]] = set()  # lines in flight, engines at rest
        self._rests: Counter[_Rester] = Counter()  # who failed of late: how often in a row
        self._resting: set[_Rester] = set()
        self._over = False
        orders.remaining.update({lane.model: len(lane.order) for lane in self._lanes})

    async def run(self) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            self._tasks.create_task(self._segments.run())
            self._following = self._tasks.create_task(self._follow_orders())
            self._end_if_done()
            self._fill_all()

    async def _follow_orders(self) -> None:
        while not self._orders.stop:
            await self._orders.changed.wait()
            self._orders.changed.clear()
            self._fill_all()
        self._end()

    def _end_if_done(self) -> None:
        if not any(self._orders.remaining[lane.model] for lane in self._lanes):
            self._end()

    def _end(self) -> None:
        """No more lines; what is in flight is aborted, what is done is stored."""
        self._over = True
        self._following.cancel()
        for task in self._running:
            task.cancel()
        self._segments.close()

    def _fill_all(self) -> None:
        for lane in self._lanes:
            self._fill(lane)

    def _fill(self, lane: Lane) -> None:
        """Send as many lines as there are free slots; those of a refused model get an error line."""
        if lane.model in self._orders.refused:
            self._start(self._refuse(lane))
            return
        while not self._over and not self._orders.stop:
            target = self._free_target(lane)
            line = lane.next() if target else None
            if target is None or line is None:
                return
            if not self._budget.reserve(line.number):
                lane.held_back = line
                return
            lane.in_flight[target.engine_id] = lane.in_flight.get(target.engine_id, 0) + 1
            self._start(self._send(lane, line, target))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _free_target(self, lane: Lane) -> Target | None:
        """The least loaded engine with a free slot."""
        best, least = None, 1.0
        for target in self._orders.targets.get(lane.model, ()):
            load = lane.in_flight.get(target.engine_id, 0) / max(target.slots, 1)
            rests = self._resting & {target.engine_id, (target.engine_id, lane.model)}
            if load < least and target.slots > 0 and not rests:
                best, least = target, load
        return best

    async def _send(self, lane: Lane, line: Line, target: Target) -> None:
        """One try of one line. Its slot is free again when this ends."""
        try:
            request = self._requests[line.number]
            request_id = ids.new("req_")
            endpoint = self._index.endpoints[self._index.endpoint[line.number]]
            outcome = await self._client.post(target, endpoint, bytes(request.body), request_id)
            match outcome:
                case Answered() if lane.model in self._orders.adapters and outcome.names_no_model():
                    self._rest((target.engine_id, lane.model), None)
                    lane.again.append(line)
                case Answered():
                    del self._rests[target.engine_id], self._rests[target.engine_id, lane.model]
                    await self._answered(lane, line, request.custom_id, request_id, outcome)
                case TimedOut():
                    await self._unanswered(
                        lane,
                        line,
                        request.custom_id,
                        LineError(
                            "request_timeout",
                            f"This request was not answered within {outcome.seconds:g} seconds.",
                        ),
                    )
                case Busy():
                    self._rest(target.engine_id, outcome.retry_after_seconds)
                    lane.again.append(line)
                case EngineGone():
                    self._rest(target.engine_id, None)
                    await self._engine_gone(lane, line, request.custom_id, target, outcome)
                case _:
                    assert_never(outcome)
        finally:
            lane.in_flight[target.engine_id] -= 1
            self._budget.release(line.number)
        self._fill(lane)  # not when cancelled: then all is ending

    async def _answered(
        self, lane: Lane, line: Line, custom_id: Raw, request_id: str, answer: Answered
    ) -> None:
        if answer.status >= 500 and line.refusals < RESENDS_MAX:
            line.refusals += 1
            await asyncio.sleep(RESEND_SECONDS * 2 ** (line.refusals - 1))
            lane.again.append(line)
            return
        kind = Kind.OUTPUT if answer.status < 300 else Kind.ERROR
        data = answered(custom_id, request_id, answer.status, answer.body)
        await self._record(lane, line, kind, data, answer.usage)

    async def _engine_gone(
        self, lane: Lane, line: Line, custom_id: Raw, target: Target, gone: EngineGone
    ) -> None:
        # An engine that was taken from our orders was ended on purpose: no line is to blame.
        if gone.sent and target.engine_id in self._ordered(lane):
            line.lost_with.append(target.engine_id)
        losses = len(line.lost_with)
        if losses < SUSPECT_FROM:
            lane.again.append(line)
        elif losses < LOSSES_MAX and len(set(line.lost_with)) < ENGINES_LOST_MAX:
            lane.suspects.append(line)
        else:
            message = f"{losses} times an engine ended while it worked on this request."
            await self._unanswered(lane, line, custom_id, LineError("engine_failed", message))

    async def _unanswered(self, lane: Lane, line: Line, custom_id: Raw, error: LineError) -> None:
        await self._record(lane, line, Kind.ERROR, unanswered(custom_id, error), None)

    async def _record(self, lane: Lane, line: Line, kind: Kind, data: bytes, usage: LineUsage | None) -> None:
        await self._segments.add(line.number, kind, data, model=lane.model, usage=usage)
        self._budget.answered(line.number, usage if kind is Kind.OUTPUT else None)
        self._orders.remaining[lane.model] -= 1
        self._end_if_done()

    def _ordered(self, lane: Lane) -> set[str]:
        return {target.engine_id for target in self._orders.targets.get(lane.model, ())}

    async def _refuse(self, lane: Lane) -> None:
        """Give every line that waits the reason why it cannot run. Those in flight may still be answered."""
        error = LineError("model_unavailable", self._orders.refused[lane.model])
        while not self._over and not self._orders.stop and (line := lane.next()):
            await self._unanswered(lane, line, self._requests[line.number].custom_id, error)

    def _rest(self, who: _Rester, seconds: float | None) -> None:
        """Send nothing there for a while: as long as the engine asked for, or longer each time."""
        if who in self._resting:
            return
        self._rests[who] += 1
        times = self._rests[who]
        if seconds is None:
            seconds = min(REST_SECONDS * 2 ** min(times - 1, 16), REST_SECONDS_MAX)
        self._resting.add(who)
        self._start(self._rested(who, seconds))

    async def _rested(self, who: _Rester, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._resting.discard(who)
        self._fill_all()
