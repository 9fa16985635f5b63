"""The command line of a sweep: python -m al_utils.sweep quick --workers 2"""

import argparse
import sys
from pathlib import Path

from ..ledger import LedgerError
from .cluster import SweepError
from .grid import load_sweep
from .jobs import ROOT, is_finished
from .signals import Stopped, on_signals
from .whole import run_sweep


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status: 0, 1 (a run failed), 2 (refused), 130 or 143 (stopped)."""
    parser = argparse.ArgumentParser(prog="python -m al_utils.sweep", description="Run a sweep and its report.")
    add = parser.add_argument
    add("sweep", help="a name in notebooks/sweeps, or the path of a YAML file")
    add("--workers", type=int, metavar="N", help="runs at a time on this machine (default: one per core)")
    add("--scheduler", metavar="tcp://HOST:PORT", help="use this running Dask cluster instead")
    add("--force", action="store_true", help="delete the sweep's ledgers and notebooks, and start over")
    add("--reports", type=Path, default=ROOT / "reports", metavar="DIR", help="where results go (default: reports)")
    add("--timeout", type=float, metavar="SECONDS", help="limit of one run (default: the sweep's, or a day)")
    options = parser.parse_args(arguments)

    with on_signals():
        try:
            for name in ("workers", "timeout"):
                if getattr(options, name) is not None and not getattr(options, name) > 0:
                    raise ValueError(f"--{name}={getattr(options, name)} must be above 0.")
            return 1 if run_sweep(**vars(options)) else 0
        except Stopped as stopped:
            _say_how_to_go_on(options)
            return 128 + stopped.args[0]
        except (ValueError, TypeError, LedgerError, SweepError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1 if isinstance(error, OSError) else 2


def _say_how_to_go_on(options) -> None:
    sweep = load_sweep(options.sweep)
    finished = sum(is_finished(options.reports.absolute() / sweep.name / run.name, run.config.n_rounds) for run in sweep.runs)
    print(f"Stopped. {finished} of {len(sweep.runs)} runs are finished; the same command goes on from here.")


if __name__ == "__main__":
    sys.exit(main())
