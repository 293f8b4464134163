"""A real Slurm of one node, on loopback, in a temporary folder; nothing of a Slurm that is installed is touched."""

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

__all__ = ["PrivateSlurm", "missing_programs", "private_slurm", "wait_until"]

_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
# The node refuses a start whose credential is not younger, in whole seconds, than the end of the start before.
_REVOCATION_SECONDS = 3.0
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel")

_CONFIG = """\
ClusterName=private
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
SlurmdParameters=config_overrides
BatchStartTimeout=1
MessageTimeout=5
ReturnToService=2
JobRequeue=1
NodeName=node1 NodeHostname=localhost NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
"""


def missing_programs() -> list[str]:
    """Return the programs of Slurm that are not installed here."""
    return [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]


def wait_until(condition: Callable[[], bool], *, seconds: float = 60, what: str) -> None:
    """Ask again and again until ``condition`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.2)


class PrivateSlurm:
    """The running daemons, and the commands that talk to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"PATH": _PATH, "SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "state").mkdir()
        (folder / "spool").mkdir()
        (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
        (folder / "munge.key").chmod(0o600)
        controller_port, node_port = _free_ports()
        (folder / "slurm.conf").write_text(
            _CONFIG.format(
                folder=folder, user=getpass.getuser(), controller_port=controller_port, node_port=node_port
            ),
            encoding="utf-8",
        )

    def command(self, *words: str) -> str:
        """Run one of Slurm's commands and return what it prints."""
        result = subprocess.run(
            words, env=os.environ | self.environment, capture_output=True, text=True, timeout=30, check=False
        )
        assert result.returncode == 0, f"{words}: {result.stderr}"
        return result.stdout

    def tasks(self, array: str) -> dict[int, dict[str, str]]:
        """Return what Slurm knows of each task of an array, by number; tasks that never ran are left out."""
        listed = self.command("scontrol", "--oneliner", "show", "job", array).splitlines()
        facts = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in listed]
        return {int(task["ArrayTaskId"]): task for task in facts if task["ArrayTaskId"].isdecimal()}

    def states(self, array: str) -> dict[int, str]:
        """Return the state of each task of an array."""
        return {number: task["JobState"] for number, task in self.tasks(array).items()}

    def skip_delay(self, array: str) -> None:
        """Start the tasks that were queued again without the two minutes that Slurm would wait."""
        wait_until(
            lambda: "COMPLETING" not in self.states(array).values(), what="the old starts to be put away"
        )
        time.sleep(_REVOCATION_SECONDS)

        def have_started() -> bool:
            waiting = [number for number, state in self.states(array).items() if state == "PENDING"]
            for number in waiting:
                with contextlib.suppress(AssertionError):  # it has started by itself meanwhile
                    self.command("scontrol", "update", f"JobId={array}_{number}", "StartTime=now")
            return not waiting

        wait_until(have_started, what="the queued tasks to start")

    def start(self) -> None:
        """Start the daemons and wait until the node takes jobs."""
        socket_path = self.folder / "munge.socket"
        files = [f"--{name}={self.folder}/munge.{name[:4]}" for name in ("seed-file", "pid-file", "log-file")]
        key = f"--key-file={self.folder}/munge.key"
        self._start("munged", "--foreground", "--force", key, f"--socket={socket_path}", *files)
        wait_until(socket_path.is_socket, what="munged's socket")
        self._start("slurmctld", "-D")
        self._start_node()

    def crash_node(self, array: str) -> None:
        """Kill the node with everything on it, boot it, and wait until Slurm has missed the array's tasks."""
        self._kill_node()
        self._start_node()

        def has_noticed() -> bool:
            self.command("scontrol", "reconfigure")  # the node reports what runs on it
            return "RUNNING" not in self.states(array).values()

        wait_until(has_noticed, what="the controller to miss its tasks")

    def stop(self) -> None:
        """End the jobs and the daemons."""
        self._kill_node()
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
            daemon.wait(timeout=30)

    def logs(self) -> str:
        """Return the daemons' last words."""
        return "\n".join(
            f"{path.name}: {path.read_text(errors='replace')[-1500:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    def _start(self, name: str, *words: str) -> None:
        program = shutil.which(name, path=_PATH)
        assert program is not None
        with (self.folder / f"{name}.out.log").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                [program, *words], env=os.environ | self.environment, stdout=out, stderr=out
            )

    def _start_node(self) -> None:
        self._start("slurmd", "-D", "-N", "node1")
        wait_until(self._is_up, what=f"the node\n{self.logs()}")

    def _is_up(self) -> bool:
        answer = subprocess.run(
            ["scontrol", "--oneliner", "show", "node", "node1"],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return any(f"State={state} " in answer.stdout for state in ("IDLE", "MIXED", "ALLOCATED"))

    def heeds_term(self, array: str, task: int) -> bool:
        """Return whether this task's kdcache has come so far that a SIGTERM is no longer the end of it."""
        names = {f"SLURM_ARRAY_JOB_ID={array}", f"SLURM_ARRAY_TASK_ID={task}"}
        for pid in self._processes_of_jobs():
            with contextlib.suppress(OSError):
                entry = Path(f"/proc/{pid}")
                environment = (entry / "environ").read_text(errors="replace").split("\0")
                is_kdcache = "\0precompute\0" in (entry / "cmdline").read_text(errors="replace")
                if is_kdcache and names <= set(environment) and _catches_term(entry):
                    return True
        return False

    def _kill_node(self) -> None:
        node = self._daemons.pop("slurmd", None)
        if node is not None:
            node.kill()
            node.wait(timeout=30)
        for pid in self._processes_of_jobs():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _processes_of_jobs(self) -> list[int]:
        """Return what runs below this node's batch scripts, and the keeper (slurmstepd) of each of them."""
        parents, scripts = {}, []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if f"{self.folder}/spool/" in (entry / "cmdline").read_text(errors="replace"):
                    scripts.append(int(entry.name))
        keepers = {parents[pid] for pid in scripts if _is_keeper(parents[pid])}
        return [*keepers, *(pid for pid in parents if _ancestors(pid, parents) & {*keepers, *scripts})]


def _catches_term(process: Path) -> bool:
    lines = (process / "status").read_text(encoding="utf-8").splitlines()
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def _is_keeper(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").startswith("slurmstepd")


def _ancestors(pid: int, parents: dict[int, int]) -> set[int]:
    """Return ``pid`` and everything above it."""
    found: set[int] = set()
    while pid in parents:
        found.add(pid)
        pid = parents[pid]
    return found


def _free_ports() -> Sequence[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def private_slurm() -> Iterator[PrivateSlurm]:
    """Run a Slurm for the length of a ``with`` block."""
    # Sockets lie in the folder, and their paths must be short: pytest's folders may be too deep.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        slurm = PrivateSlurm(Path(folder))
        try:
            slurm.start()
            yield slurm
        finally:
            slurm.stop()
