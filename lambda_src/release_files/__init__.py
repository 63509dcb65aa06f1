"""The static files of a release, kept in a bucket for browsers that still show its pages when another release runs."""
