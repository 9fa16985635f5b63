"""The command line of a sweep: `python -m al_utils.sweep quick --workers 2`."""

import argparse
import math
import os
import sys
from pathlib import Path

from ..config import ROOT, expanded
from ..ledger import LedgerError
from ..words import capitalised
from .cluster import SweepError
from .grid import load_sweep
from .signals import StoppedBySignal, on_signals
from .whole import has_ended, run_sweep


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status: 0, 1 (a run failed), 2 (refused), 130 or 143 (stopped), 141 (unread)."""
    parser = argparse.ArgumentParser(prog="./run_all.sh", description="Run a sweep and its report.")
    add = parser.add_argument
    add("sweep", help="a name in notebooks/sweeps, or the path of a YAML or JSON file")
    add("--workers", type=int, metavar="N", help="runs at a time on this machine (default: one per core that may be used)")
    add("--scheduler", metavar="tcp://HOST:PORT", help="use this running Dask cluster instead")
    ledgers = "compute ledgers without notebooks and report (PyTorch and NumPy suffice): seed 0 of every cell, then seed 1"
    add("--ledgers-only", action="store_true", help=ledgers)
    add(
        "--minutes",
        type=float,
        default=math.inf,
        metavar="M",
        help="with --ledgers-only: stop after M minutes, at a round's end",
    )
    add("--report-only", action="store_true", help="compute nothing: the report of the ledgers that are there")
    add("--force", action="store_true", help="delete the sweep's ledgers and notebooks, and start over")
    add("--reports", type=Path, default=ROOT / "reports", metavar="DIR", help="where results go (default: reports)")
    add("--timeout", type=float, metavar="SECONDS", help="limit of a run, and of the report (default: the sweep's; a day)")
    options = parser.parse_args(arguments)
    if sys.stdout is None:  # closed
        sys.stdout = open(os.devnull, "w", encoding="utf-8")

    with on_signals():
        try:
            _check(options)
            options.reports = expanded(options.reports)
            failures = run_sweep(**vars(options))
            sys.stdout.flush()
            return 1 if failures else 0
        except StoppedBySignal as stopped:
            _say_how_to_go_on(options, "Stopped.")
            return 128 + stopped.args[0]
        except BrokenPipeError:  # nobody reads any more, as after `| head -1`: not even this program's end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except (ValueError, TypeError, LedgerError, SweepError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except ModuleNotFoundError as error:
            said = (
                f"{error.name} is not installed here: ./run_all.sh installs it. --ledgers-only needs PyTorch and NumPy alone."
            )
            print(f"error: {said}", file=sys.stderr)
            return 2
        except OSError as error:
            print(f"error: {error}", file=sys.stderr)
            _say_how_to_go_on(options, "")
            return 1


def _check(options) -> None:
    for name in ("workers", "timeout", "minutes"):
        if getattr(options, name) is not None and not getattr(options, name) > 0:
            raise ValueError(f"--{name}={getattr(options, name)} must be above 0.")
    if not options.ledgers_only and options.minutes < math.inf:
        raise ValueError(f"--minutes={options.minutes:g} needs --ledgers-only; --timeout SECONDS limits each run.")
    if options.report_only and (options.ledgers_only or options.force or options.scheduler):
        other = "--ledgers-only" if options.ledgers_only else "--force" if options.force else "--scheduler"
        raise ValueError(f"{other} does not go with --report-only, which computes no run: leave one of them out.")
    if options.ledgers_only and (options.scheduler or options.timeout):
        other = "--scheduler" if options.scheduler else "--timeout"
        raise ValueError(f"{other} does not go with --ledgers-only, which computes on this machine: leave one of them out.")


def _say_how_to_go_on(options, first: str) -> None:
    the_same = "the same command" + (" without --force" if options.force else "")
    try:
        sweep = load_sweep(options.sweep, elsewhere=True)
        folder = options.reports.resolve() / sweep.name
        finished = sum(has_ended(folder, run, options.ledgers_only or options.report_only) for run in sweep.runs)
    except (ValueError, TypeError, OSError):  # the sweep file was changed meanwhile, or a ledger cannot be read
        print(f"{first} {capitalised(the_same)} goes on from here.".lstrip())
    else:
        print(f"{first} {finished} of {len(sweep.runs)} runs are finished; {the_same} goes on from here.".lstrip())


if __name__ == "__main__":
    sys.exit(main())
