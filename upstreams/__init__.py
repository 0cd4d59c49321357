"""s3prl upstream entries, in s3prl's own convention: one package with hubconf and expert each."""
