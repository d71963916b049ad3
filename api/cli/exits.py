"""How the commands end, for scripts. `yard --help` and README.md show this table."""

from enum import IntEnum


class Exit(IntEnum):
    """A command's exit code."""

    OK = 0
    FAILED = 1  # the batch or job failed, or has failed lines; a yard cannot start here, or died
    USAGE = 2  # a wrong option or argument, a file that is not there, no key
    REFUSED = 3  # the yard said no: a 4xx answer
    UNREACHABLE = 4  # no yard at that address, or one that cannot answer now: a 5xx answer
    STOPPED = 5  # cancelled, paused, or its window closed; what was done is kept
    INTERRUPTED = 130  # Ctrl-C; what was being watched goes on


HELP = """\
Exit codes: **0** ok, **1** failed, or with failed lines, **2** usage, **3** refused by the
yard, **4** yard unreachable, **5** cancelled, paused or expired, **130** Ctrl-C (the work goes on).
"""
