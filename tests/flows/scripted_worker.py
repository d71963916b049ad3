"""A yard worker as in production, with the tests' flows as one module more of ours."""

import sys

from flows import worker
from tests.flows import scripted

if __name__ == "__main__":
    sys.modules["flows.scripted"] = scripted
    worker.main()
