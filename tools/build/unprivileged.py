"""PostgreSQL as root: which user it runs as, and how that one gets at its programs and data."""

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
    """PostgreSQL refuses to run as root, so root hands it to `nobody`.

    With one capability, or nothing below /root or a 0700 folder of mkdtemp could be used.
    """
    if os.getuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        raise RuntimeError(
            "PostgreSQL refuses to run as root, and util-linux's setpriv is not there to start it as another user: install it."
        )
    nobody = pwd.getpwuid(server_uid())
    return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups",
            "--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--"]  # fmt: skip


def reachable(installation: Path) -> Path:
    """The installation, or a copy of it where PostgreSQL's programs can get at each other.

    initdb asks access(2) for them, which heeds no capability: below /root or a 0700 folder root's `nobody` finds nothing.
    And like pg_dumpall it names them to a shell, in double quotes. The copy is this user's own, and used again.
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
        except OSError:  # somebody else was faster
            shutil.rmtree(draft)
    if copy.is_symlink() or copy.stat().st_uid != os.getuid():
        raise PermissionError(f"{copy} is not this user's own: remove it")
    return copy
