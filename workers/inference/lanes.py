"""The lines of a batch that wait to be sent, a lane for each model."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Line:
    """A line that has been sent, and what happened to it."""

    number: int
    lost_with: list[str] = field(default_factory=list)  # engines that died with it, by id
    refusals: int = 0


@dataclass
class Lane:
    """The lines of one model that wait."""

    model: str
    order: Sequence[int]
    sent: int = 0  # of `order`
    again: deque[Line] = field(default_factory=deque)
    suspects: deque[Line] = field(default_factory=deque)
    held_back: Line | None = None  # was to be sent next, and waits for money
    in_flight: dict[str, int] = field(default_factory=dict)  # by engine

    def next(self) -> Line | None:
        """The next line to send, if any may be sent now."""
        if self.held_back:
            line, self.held_back = self.held_back, None
            return line
        if self.again:
            return self.again.popleft()
        if self.sent < len(self.order):
            self.sent += 1
            return Line(int(self.order[self.sent - 1]))
        if self.suspects and not any(self.in_flight.values()):
            return self.suspects.popleft()
        return None
