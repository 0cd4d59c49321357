"""Training heads on the features of a frozen upstream: the core of the one-pass engine."""
