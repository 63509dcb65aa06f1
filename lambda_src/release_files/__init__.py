"""Keep the static files of a release in a bucket, for browsers that still show its pages after the next release."""
