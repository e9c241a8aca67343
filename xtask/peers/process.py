#!/usr/bin/env python3
"""Runs a command and prints one JSON object: its time in milliseconds, and the most memory that it held, in MB.

    process.py COMMAND [ARGUMENT...]

The time is that of the whole process. The memory is VmHWM, which is read while the process runs, for it only grows:
what the kernel tells of a process that has ended counts its parent's memory at the start too.
"""
import json
import subprocess
import sys
import time

PAUSE = 0.001


def peak(process):
    """Bytes that it held at most so far; 0 once it has ended."""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
        return sum(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM:"))


def main():
    begin, most = time.perf_counter(), 0
    with subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            most = max(most, peak(process))
            time.sleep(PAUSE)
        took = (time.perf_counter() - begin) * 1e3
    if process.returncode != 0:
        sys.exit(process.returncode)
    print(json.dumps({"median_ms": took, "min_ms": took, "peak_mb": most / 1e6}))


if __name__ == "__main__":
    main()
