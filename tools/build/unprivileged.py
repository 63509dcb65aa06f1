"""Run PostgreSQL as another user when this process is root, with access to programs and data."""

import os
import pwd
import re
import shutil
import stat
import tempfile
from pathlib import Path


def server_uid() -> int:
    return os.getuid() or pwd.getpwnam("nobody").pw_uid


def unprivileged() -> list[str]:
    """The command prefix that starts PostgreSQL as `nobody` if we are root: it refuses to run as root.

    One capability gives access to folders below /root and to 0700 folders of mkdtemp.
    """
    if os.getuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        raise RuntimeError(
            "PostgreSQL refuses to run as root, and util-linux's setpriv, which starts it as another user, is missing: install util-linux."
        )
    nobody = pwd.getpwuid(server_uid())
    return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups",
            "--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--"]  # fmt: skip


def reachable(installation: Path) -> Path:
    """The installation, or a copy of it where PostgreSQL's programs can find each other.

    initdb uses access(2), which ignores capabilities: `nobody` finds nothing below /root or a 0700 folder. Like pg_dumpall, it passes
    paths to a shell in double quotes. The copy belongs to this user and is reused.
    """
    searchable = os.getuid() != 0 or all(folder.stat().st_mode & stat.S_IXOTH for folder in installation.parents)
    if searchable and not re.search(r'[$`"\\]', str(installation)):
        return installation
    copy = Path("/var/tmp") / f"carmen-{os.getuid()}-{installation.name}"
    if not copy.exists():
        draft = Path(tempfile.mkdtemp(prefix=f"{copy.name}-", dir=copy.parent))
        shutil.copytree(installation, draft, dirs_exist_ok=True, symlinks=True)
        draft.chmod(0o755)
        try:
            draft.rename(copy)
        except OSError:  # another process was faster
            shutil.rmtree(draft)
    if copy.is_symlink() or copy.stat().st_uid != os.getuid():
        raise PermissionError(f"{copy} belongs to another user: remove it")
    return copy
