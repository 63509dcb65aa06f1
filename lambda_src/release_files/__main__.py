"""Keeps the static files of a release: the Fargate task's entry (constructs_lib/release_files.py).

    FILES_FOLDER=… FILES_BUCKET=… python -m release_files

Ends with 0 when all files are in the bucket, 1 otherwise, with a message.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from common.aws import client

from release_files.publishing import NotAFolderOfFiles, publish


def main() -> int:
    """The command line."""
    folder, bucket = Path(os.environ["FILES_FOLDER"]), os.environ["FILES_BUCKET"]
    try:
        done = publish(folder, bucket, client("s3"))
    except (NotAFolderOfFiles, OSError, BotoCoreError, ClientError) as error:
        print(f"The files are not all in {bucket}: {error}", file=sys.stderr)
        return 1
    print(f"In {bucket}: {done.files} files, {done.size_bytes:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
