#!/usr/bin/env python3
"""Holds the rooms of src/ to the table in docs/layers.toml.

usage: tools/check_layers.py [ROOT]

Fails on an include that the table forbids, an include of a file that does not exist, a folder of src/ that the table
does not name, a room without a README.md or without a row in docs/architecture.md, a table that names unknown rooms or allows a cycle, and a cycle among the
includes themselves (which `except` and `*` could let in).
"""

import pathlib
import re
import sys
import tomllib

SOURCES = {".h", ".cc", ".inc"}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
GENERATED = re.compile(r"\.pb\.h$")


class Table:
    """Who may include whom: allowed[room] is a set of rooms."""

    def __init__(self, document):
        self.errors = []
        rooms = document.get("rooms", {})
        self.allowed = {}
        for room, entry in rooms.items():
            wanted, unwanted = entry.get("allowed", []), entry.get("except", [])
            for name in [*wanted, *unwanted]:
                if name != "*" and name not in rooms:
                    self.errors.append(f"docs/layers.toml: {room}: '{name}' is no room")
            for key in entry.keys() - {"allowed", "except"}:
                self.errors.append(f"docs/layers.toml: {room}: unknown key '{key}'")
            everything = rooms if "*" in wanted else ()
            self.allowed[room] = {*everything, *wanted} - {"*", room, *unwanted}

    def room_of(self, path):
        """The room of a path below src/, None if it has none. The longest name wins."""
        parts = pathlib.PurePosixPath(path).parts[:-1]
        for length in range(len(parts), 0, -1):
            name = "/".join(parts[:length])
            if name in self.allowed:
                return name
        return None


def find_cycle(edges):
    """A list of nodes whose last is its first, or None. `edges` maps a node to its successors."""
    state, path = {}, []

    def visit(node):
        if state.get(node) == "done":
            return None
        if state.get(node) == "open":
            return [*path[path.index(node):], node]
        state[node] = "open"
        path.append(node)
        for successor in sorted(edges.get(node, ())):
            if cycle := visit(successor):
                return cycle
        path.pop()
        state[node] = "done"
        return None

    for node in sorted(edges):
        if cycle := visit(node):
            return cycle
    return None


def includes_of(path):
    """[(line, included path)] of a source file; what is commented out does not count."""
    text = path.read_text(encoding="utf-8", errors="replace")
    text = COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)
    return [(text.count("\n", 0, match.start(1)) + 1, match.group(1)) for match in INCLUDE.finditer(text)]


def check_rooms(root, table):
    """Every folder that holds sources has an entry, and every room that exists a README.md."""
    errors = []
    for folder in sorted(p for p in (root / "src").iterdir() if p.is_dir()):
        if folder.name not in table.allowed:
            errors.append(f"src/{folder.name}: no room of docs/layers.toml")
    for room in sorted(table.allowed):
        folder = root / "src" / room
        if folder.is_dir() and not (folder / "README.md").is_file():
            errors.append(f"src/{room}: no README.md")
    for path in sorted((root / "src").iterdir()):
        if path.suffix in SOURCES:
            errors.append(f"src/{path.name}: belongs in a room")
    return errors


def check_page(root, table):
    """docs/architecture.md has a row for each room."""
    page = root / "docs" / "architecture.md"
    if not page.is_file():
        return []
    rows = [line.split("|")[1] for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([\w/]+)`", row)}
    return [f"docs/architecture.md: no row for the room {room}" for room in sorted(table.allowed) if room not in named]


def check_includes(root, table):
    errors, used = [], {}
    for top in ("src", "apps"):
        for path in sorted((root / top).rglob("*")):
            if path.suffix not in SOURCES or not path.is_file():
                continue
            room = table.room_of(path.relative_to(root / "src")) if top == "src" else None
            for line, name in includes_of(path):
                place = f"{path.relative_to(root)}:{line}"
                if ".." in name.split("/"):
                    errors.append(f"{place}: \"{name}\": includes are written from src/, without '..'")
                    continue
                beside = (path.parent / name).is_file()
                if not GENERATED.search(name) and not beside and not (root / "src" / name).is_file():
                    errors.append(f'{place}: "{name}": no such file in src/ (outside headers take <>)')
                    continue
                # A bare name is a file beside this one, so of the same room.
                target = table.room_of(name) if "/" in name else room
                if top == "apps" or room is None or target in (None, room):
                    continue
                used.setdefault(room, set()).add(target)
                if target not in table.allowed[room]:
                    allowed = ", ".join(sorted(table.allowed[room])) or "nothing"
                    errors.append(f'{place}: {room} may not include "{name}" ({room} may include: {allowed})')
    if cycle := find_cycle(used):
        errors.append("cycle among the includes: " + " -> ".join(cycle))
    return errors


def check(root):
    """All that is wrong below `root`, one line each."""
    try:
        document = tomllib.loads((root / "docs" / "layers.toml").read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        return [f"docs/layers.toml: {error}"]
    table = Table(document)
    errors = list(table.errors)
    if cycle := find_cycle(table.allowed):
        errors.append("docs/layers.toml: allows a cycle: " + " -> ".join(cycle))
    if not (root / "src").is_dir():
        return [*errors, "src: no such folder"]
    return [*errors, *check_rooms(root, table), *check_includes(root, table), *check_page(root, table)]


def main():
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent
    errors = check(root)
    for error in errors:
        print(error)
    if errors:
        print(f"check_layers: {len(errors)} error(s)", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
