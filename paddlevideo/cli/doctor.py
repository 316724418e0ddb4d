"""Checks whether this machine can train, and what to do if it cannot.

paddlevideo doctor
paddlevideo doctor data/train.store
paddlevideo doctor --distributed --json doctor.json

The exit code is 0 without problems, else 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from paddlevideo.doctor import machine, packages, training
from paddlevideo.doctor.finding import PROBLEM, Check, Finding, examine
from paddlevideo.files.whole import write_json_whole
from paddlevideo.files.writable import check_file
from paddlevideo.utils.command import exit_code_of
from paddlevideo.utils.options import Parser, as_path

CHECKS: tuple[Check, ...] = (
    *(packages.python, packages.packages, packages.device),
    *(machine.processors, machine.memory, machine.shared_memory, machine.disk),
    *(machine.open_files, machine.feature_files, machine.video),
)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        "stores", nargs="*", type=as_path, metavar="STORE", help="to see what it is mounted on"
    )
    parser.add_argument(
        "--distributed", action="store_true", help="also train in two processes on the CPU"
    )
    parser.add_argument("--no_training", action="store_true", help="skip the training check")
    parser.add_argument(
        "--json", type=as_path, metavar="FILE", help="also write the findings as JSON"
    )
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> list[Finding]:
    """Runs the checks, printing each finding immediately, and returns all findings."""
    check_file(options.json, "--json")

    def stores() -> Iterable[Finding]:
        return map(machine.store, options.stores)

    checks = [*CHECKS, stores]
    if not options.no_training:
        checks.append(training.training)
        if options.distributed:
            checks.append(training.two_processes)
    findings = []
    for finding in examine(checks):
        findings.append(finding)
        print(f"{finding.status:8s} {finding.subject}: {finding.says}", flush=True)
        if finding.advice:
            print(f"{'':8s} -> {finding.advice}", flush=True)
    problems = sum(finding.status == PROBLEM for finding in findings)
    print(f"\n{problems} problem(s)" if problems else "\nThis machine can train.")
    if options.json:
        write_json_whole(options.json, [asdict(finding) for finding in findings])
    return findings


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    options = parse_arguments(arguments)
    return exit_code_of(lambda: any(finding.status == PROBLEM for finding in run(options)))
