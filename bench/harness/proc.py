"""What the kernel knows of processes and of the machine: processor time, memory."""

import os
from contextlib import suppress
from pathlib import Path

from bench.harness.failure import Failed

_TICKS = os.sysconf("SC_CLK_TCK")


def machine_cpu() -> tuple[float, float]:
    """CPU seconds of the whole machine so far: busy, and what the hypervisor gave to others."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, stolen = (int(field) / _TICKS for field in fields)
    return user + nice + system + irq + softirq, stolen


def cpu_of_one(pid: int) -> float:
    """user+sys of one process with all its threads so far; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except FileNotFoundError:
        return 0.0
    return _seconds(fields)


def cpu_of(pid: int) -> float:
    """user+sys of a process and those that it started, with all their threads so far, also of threads that ended."""
    return sum(_seconds(fields) for fields in _family(pid).values())


def peak_mb_of(pid: int) -> float:
    """Its peak memory, and that of those that it started. Not wait4's: that begins with the memory of the process that
    forked it."""
    return sum(memory_mb(each, "VmHWM") for each in _family(pid))


def memory_mb(pid: int, field: str = "VmRSS") -> float:
    """A figure of memory of /proc/PID/status: resident at the moment (VmRSS), or the most that it was (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise Failed(f"no {field} of process {pid}")


def _seconds(fields: list[str]) -> float:
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _family(pid: int) -> dict[int, list[str]]:
    """The process, and all that it started and that still live: the fields of /proc/PID/stat from the state on."""
    everyone = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            everyone[int(folder.name)] = (folder / "stat").read_text().rpartition(") ")[2].split()
    if pid not in everyone:
        raise Failed("its process has ended")
    family = [pid]
    for member in family:
        family += [each for each, fields in everyone.items() if int(fields[1]) == member]
    return {each: everyone[each] for each in family}
