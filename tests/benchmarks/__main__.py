"""Every benchmark, or those named, one after the other, each with its table.

    python -m tests.benchmarks [--quick] [name …]

Starts what it needs, keeps everything in folders that it removes, and needs the gpu environment.
`--quick` tries the benchmarks themselves: its figures say nothing.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping

from tests.benchmarks import (
    adapters,
    api_latency,
    driver_overhead,
    idle,
    in_flight,
    limit_checks,
    many_small,
    overshoot,
    overtaking,
    quote_error,
    training,
    upload,
    validation,
    warm_batch,
)
from tests.benchmarks.table import Table, machine

BENCHMARKS: Mapping[str, Callable[..., Table]] = {
    "idle": idle.measure,
    "upload": upload.measure,
    "api_latency": api_latency.measure,
    "limit_checks": limit_checks.measure,
    "validation": validation.measure,
    "driver_overhead": driver_overhead.measure,
    "in_flight": in_flight.measure,
    "warm_batch": warm_batch.measure,
    "many_small": many_small.measure,
    "adapters": adapters.measure,
    "overtaking": overtaking.measure,
    "overshoot": overshoot.measure,
    "quote_error": quote_error.measure,
    "training": training.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the benchmarks")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    print(f"{machine()}\n", flush=True)
    for name in options.names or BENCHMARKS:
        began = time.monotonic()
        table = BENCHMARKS[name](quick=options.quick)
        print(table.markdown(), flush=True)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
