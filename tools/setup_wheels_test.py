"""Tests of setup_wheels.sh with a wheel made here and no registry. Run: python3 -m unittest discover -s tools -p '*_test.py'"""

import hashlib
import os
import pathlib
import subprocess
import tempfile
import unittest
import zipfile

SCRIPT = pathlib.Path(__file__).resolve().parent / "setup_wheels.sh"


class SetupWheelsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.cache = self.root / "cache"
        self.shelf = self.root / "shelf"
        self.shelf.mkdir()
        self.wheel = self.shelf / "thing-1.0-py3-none-any.whl"
        with zipfile.ZipFile(self.wheel, "w") as wheel:
            wheel.writestr("thing/data.bin", b"data")
            wheel.writestr("thing/sub/more.txt", b"more")
            program = zipfile.ZipInfo("thing/run")
            program.external_attr = 0o100755 << 16
            wheel.writestr(program, b"#!/bin/sh\n")
            wheel.writestr("thing-1.0.dist-info/METADATA", b"Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
            wheel.writestr("thing-1.0.dist-info/WHEEL", b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr("thing-1.0.dist-info/RECORD", b"")
        self.digest = hashlib.sha256(self.wheel.read_bytes()).hexdigest()
        self.requirements = self.root / "requirements.txt"
        self.require(f"thing==1.0 --hash=sha256:{self.digest}\n")

    def require(self, text):
        self.requirements.write_text(text)

    def start(self, *globs):
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("PIP_")},
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.shelf),
            "PIP_CONFIG_FILE": os.devnull,
            "EVENKEEL_CACHE": str(self.cache),
        }
        return subprocess.Popen([SCRIPT, "thing-1.0", self.requirements, *globs], env=environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def fetch(self, *globs):
        """The folder that was printed."""
        process = self.start(*globs)
        out, err = process.communicate()
        self.assertEqual(process.returncode, 0, err)
        self.assertEqual(out.count("\n"), 1)
        return pathlib.Path(out.strip())

    def assert_fails(self, text, *globs):
        process = self.start(*globs)
        out, err = process.communicate()
        self.assertNotEqual(process.returncode, 0)
        self.assertEqual(out, "")
        self.assertIn(text, err)
        left = [p.name for p in self.cache.iterdir() if not p.name.endswith(".lock")]
        self.assertEqual(left, [])

    def files(self, tree):
        return {str(p.relative_to(tree)) for p in tree.rglob("*") if p.is_file()}

    def test_unpacks_what_the_globs_name_and_keeps_programs_runnable(self):
        tree = self.fetch("thing/*.txt", "thing/run")
        self.assertEqual(self.files(tree), {"thing/sub/more.txt", "thing/run"})
        self.assertTrue(os.access(tree / "thing/run", os.X_OK))
        self.assertFalse(os.access(tree / "thing/sub/more.txt", os.X_OK))
        self.assertEqual(tree.parent, self.cache)

    def test_second_call_needs_no_wheel_and_comments_do_not_count(self):
        tree = self.fetch()
        self.wheel.unlink()
        self.require(f"# another word\n\nthing==1.0 --hash=sha256:{self.digest}  # and another\n")
        self.assertEqual(self.fetch(), tree)

    def test_other_globs_make_another_folder(self):
        self.assertNotEqual(self.fetch("thing/*"), self.fetch("thing/run"))

    def test_wrong_hash_leaves_nothing_behind(self):
        self.require(f"thing==1.0 --hash=sha256:{'0' * 64}\n")
        self.assert_fails("HASH")

    def test_missing_hash_leaves_nothing_behind(self):
        self.require("thing==1.0\n")
        self.assert_fails("Hashes are required")

    def test_globs_that_match_nothing_are_an_error(self):
        self.assert_fails("holds nothing that was asked for", "none/*")

    def test_two_at_once_get_the_same_folder(self):
        processes = [self.start() for _ in range(2)]
        answers = {process.communicate()[0] for process in processes}
        self.assertEqual([process.returncode for process in processes], [0, 0])
        self.assertEqual(len(answers), 1)
        self.assertIn("thing/data.bin", self.files(pathlib.Path(answers.pop().strip())))


if __name__ == "__main__":
    unittest.main()
