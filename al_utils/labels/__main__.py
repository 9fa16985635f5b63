"""Labels out of a session and into one, on the command line.

python -m al_utils.labels export SESSION.answers labels.csv      # or tasks.json for Label Studio, or a new folder
python -m al_utils.labels import SESSION.answers labels.csv --images folder:PATH
python -m al_utils.labels agreement A.answers B.answers
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..words import ends
from .agreement import said_of
from .transfer import bring_in, export, session_answers


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the status is 2 where something is refused."""
    parser = argparse.ArgumentParser(prog="python -m al_utils.labels", description=(__doc__ or "").split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    out = commands.add_parser("export", help="write a session's labels")
    out.add_argument("session", help="the answers file, which notebook 04 prints")
    out.add_argument("to", help="NAME.csv, NAME.json (for Label Studio), or a new folder (one folder a class)")
    out.add_argument("--images", default="", help="where the images are (folder:PATH); by default what the session says")
    out.add_argument("--copy", action="store_true", help="copy the images into the folders, instead of linking them")
    into = commands.add_parser("import", help="put labels made elsewhere into a session")
    into.add_argument("session", help="the answers file; a new one is begun")
    into.add_argument("labels", help="NAME.csv with the columns file and class, or Label Studio's NAME.csv, .tsv or .json")
    into.add_argument("--images", default="", help="the images that they are of (folder:PATH)")
    agreement = commands.add_parser("agreement", help="how far several sessions agree on the images that all have labelled")
    agreement.add_argument("sessions", nargs="+", help="answers files, one of each annotator")
    given = parser.parse_args(arguments)
    try:
        if given.command == "export":
            print(export(given.session, given.to, given.images, given.copy))
        elif given.command == "import":
            print(bring_in(given.session, given.labels, given.images))
        else:
            paths = [Path(path).resolve() for path in given.sessions]
            if len(set(paths)) < len(paths):
                raise ValueError("the same session is given twice: give one of each annotator.")
            names = ends([path.with_suffix("") for path in paths])
            print("\n".join(said_of(dict(zip(names, map(session_answers, given.sessions))))))
    except (ValueError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
