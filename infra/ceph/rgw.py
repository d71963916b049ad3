"""A real S3 server on this machine: Ceph's object gateway over one monitor and one small disk.

It checks signatures, lets addresses expire and keeps its objects over a restart, which the server
of `infra/s3_server.py` does not. It runs from a folder, without root and without an installation.
"""

import os
import secrets
import socket
import subprocess
import time
import uuid
from pathlib import Path
from urllib.request import urlopen

from infra.ceph import packages
from orchestrator.child_process import ChildProcess
from orchestrator.settings import inherited_environment

START_SECONDS = 120
STOP_SECONDS = 20
COMMAND_SECONDS = 60
DISK_BYTES = 4 << 30  # a sparse file
_MACHINE = f"{os.uname().machine}-linux-gnu"  # as Debian names its library folders

_CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_v2},v1:127.0.0.1:{mon_v1}]
public addr = 127.0.0.1
# radosgw refuses to work without cephx
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = {folder}/keyring
# one copy on one disk
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 500
# a nearly full machine is no reason to stop
mon data avail crit = 1
mon data avail warn = 2
run dir = {folder}
crash dir = {folder}
admin socket = {folder}/$name.asok
pid file = {folder}/$name.pid
log file = {folder}/$name.log
plugin dir = {root}/usr/lib/{machine}/ceph
erasure code dir = {root}/usr/lib/{machine}/ceph/erasure-code
osd class dir = {root}/usr/lib/{machine}/rados-classes
[mon.a]
mon data = {folder}/mon
[osd.0]
osd data = {folder}/osd
osd memory target = 939524096
bluestore block size = {disk_bytes}
[client.admin]
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{rgw}
rgw dns name = 127.0.0.1
rgw enable apis = s3
rgw enable ops log = false
rgw enable usage log = false
"""


class Rgw:
    """One cluster in `folder`, which must be empty. A context manager: it runs inside the block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._root = packages.programs()
        self._daemons: list[ChildProcess] = []
        mon_v2, mon_v1, rgw = _free_ports(3)
        self.endpoint_url = f"http://127.0.0.1:{rgw}"
        self.access_key_id = secrets.token_hex(8)
        self.secret_access_key = secrets.token_hex(16)
        self._fsid = str(uuid.uuid4())
        self._monitor = f"[v2:127.0.0.1:{mon_v2},v1:127.0.0.1:{mon_v1}]"
        self._configuration = _CONFIGURATION.format(
            fsid=self._fsid,
            folder=self._folder,
            root=self._root,
            machine=_MACHINE,
            disk_bytes=DISK_BYTES,
            mon_v2=mon_v2,
            mon_v1=mon_v1,
            rgw=rgw,
        )

    def __enter__(self) -> "Rgw":
        try:
            self._make_monitor()
            self._make_disk()
            self._make_user()
            self._start_gateway()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def restart(self) -> None:
        """Stop every daemon and start it again on the same disk. Raises RuntimeError."""
        self.stop()
        self._start_daemon("ceph-mon", "-i", "a")
        self._start_daemon("ceph-osd", "-i", "0")
        self._start_gateway()

    def stop(self) -> None:
        """End every daemon, the gateway first."""
        while self._daemons:
            self._daemons.pop().terminate(STOP_SECONDS)

    def _make_monitor(self) -> None:
        (self._folder / "mon").mkdir(parents=True)
        (self._folder / "ceph.conf").write_text(self._configuration)
        monmap, keyring = str(self._folder / "monmap"), str(self._folder / "keyring")
        self._run("monmaptool", "--create", "--fsid", self._fsid, "--addv", "a", self._monitor, monmap)
        key = ("ceph-authtool", keyring, "--gen-key", "--cap", "mon", "allow *")
        self._run(*key, "--create-keyring", "-n", "mon.")
        self._run(*key, "-n", "client.admin", "--cap", "osd", "allow *", "--cap", "mgr", "allow *")
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap, "--keyring", keyring)
        self._start_daemon("ceph-mon", "-i", "a")

    def _make_disk(self) -> None:
        (self._folder / "osd").mkdir()
        disk = str(uuid.uuid4())
        self._ceph("osd", "new", disk)
        rights = ("mon", "allow profile osd", "osd", "allow *")
        with (self._folder / "keyring").open("a") as keyring:
            keyring.write(self._ceph("auth", "get-or-create", "osd.0", *rights))
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
        self._ceph("osd", "crush", "add", "osd.0", "1.0", "root=default", "host=here")
        self._start_daemon("ceph-osd", "-i", "0")

    def _make_user(self) -> None:
        (self._folder / "rgw").mkdir()
        keys = (f"--access-key={self.access_key_id}", f"--secret-key={self.secret_access_key}")
        self._run("radosgw-admin", "user", "create", "--uid=yard", "--display-name=yard", *keys)

    def _start_gateway(self) -> None:
        gateway = self._start_daemon("radosgw", "-n", "client.admin")
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if gateway.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the gateway did not start: {gateway.tail()}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            with urlopen(self.endpoint_url, timeout=1):
                return True
        except OSError:
            return False

    def _start_daemon(self, name: str, *words: str) -> ChildProcess:
        daemon = ChildProcess.spawn(
            [*self._program(name), *words, "-f"],
            env=self._environment(),
            log=self._folder / f"{name}.out",
            cwd=self._folder,
        )
        self._daemons.append(daemon)
        return daemon

    def _ceph(self, *words: str) -> str:
        return self._run("ceph", "--connect-timeout", "20", *words)

    def _run(self, name: str, *words: str) -> str:
        """What the program prints. Raises RuntimeError with its complaint."""
        done = subprocess.run(
            [*self._program(name), *words],
            env=self._environment(),
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{name} {words[0]} failed: {done.stderr[-2000:]}")
        return done.stdout

    def _program(self, name: str) -> list[str]:
        program = str(self._root / "usr/bin" / name)
        if name == "ceph":  # a script for Debian's own Python
            return ["/usr/bin/python3", program]
        return [program]

    def _environment(self) -> dict[str, str]:
        """Ours, and where the programs find their libraries and `ceph.conf`."""
        environment = inherited_environment()
        environment["CEPH_CONF"] = str(self._folder / "ceph.conf")
        if self._root != Path("/"):
            folders = (f"usr/lib/{_MACHINE}", f"usr/lib/{_MACHINE}/ceph", f"lib/{_MACHINE}")
            environment["LD_LIBRARY_PATH"] = ":".join(str(self._root / name) for name in folders)
            environment["PYTHONPATH"] = str(self._root / "usr/lib/python3/dist-packages")
        return environment


def _free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody uses now, all different."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports
