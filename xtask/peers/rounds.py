#!/usr/bin/env python3
"""Runs timing commands in turn, round after round, and prints what each found.

Reads a JSON object from standard input: {"rounds": N, "cases": [{"name": ..., "command": [...]}, ...]}. Every command
prints one JSON object with `median_ms` and `min_ms`; with `time` another key than `median_ms` can be named, and with
`foreign` another share of the cores, or null, than the usual one. What is printed as `peak_mb` is kept too.

Every second round goes backwards, so that a machine that slows down slows all alike. A run during which other processes took more than a share of the cores is repeated, and left out
if it stays so. Prints a JSON object: per case the medians of its clean rounds (by round) and their least.
"""
import json
import resource
import subprocess
import sys
import time

# Cores that other processes may take while a case runs.
FOREIGN = 0.15
TRIES = 4
PAUSE = 1.0


def busy():
    """Seconds that all cores together have worked so far."""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _, _, irq, softirq, steal = [int(x) for x in stat.readline().split()[1:9]]
    return (user + nice + system + irq + softirq + steal) / 100


def own():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(command, allowed):
    """What a command found, and whether it had the machine to itself, but for the cores that are allowed to others."""
    for attempt in range(TRIES):
        before, mine, start = busy(), own(), time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True)
        foreign = (busy() - before - (own() - mine)) / (time.monotonic() - start)
        if done.returncode != 0:
            return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1][:300]}, True
        found = json.loads(done.stdout)
        if allowed is None or foreign <= allowed:
            return found, True
        if attempt + 1 < TRIES:
            time.sleep(PAUSE)
    return found, False


def main():
    wanted = json.load(sys.stdin)
    cases, key, allowed = wanted["cases"], wanted.get("time", "median_ms"), wanted.get("foreign", FOREIGN)
    found = {case["name"]: {"by_round": {}, "peaks": {}, "min_ms": None, "disturbed": 0} for case in cases}
    for round_ in range(wanted["rounds"]):
        for case in cases if round_ % 2 == 0 else reversed(cases):
            entry = found[case["name"]]
            if "error" in entry:
                continue
            result, clean = run(case["command"], allowed)
            if "error" in result:
                entry["error"] = result["error"]
            elif clean:
                entry["by_round"][round_] = result[key]
                least = result["min_ms"] if key == "median_ms" else result[key]
                entry["min_ms"] = min(filter(None, [entry["min_ms"], least]))
                if "peak_mb" in result:
                    entry["peaks"][round_] = result["peak_mb"]
            else:
                entry["disturbed"] += 1
    print(json.dumps(found))


if __name__ == "__main__":
    main()
