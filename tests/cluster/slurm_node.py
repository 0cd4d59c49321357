"""A Slurm of one node on this machine, all of it below one folder, for as long as a block lasts.

Needs Debian's packages `slurm-wlm` and `munge`, and root. There is no accounting, as on many small
clusters. Two partitions: a job in `high` preempts those in `low`, which are requeued.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
CPUS = 2

CONFIG = """\
ClusterName=proof
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
# A requeued job may start again once its old credential has expired: 120 s by default, 5 at
# least.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=3
InactiveLimit=0
ReturnToService=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2
"""


def why_not() -> str | None:
    """Return why a Slurm cannot be started here, in one line; None where it can."""
    missing = [name for name in PROGRAMS if _program(name) is None]
    if missing:
        return f"no {', '.join(missing)}: install Debian's slurm-wlm and munge"
    if os.geteuid() != 0:
        return "Slurm's daemons are started by root only"
    return None


@contextmanager
def slurm_node(folder: Path) -> Iterator[None]:
    """Start the daemons, with `SLURM_CONF` set; end them and all their jobs with the block."""
    folder.mkdir(parents=True)
    daemons: list[subprocess.Popen[bytes]] = []
    before = os.environ.get("SLURM_CONF")
    try:
        daemons.append(_start_munge(folder))
        _wait(lambda: (folder / "munge.socket").exists(), "munged", folder)
        config = folder / "slurm.conf"
        config.write_text(
            CONFIG.format(
                host=socket.gethostname().partition(".")[0],
                folder=folder,
                cpus=CPUS,
                controller_port=_free_port(),
                node_port=_free_port(),
            )
        )
        for part in ("state", "spool"):
            (folder / part).mkdir()
        os.environ["SLURM_CONF"] = str(config)
        for name in ("slurmctld", "slurmd"):
            daemons.append(
                _start([_program(name), "-D", "-f", str(config)], folder / f"{name}.out")
            )
        _wait(lambda: "idle" in ask("sinfo", "--noheader", "--format=%T"), "an idle node", folder)
        yield
    finally:
        if "SLURM_CONF" in os.environ:
            subprocess.run(["scancel", "--user=root"], check=False, capture_output=True)
            _settle()
        for daemon in reversed(daemons):
            _end(daemon)
        os.environ.pop("SLURM_CONF", None)
        if before is not None:
            os.environ["SLURM_CONF"] = before


def ask(*command: str) -> str:
    """Return what one of Slurm's commands prints; nothing while the controller is away."""
    answer = subprocess.run(command, check=False, capture_output=True, text=True)
    return answer.stdout if answer.returncode == 0 else ""


def jobs() -> dict[str, tuple[str, str]]:
    """Return the queue: number and state of each job, by its name."""
    lines = ask("squeue", "--noheader", "--format=%j|%A|%T").split()
    return {name: (number, state) for name, number, state in (line.split("|") for line in lines)}


def restarts(number: str) -> int:
    """Return how often a job was requeued."""
    fields = dict(
        part.split("=", 1) for part in ask("scontrol", "show", "job", number).split() if "=" in part
    )
    return int(fields.get("Restarts", 0))


def _start_munge(folder: Path) -> subprocess.Popen[bytes]:
    """Start munged under its own user, with a key of its own."""
    secret = folder / "munge"
    secret.mkdir(mode=0o700)
    key = secret / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    for path in (secret, key):
        shutil.chown(path, "munge", "munge")
    # The socket's folder is one that others can reach.
    shutil.chown(folder, "munge", "munge")
    folder.chmod(0o755)
    command = [
        _program("munged"), "--foreground", "--force", f"--key-file={key}",
        f"--socket={folder}/munge.socket", f"--pid-file={secret}/pid",
        f"--log-file={secret}/log", f"--seed-file={secret}/seed",
    ]  # fmt: skip
    return _start(command, folder / "munged.out", user="munge")


def _start(
    command: list[str | None], output: Path, user: str | None = None
) -> subprocess.Popen[bytes]:
    with output.open("wb") as file:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(timeout=15)
    except subprocess.TimeoutExpired:
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()


def _settle() -> None:
    """Wait until the cancelled jobs have gone."""
    until = time.monotonic() + 30
    while jobs() and time.monotonic() < until:
        time.sleep(0.5)


def _wait(is_there: Callable[[], bool], what: str, folder: Path) -> None:
    until = time.monotonic() + 60
    while not is_there():
        if time.monotonic() > until:
            logs = "\n".join(path.read_text(errors="replace") for path in folder.glob("*.out"))
            raise RuntimeError(f"there is no {what} after a minute\n{logs}")
        time.sleep(0.2)


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
