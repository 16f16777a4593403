#!/usr/bin/env python3
"""Writes layout/start.ld: which functions the linker lays side by side, as they run at start.

Runs `heddle up` with 100 Triggers under valgrind's callgrind until it has been idle for a while, some
times since not every run goes the same way, and takes every function that ran. Where most of a module
runs, a pattern stands for all of it, and otherwise for a function without the hash at the end of its
name, so that the list outlives compilers and versions of dependencies. Only of generic functions that
run in a few of their forms are the hashes given, and all other forms follow after everything else:
with compilers whose hashes are others, the right ones are among them.

Usage, after changes of what happens at start or of the compiler's way to mangle names:

    cargo rustc --release --bin heddle -- -C strip=none
    tests/scripts/start-order.py target/release/heddle     (needs valgrind and nm)
"""

import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRIGGERS = 100
# How much of a module's code must run for the whole module to be taken.
MOST = 0.75
RUNS = 3
# Seconds: to be ready under callgrind, and idle after that.
READY, IDLE = 600, 5
# What is given of a name whose hash is given: enough to compare fast, and to be read.
BEGINNING = 48

HASH = re.compile(r"17h[0-9a-f]{16}E.*$")
CRATE = re.compile(r"Cs[0-9A-Za-z]+_")
TRIGGER = """---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {{name: t{0}, namespace: default}}
spec:
  broker: default
  filter: {{attributes: {{type: dev.heddle.idle.{0}}}}}
  subscriber: {{uri: "http://127.0.0.1:9/"}}
"""


def profile(binary, folder):
    """Runs the program; gives the file that says what ran."""
    manifest, data, out = folder / "triggers.yaml", folder / "data", folder / "callgrind.out"
    manifest.write_text("".join(TRIGGER.format(number) for number in range(TRIGGERS)))
    listeners = [part for flag in ("--listen", "--api", "--admin") for part in (flag, "127.0.0.1:0")]
    process = subprocess.Popen(
        ["valgrind", "--quiet", "--tool=callgrind", "--fair-sched=yes", "--demangle=no",
         f"--callgrind-out-file={out}", binary, "up", "-f", manifest, "--data", data, *listeners],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + READY
    while not (data / "endpoints.json").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            sys.exit("heddle did not become ready under callgrind")
        time.sleep(0.1)
    time.sleep(IDLE)
    process.send_signal(signal.SIGTERM)
    process.wait()
    return out


def ran(out):
    """The mangled names of the functions that ran."""
    names, seen = {}, set()
    for line in out.read_text().splitlines():
        found = re.match(r"c?fn=\((\d+)\)(?: (.*))?$", line)
        if found:
            number, name = found.groups()
            if name:
                names[number] = re.sub(r"'\d+$", "", name)
            seen.add(number)
    return {names[number] for number in seen}


def functions(binary, hot):
    """Every name of a function, its size, and whether the function ran under any of its names."""
    listed = subprocess.run(["nm", "--print-size", binary], check=True, capture_output=True, text=True)
    names = {}
    for line in listed.stdout.splitlines():
        parts = line.split()
        if len(parts) == 4 and parts[2] in "tTwW":
            names.setdefault((parts[0], int(parts[1], 16)), []).append(parts[3])
    for (_, size), aliases in names.items():
        run = not hot.isdisjoint(aliases)
        yield from ((name, size, run) for name in aliases)


def steps(name):
    """The beginnings of a mangled path: its first word, its first two, and so on up to the hash."""
    at = len("_ZN")
    while not HASH.fullmatch(name, at):
        digits = re.compile(r"\d+").match(name, at)
        if not digits:
            return
        at = digits.end() + int(digits[0])
        yield name[:at]
    yield name[:at] + "17h"


class Module:
    """A beginning of names, with all that lies below it."""

    def __init__(self):
        self.size, self.run, self.below, self.hashes = 0, 0, {}, set()

    def patterns(self, name, first, last):
        """Adds what stands for everything that ran in the module, and what else it takes."""
        if self.run and name and self.run >= MOST * self.size:
            first.append(name + "*")
        elif self.run:
            if self.hashes:
                first += (f"{name[:-3][:BEGINNING]}*{hash}*" for hash in sorted(self.hashes))
                last.append(name + "*")
            for below in sorted(self.below):
                self.below[below].patterns(below, first, last)


def patterns(everything):
    """What stands for everything that ran, and what lies after it."""
    root, others = Module(), set()
    for name, size, run in everything:
        hash = HASH.search(name)
        if not name.startswith("_ZN") or not hash:
            if run:
                others.add(CRATE.sub("Cs*_", name))
            continue
        module = root
        for step in ["", *steps(name)]:
            module = module.below.setdefault(step, Module()) if step else module
            module.size += size
            module.run += size * run
        if run:
            module.hashes.add(hash[0][:20])
    first, last = sorted(others), []
    root.patterns("", first, last)
    return first, last


def main():
    binary = sys.argv[1]
    hot = set()
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as folder:
            hot |= ran(profile(binary, pathlib.Path(folder)))
    groups = []
    for group in patterns(functions(binary, hot)):
        lines = "".join(f"      .text.{pattern}\n" for pattern in group)
        groups.append(f"    *(\n{lines}    )\n")
    head = ("/* The functions that run at start and in an idle process. Written by\n"
            "   tests/scripts/start-order.py, which says how; build.rs says why. */\n"
            "SECTIONS\n{\n  .text.start :\n  {\n")
    script = head + "".join(groups) + "  }\n}\nINSERT BEFORE .text;\n"
    (ROOT / "layout" / "start.ld").write_text(script)


if __name__ == "__main__":
    main()
