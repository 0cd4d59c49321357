"""The s3prl upstream `compressed`, for everything that `s3prl_compress.load` reads."""
