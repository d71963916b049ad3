"""Events of a stream, and what they tell of tokens."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.sandbox import events
from api.sandbox.events import EventTooLarge, Tally, split
from orchestrator.batches.segments import LineUsage


def event(**chunk: Any) -> bytes:
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode()


def usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion}


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_events_are_whole_however_they_come(end: bytes, size: int) -> None:
    sent = [event(said="a\u2028b\x85c"), b": still there", b"event: x\ndata: {}", b"data: [DONE]"]
    assert [found async for found in split(pieces(end.join(sent) + end, size))] == sent


async def test_an_event_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "EVENT_BYTES_MAX", 100)
    with pytest.raises(EventTooLarge):
        [found async for found in split(pieces(b"x" * 1000, 10))]


def test_counts_in_every_chunk_are_taken_out_and_the_last_is_dropped() -> None:
    tally = Tally(wants_usage=False)
    choice = {"delta": {"content": 'data: "usage"'}}
    assert tally.used() is None
    shown = tally.shown(event(choices=[choice], usage=usage(7, 1)))
    assert json.loads((shown or b"").removeprefix(b"data: ")) == {"choices": [choice]}
    assert tally.used() == LineUsage(input_tokens=7, output_tokens=1)
    assert tally.shown(event(choices=[], usage=usage(7, 2))) is None
    assert tally.used() == LineUsage(input_tokens=7, output_tokens=2)


def test_counts_that_were_asked_for_are_shown() -> None:
    last = event(choices=[], usage=usage(7, 2))
    each = event(choices=[{"delta": {}}], usage=usage(7, 2))
    assert Tally(wants_usage=True).shown(last) == last
    assert b"usage" not in (Tally(wants_usage=True).shown(each) or b"usage")
    assert Tally(wants_usage=True, wants_every_usage=True).shown(each) == each


def test_a_server_that_does_not_count_has_a_token_a_chunk() -> None:
    tally = Tally(wants_usage=True)
    for _ in range(3):
        tally.shown(event(choices=[{"delta": {"content": "x"}}]))
    assert tally.used() == LineUsage(output_tokens=3)


def test_a_response_counts_at_its_end_and_passes_as_it_came() -> None:
    tally = Tally(wants_usage=True)
    delta = b"event: response.output_text.delta\n" + event(type="response.output_text.delta", delta="Hi")
    end = event(type="response.completed", response={"usage": {"input_tokens": 4, "output_tokens": 9}})
    assert tally.shown(delta) == delta
    assert tally.used() == LineUsage(output_tokens=1)
    assert tally.shown(b"event: response.completed\n" + end) == b"event: response.completed\n" + end
    assert tally.used() == LineUsage(input_tokens=4, output_tokens=9)
