"""Batch input files with their index, and a batch's segments kept in memory, for tests."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.batches.line_index import IndexRow, LineIndex, LineIndexBuilder
from orchestrator.batches.segments import SegmentInfo, SegmentWriter
from orchestrator.errors import LeaseLost
from orchestrator.storage.store import ObjectStore

CHAT = "/v1/chat/completions"


def chat_line(number: int, *, model: str = "m", **body: Any) -> dict[str, Any]:
    """Line `number` (from 0) of a batch file: its custom_id and its message tell it apart."""
    messages = [{"role": "user", "content": f"say {number}"}]
    return {
        "custom_id": f"line-{number}",
        "method": "POST",
        "url": CHAT,
        "body": {"model": model, "messages": messages} | body,
    }


def write_batch(path: Path, lines: Sequence[dict[str, Any]]) -> LineIndex:
    """Write the lines to `path` and index them, without any of the checks of a real preparation."""
    models = sorted({line["body"]["model"] for line in lines})
    endpoints = sorted({line["url"] for line in lines})
    rows, offset = [], 0
    with path.open("wb") as file:
        for line in lines:
            raw = json.dumps(line, ensure_ascii=False).encode()
            rows.append(
                IndexRow(
                    offset=offset,
                    length=len(raw),
                    model=models.index(line["body"]["model"]),
                    endpoint=endpoints.index(line["url"]),
                    wanted=True,
                )
            )
            offset += file.write(raw + b"\n")
    builder = LineIndexBuilder()
    builder.add(rows)
    return builder.build(models, endpoints)


@dataclass
class Shelf:
    """The segments one batch has adopted, with their objects in a real store."""

    store: ObjectStore
    adopted: list[SegmentInfo] = field(default_factory=list)
    attempt: int = 1
    lease_lost_after: int | None = None  # segments

    def writer(self, **options: Any) -> SegmentWriter:
        """A writer for this attempt."""
        return SegmentWriter(self._put, self._adopt, **options)

    async def _put(self, sequence: int, data: bytes) -> str:
        key = f"segments/{self.attempt}-{sequence}.tsv"
        await self.store.put(key, data)
        return key

    async def _adopt(self, info: SegmentInfo) -> None:
        if self.lease_lost_after is not None and len(self.adopted) >= self.lease_lost_after:
            raise LeaseLost("batch_1")
        self.adopted.append(info)
