#!/usr/bin/env bash
# Sets up .venv, then runs one of:
#   ./run_all.sh                          the quick sweep on the embedded data, and its report
#   ./run_all.sh SWEEP [OPTIONS]          a sweep of notebooks/sweeps or a YAML file (--help lists the options)
#   ./run_all.sh test [PYTEST ARGUMENTS]  the tests
#   ./run_all.sh lab [JUPYTER ARGUMENTS]  JupyterLab on the notebooks
# PYTHON=python3.12 ./run_all.sh chooses the Python that .venv is made with.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
venv="$root/.venv"
python="${PYTHON:-python3}"

# Runs a command in a process group of its own, which Ctrl-C and SIGTERM end as a whole.
interruptible() {
    set -m
    "$@" </dev/null &
    job=$!
    set +m
    trap 'stop 130' INT
    trap 'stop 143' TERM
    wait "$job"
    trap - INT TERM
}

stop() {
    trap '' INT TERM
    kill -TERM -- "-$job" 2>/dev/null || true
    wait "$job" || true
    echo "Stopped. The same command goes on from here." >&2
    exit "$1"
}

install() {
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "error: $python is not Python 3.11 or newer: install one, or name it: PYTHON=python3.12 ./run_all.sh" >&2
        exit 2
    fi
    echo "Setting up $venv (once; a few minutes)"
    interruptible "$python" -m venv --clear "$venv"
    interruptible "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$root/requirements.txt"
    cp "$root/requirements.txt" "$venv/installed"  # last: an interrupted installation is done again
}

[[ -f "$venv/installed" && "$(<"$venv/installed")" == "$(<"$root/requirements.txt")" ]] || install

export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
# exec: a signal reaches Python itself, which clears up behind it.
case "${1:-quick}" in
    test) cd "$root" && exec "$venv/bin/python" -m pytest "${@:2}" ;;
    lab) cd "$root" && exec "$venv/bin/python" -m jupyterlab --ip=127.0.0.1 --notebook-dir="$root" \
        --LabApp.default_url=/lab/tree/notebooks "${@:2}" ;;
    -*) exec "$venv/bin/python" -m al_utils.sweep quick "$@" ;;
    *) exec "$venv/bin/python" -m al_utils.sweep "${1:-quick}" "${@:2}" ;;
esac
