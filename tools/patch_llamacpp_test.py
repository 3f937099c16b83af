"""patch_llamacpp.py changes what it says, and fails where the source does not look as it expects.

Run: python3 -m unittest discover -s tools -p '*_test.py'
"""

import ast
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).with_name("patch_llamacpp.py")


def changes(which=("NEEDED", "OURS")):
    """The script's lists, without running it."""
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    wanted = [node for node in tree.body if isinstance(node, ast.Assign)]
    names = {}
    exec(compile(ast.Module(wanted, []), str(SCRIPT), "exec"), names)  # constants only
    return [change for name in which for change in names[name]]


def make_source(folder, found):
    for name, old, _ in found:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as out:
            out.write(old)


def patch(folder, *flags):
    return subprocess.run([sys.executable, SCRIPT, *flags, folder], capture_output=True, text=True, check=False)


class PatchLlamacppTest(unittest.TestCase):
    def test_every_place_is_changed(self):
        with tempfile.TemporaryDirectory() as name:
            make_source(pathlib.Path(name), changes())
            result = patch(name)
            self.assertEqual(result.returncode, 0, result.stderr)
            for path, _, new in changes():
                self.assertIn(new, (pathlib.Path(name) / path).read_text(encoding="utf-8"))
            self.assertIn("CellAttention", (pathlib.Path(name) / "ggml/src/ggml-cpu/cell_attention.h").read_text(encoding="utf-8"))
            self.assertIn("Q41Product", (pathlib.Path(name) / "ggml/src/ggml-cpu/llamafile/q4_1_product.h").read_text(encoding="utf-8"))

    def test_what_is_not_needed_can_be_left_out(self):
        with tempfile.TemporaryDirectory() as name:
            make_source(pathlib.Path(name), changes())
            result = patch(name, "--needed-only")
            self.assertEqual(result.returncode, 0, result.stderr)
            for path, _, new in changes(["NEEDED"]):
                self.assertIn(new, (pathlib.Path(name) / path).read_text(encoding="utf-8"))
            for path, old, _ in changes(["OURS"]):
                self.assertIn(old, (pathlib.Path(name) / path).read_text(encoding="utf-8"))
            self.assertFalse((pathlib.Path(name) / "ggml/src/ggml-cpu/cell_attention.h").exists())

    def test_a_place_that_is_missing_or_there_twice_is_an_error(self):
        first = changes()[0]
        with tempfile.TemporaryDirectory() as name:
            for folder, source in (("missing", [(first[0], "nothing\n", ""), *changes()[1:]]), ("twice", [*changes(), first])):
                make_source(pathlib.Path(name) / folder, source)
                result = patch(pathlib.Path(name) / folder)
                self.assertNotEqual(result.returncode, 0, folder)
                self.assertIn(first[0], result.stderr)


if __name__ == "__main__":
    unittest.main()
