"""The order in which a batch's lines are sent. Pure.

An engine keeps the prompts it has seen in a prefix cache. Lines that begin alike hit it if they
come together; shuffled, they evict each other: on a small cache, order alone gave 1.7 times the
lines per second. Where nothing is shared, order gains nothing, so the lines stay as they came.
"""

import numpy as np
from numpy.typing import NDArray

from orchestrator.batches.line_index import LineIndex

Lines = NDArray[np.int64]


def order(index: LineIndex, todo: Lines) -> dict[str, Lines]:
    """The lines of `todo` (from 0, ascending) by model, each model's in the order to send them."""
    model_of = index.model[todo]
    return {
        index.models[number]: _by_prefix(index, todo[model_of == number])
        for number in np.unique(model_of).tolist()
    }


def _by_prefix(index: LineIndex, lines: Lines) -> Lines:
    """Lines with a common prefix side by side; groups with the longest line first, as a long line
    that starts late is what a batch waits for in the end."""
    prefix = index.prefix[lines]
    _, group, sizes = np.unique(prefix[:, 0], return_inverse=True, return_counts=True)
    if len(sizes) == len(lines):
        return lines
    work = index.prompt_tokens[lines].astype(np.int64) + index.max_output_tokens[lines]
    longest = np.zeros(len(sizes), dtype=np.int64)
    np.maximum.at(longest, group, work)
    # lexsort reads its keys from the last to the first
    return lines[np.lexsort((lines, *prefix.T[::-1], -longest[group]))]
