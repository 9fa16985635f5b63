"""Several sweeps in one report: `python -m al_utils.sweep.compare quick matched`."""

import argparse
import os
import sys
from pathlib import Path

from ..config import ROOT, expanded, file_name
from ..results import index, sweeps
from . import page


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status, see `page.main`."""
    parser = argparse.ArgumentParser(
        prog="./run_all.sh compare",
        description="One report of several sweeps: their runs in common tables and figures. It goes to reports/compared, under "
        "the sweeps' names.",
    )
    parser.add_argument("sweeps", nargs="+", metavar="SWEEP", help="a folder in reports/, or the path of a folder of ledgers")
    parser.add_argument("--reports", type=Path, default=ROOT / "reports", metavar="DIR", help="instead of reports/")
    parser.add_argument("--timeout", type=float, default=page.TIMEOUT, metavar="SECONDS", help="limit (default: a day)")
    options = parser.parse_args(arguments)

    def plan():
        reports = expanded(options.reports).resolve()
        if len(options.sweeps) < 2:
            raise ValueError(f"{options.sweeps[0]} alone has its own report: name two sweeps or more.")
        found = [folder(name, reports) for name in options.sweeps]
        named = sweeps.folders(", ".join(found))
        name = "_and_".join(map(file_name, named))
        output = reports / index.COMPARED / name
        return ROOT / page.REPORT, output, {"ledgers": ", ".join(found), "page": os.path.relpath(output.parent, ROOT)}

    return page.carry_out(plan, options.timeout)


def folder(name: str, reports: Path) -> str:
    """The folder of this name in `reports`, or at this path, as seen from the project's root."""
    path = next((path for path in (reports / name, expanded(name)) if path.is_dir()), None)
    if path is None:
        there = sorted(found.name for found in reports.iterdir() if any(found.glob("*.jsonl"))) if reports.is_dir() else []
        raise ValueError(
            f"there is no folder of ledgers {name!r}: name one in {os.path.relpath(reports)} "
            f"({', '.join(there) or 'there is none yet'}), or give its path."
        )
    if "," in str(path):
        raise ValueError(f"{name!r} has a comma in its name, which separates folders here: rename it.")
    return os.path.relpath(path.resolve(), ROOT)


if __name__ == "__main__":
    sys.exit(main())
