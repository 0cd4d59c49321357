"""SUPERB's tasks, one folder each.

Other packages find them through the module `registry`. `cli_support` completes s3prl's own command
line. What tasks share is in `base`.
"""
