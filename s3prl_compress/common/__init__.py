"""Shared utilities: user-facing errors, atomic writes, YAML, output and device checks."""
