#!/usr/bin/env bash
# The proof that a suite runs on Slurm, on this machine: installs Debian's Slurm and munge, starts
# one node, lets its jobs be preempted, requeued and killed, and compares the records with those
# of an undisturbed run. Needs root; nothing is left running. PYTHON names the interpreter.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v sbatch >/dev/null || ! command -v munged >/dev/null; then
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slurm-wlm munge
fi
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ -x .venv/bin/python ] && PYTHON=.venv/bin/python
fi
exec "$PYTHON" -m pytest tests/cluster -rs --durations=5 "$@"
