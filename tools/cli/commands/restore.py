"""`make restore ACTION=list|verify|restore …`: the restore command with PostgreSQL's client programs of this machine.

The variables of the command line are options: `make restore ACTION=restore BACKUP=newest HOST=… LOGIN=… DATABASE=…` is
`python -m restore restore --backup newest --host … --user … --database …`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from restore import __main__ as restore

from settings.loader import SettingsError, load
from tools.build.postgres_wheels import MAJORS, install

OPTIONS = {name: f"--{name.lower()}" for name in ("ENV", "BACKUP", "BUCKET", "HOST", "PORT", "SECRET", "DATABASE", "JOBS", "FOLDER")}
OPTIONS["LOGIN"] = "--user"  # USER is the shell's
ROOT = Path(__file__).parents[3]


def main() -> int:
    """Ends as the restore command does."""
    try:
        region = load(os.environ.get("ENV", "prod")).region
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    os.environ.setdefault("AWS_REGION", region)
    arguments = [os.environ.get("ACTION") or "list"]
    for variable, option in OPTIONS.items():
        if value := os.environ.get(variable):
            arguments += [option, value]
    for word in os.environ.get("ALLOW", "").replace(",", " ").split():
        arguments += ["--allow", word]
    restore.parser().parse_args(arguments)  # what is wrong with it is said before anything is installed
    if not os.environ.get("POSTGRESQL_HOME"):
        os.environ["POSTGRESQL_HOME"] = str(install(max(MAJORS), ROOT / ".local" / "postgresql"))
    return restore.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
