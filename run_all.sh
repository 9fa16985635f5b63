#!/usr/bin/env bash
# ./run_all.sh [--cpu] [COMMAND] sets up .venv where that is not done yet, then does one of:
#
#   ./run_all.sh                          the quick sweep on the embedded data, and its report, in reports/own/quick
#   ./run_all.sh SWEEP [OPTIONS]          a sweep of notebooks/sweeps, or a YAML or JSON file of your own
#   ./run_all.sh page NOTEBOOK [OPTIONS]  one notebook, executed and rendered as a page
#   ./run_all.sh compare SWEEP SWEEP ...  several sweeps of reports/ in one report, in reports/compared
#   ./run_all.sh lab [JUPYTER ARGUMENTS]  JupyterLab on the notebooks (as root: --allow-root)
#   ./run_all.sh test [PYTEST ARGUMENTS]  the tests
#   ./run_all.sh setup                    nothing more
#
# Options of a sweep (./run_all.sh quick --help says more):
#   --workers N          runs at a time on this machine; otherwise one per core
#   --scheduler ADDRESS  use this running Dask cluster: tcp://HOST:PORT
#   --ledgers-only       compute ledgers without notebooks: seed 0 of every cell first, then seed 1, ...
#   --minutes M          with it: stop after M minutes; the same command goes on
#   --report-only        compute nothing: the report of the ledgers that are there, without notebooks of the runs
#   --force              delete the sweep's results and start over
#   --reports DIR        where results go; otherwise reports/
#   --timeout SECONDS    limit of one run
# Options of a page (./run_all.sh page --help says more):
#   -p NAME VALUE        a parameter of the notebook; any number of them
#
# The sweeps of the project: quick (minutes), smoke (seconds), and more in notebooks/sweeps, each with its comment.
# A sweep that is stopped, or started again, does what is missing. While it runs, reports/SWEEP/progress.html shows it.
#
# The set-up:
#   PYTHON=python3.12 ./run_all.sh  makes .venv with that Python; it must be 3.11 or newer
#   ./run_all.sh --cpu              installs PyTorch without CUDA (1 GB instead of 6), from PyTorch's own index
# The environment is .venv alone: PYTHONPATH is not used. It is made anew when requirements.txt changes.

set -euo pipefail

# Closed standard streams: the first files to be opened would take their places.
{ : <&0; } 2>/dev/null || exec 0</dev/null
{ : >&1; } 2>/dev/null || exec 1>/dev/null
{ : >&2; } 2>/dev/null || exec 2>/dev/null

script="${BASH_SOURCE[0]}"
while [[ -L "$script" ]]; do
    link="$(readlink -- "$script")"
    [[ "$link" == /* ]] && script="$link" || script="$(dirname -- "$script")/$link"
done
root="$(CDPATH='' cd -P -- "$(dirname -- "$script")" && pwd -P)"

if [[ "${1:-}" == "--help" || "${1:-}" == "-h" ]]; then
    sed -n '2,/^$/s/^# \{0,1\}//p' "$root/run_all.sh"
    exit
fi

python="${PYTHON:-python3}"
if ! "$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "error: $python is not Python 3.11 or newer: install one, or name it: PYTHON=python3.12 ./run_all.sh" >&2
    exit 2
fi
# exec: a signal reaches Python itself, which clears up behind it. -I: no module from where the user stands.
exec "$python" -I -X utf8 "$root/start.py" "$@"
