"""The structure of the package: imports go one way, from what knows little to what knows much."""

import ast
from pathlib import Path

HOUSE = Path(__file__).resolve().parent.parent / "al_utils"
FLOW = (  # each imports from those before it alone; a room is a folder
    "options", "config", "words", "randomness", "sources", "compute",
    "data", "datasets", "splits", "image_keys", "noise", "networks", "models", "predicting", "training", "known",
    "acquisition", "scoring",
    "records", "ledger", "oracle", "person", "own", "chance",
    "memory", "checks", "problem", "fitting", "querying", "saved", "experiment",
    "labels", "results", "sweep", "notebook", "chapters", "widgets",
)  # fmt: skip


def imported(file: Path) -> set[str]:
    """The rooms and top-level modules that a file imports from, its own room left out."""
    inside = file.relative_to(HOUSE).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*inside[: len(inside) - node.level + 1], *(node.module or "").split(".")]
            path = [part for part in base if part]
            found |= {path[0]} if path else {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("al_utils."):
            found.add((node.module or "").split(".")[1])
    return found - set(inside)


def test_imports_go_one_way():
    for file in HOUSE.rglob("*.py"):
        room = file.relative_to(HOUSE).parts[0].removesuffix(".py")
        if room != "__init__":
            later = {name for name in imported(file) if FLOW.index(name) >= FLOW.index(room)}
            assert not later, f"{file.relative_to(HOUSE)} imports {later}"
    assert set(FLOW) == {path.stem for path in HOUSE.iterdir() if path.stem not in ("__init__", "__pycache__")}


def test_the_readme_says_of_every_module_what_its_docstring_says():
    lines = (HOUSE.parent / "README.md").read_text(encoding="utf-8").splitlines()
    found = [tuple(line.split(maxsplit=1)) for line in lines if line.startswith("  ") and line.strip()]
    for path in [path for path in HOUSE.rglob("*.py") if path != HOUSE / "__init__.py"]:
        said = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()[0]
        name = f"{path.parent.name}/" if path.name == "__init__.py" else path.name
        assert len(said) <= 110, f"the first line of {path} is too long for README's map"
        assert (name, said.removesuffix(".")) in found, f"give {path} its line in README's map"
