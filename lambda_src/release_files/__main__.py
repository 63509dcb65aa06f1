"""Upload the static files of a release. The Fargate task runs this (constructs_lib/service/release_files.py).

    FILES_FOLDER=… FILES_BUCKET=… python -m release_files

Exit codes: 0 if all files are in the bucket, 1 otherwise.
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
        print(f"Some static files are missing in s3://{bucket}: {error}. Deploy the release again.", file=sys.stderr)
        return 1
    print(f"Uploaded to s3://{bucket}: {done.files} files, {done.size_bytes:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
