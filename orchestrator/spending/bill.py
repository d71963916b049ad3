"""The arithmetic of grants: what a piece of live work may cost, out of what is left. Pure.

Work spends only what it was granted, asks for more in time, and gives back what is of no use to it. So the
grants of all work never add up to more than there is, and what is left over finds its way to whoever can
use it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bill:
    """What work has cost and asks for, in micro-dollars. `pending` is expected of what is in flight, which
    cannot be taken back; `wanted` is what it would like beyond both, 0 while its grant will do; less than
    `least` of that is of no use."""

    spent: int = 0
    pending: int = 0
    wanted: int = 0
    least: int = 0

    @property
    def committed(self) -> int:
        """What it will have cost if nothing more is begun."""
        return self.spent + self.pending

    def helped_by(self, granted: int) -> bool:
        """Whether something more can be begun with this grant, or nothing is wanted."""
        return self.wanted == 0 or granted - self.committed >= self.least


def grant(bill: Bill, *, granted: int, room: int) -> int:
    """The grant from now on, where it was `granted` and all others leave `room` under the cap.

    Never less than what is committed, even above a cap that was lowered; never more than the room otherwise.
    """
    asked = max(granted, bill.committed + bill.wanted)
    new = max(bill.committed, min(asked, room))
    return new if bill.helped_by(new) else bill.committed
