"""Files and folders of a program that refuses to run as root, and so runs as `nobody` for us.

`account` is None wherever we are not root: then the program runs as we do, with nothing to arrange.
"""

import os
import pwd
import stat
from pathlib import Path

USER = "nobody"


def account() -> pwd.struct_passwd | None:
    """Whom the program runs as, or None to stay who we are."""
    return pwd.getpwnam(USER) if os.geteuid() == 0 else None


def closed_folder(path: Path, user: pwd.struct_passwd) -> Path | None:
    """The nearest folder above `path` that `user` may not pass through; None if the way is free."""
    for folder in path.parents:
        found = folder.stat()
        if found.st_uid == user.pw_uid:
            enters = stat.S_IXUSR
        elif found.st_gid == user.pw_gid:
            enters = stat.S_IXGRP
        else:
            enters = stat.S_IXOTH
        if not found.st_mode & enters:
            return folder
    return None


def give(path: Path, user: pwd.struct_passwd | None) -> None:
    """Make `user` the owner of one file or folder."""
    if user is not None:
        os.chown(path, user.pw_uid, user.pw_gid)


def write_private(path: Path, text: str, user: pwd.struct_passwd | None) -> None:
    """Write a file whole or not at all, readable by `user` (or us) and root alone."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    with open(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)
    give(unfinished, user)
    unfinished.rename(path)
