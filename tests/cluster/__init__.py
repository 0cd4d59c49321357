"""Suites on a real Slurm, of one node on this machine."""
