"""`python -m infra.ceph`: a real S3 server that prints how to reach it and lives until Ctrl-C.

The first start brings Debian's packages, 70 MB; every start takes about 20 seconds.
"""

import signal
import sys
import tempfile
from pathlib import Path

from infra.ceph.rgw import Rgw


def main() -> None:
    """Run a cluster in a temporary folder; it and its objects end with this process."""
    with tempfile.TemporaryDirectory(prefix="yard-ceph-") as folder, Rgw(Path(folder)) as rgw:
        sys.stdout.write(
            "YARD_STORE_URL=s3://yard/\n"
            f"YARD_S3__ENDPOINT_URL={rgw.endpoint_url}\n"
            f"YARD_S3__PUBLIC_ENDPOINT_URL={rgw.endpoint_url}\n"
            f"YARD_S3__ACCESS_KEY_ID={rgw.access_key_id}\n"
            f"YARD_S3__SECRET_ACCESS_KEY={rgw.secret_access_key}\n"
        )
        sys.stdout.flush()
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    # Blocked from the start, so that they end a cluster that stands and not one half made.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
