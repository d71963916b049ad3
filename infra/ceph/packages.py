"""Ceph's programs, from Debian's packages unpacked into a folder: nothing is installed."""

import os
import shutil
import subprocess
from pathlib import Path

from orchestrator.settings import PROJECT

PACKAGES = ("radosgw", "ceph-mon", "ceph-osd", "ceph-common")
CACHE = PROJECT / ".yard-ceph"
APT_SECONDS = 600


def programs() -> Path:
    """The folder under which `usr/bin/radosgw` and its libraries lie: `/` where Ceph is installed,
    otherwise the packages, which are brought once (70 MB) and kept. Raises CalledProcessError."""
    if all(shutil.which(name) for name in ("radosgw", "ceph-mon", "ceph-osd", "ceph")):
        return Path("/")
    root = CACHE / "root"
    if not root.exists():
        half = CACHE / "root.half"
        shutil.rmtree(half, ignore_errors=True)
        for package in _download(CACHE / "archives"):
            subprocess.run(["dpkg", "-x", package, half], check=True)
        half.rename(root)
    return root


def _download(archives: Path) -> list[Path]:
    """The packages and whatever of their dependencies this machine lacks."""
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        _apt("update")
    _apt(
        "install",
        *("--yes", "--no-install-recommends", "--download-only"),
        *("-o", f"Dir::Cache::archives={archives}"),
        *("-o", "Debug::NoLocking=1"),  # the lock is root's, and nothing is installed
        *PACKAGES,
    )
    return sorted(archives.glob("*.deb"))


def _apt(*words: str) -> None:
    command = ["apt-get", "--quiet=2", "-o", "APT::Sandbox::User=root", *words]
    subprocess.run(command, check=True, timeout=APT_SECONDS)
