"""Tests of check_layers.py on small trees. Run: python3 -m unittest discover -s tools -p '*_test.py'"""

import pathlib
import tempfile
import unittest

import check_layers

TABLE = """
[rooms.core]
allowed = []
[rooms.net]
allowed = ["core"]
[rooms.engines]
allowed = ["core"]
[rooms."engines/fast"]
allowed = ["core", "engines", "net"]
[rooms.server]
allowed = ["*"]
except = ["net"]
"""


class CheckLayersTest(unittest.TestCase):
    def check(self, files, table=TABLE, readme=True):
        """Errors for a tree with the given sources, path -> text."""
        with tempfile.TemporaryDirectory() as name:
            root = pathlib.Path(name)
            (root / "src").mkdir()
            (root / "docs").mkdir()
            (root / "docs" / "layers.toml").write_text(table)
            for path, text in {"src/core/a.h": "", "src/net/a.h": "", **files}.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text)
            if readme:
                for folder in [p for p in (root / "src").rglob("*") if p.is_dir()]:
                    (folder / "README.md").touch()
            return check_layers.check(root)

    def assert_one(self, errors, *parts):
        self.assertEqual(len(errors), 1, errors)
        for part in parts:
            self.assertIn(part, errors[0])

    def test_allowed_includes_pass(self):
        files = {
            "src/net/b.cc": '#include "net/a.h"\n#include <core/vector>\n#include "core/a.h"\n#include "a.h"\n',
            "src/server/s.cc": '#include "core/a.h"\n#include "engines/e.h"\n',
            "src/engines/e.h": '#include "core/a.h"\n',
            "apps/x/main.cc": '#include "net/a.h"\n#include "server/s.h"\n#include "commands.h"\n',
            "apps/x/commands.h": "",
            "src/server/s.h": "",
        }
        self.assertEqual(self.check(files), [])

    def test_forbidden_include_names_file_line_and_what_is_allowed(self):
        errors = self.check({"src/net/b.cc": '\n  # include "engines/e.h"\n', "src/engines/e.h": ""})
        self.assert_one(errors, "src/net/b.cc:2: net may not include", "may include: core")
        self.assert_one(self.check({"src/core/b.h": '#include "net/a.h"'}), "core may include: nothing")

    def test_except_is_left_out_of_everything(self):
        self.assert_one(self.check({"src/server/s.cc": '#include "net/a.h"'}), "server may not include")

    def test_tests_are_held_to_the_table_too(self):
        self.assert_one(self.check({"src/core/a_test.cc": '#include "net/a.h"'}), "src/core/a_test.cc:1")

    def test_inner_room_has_rights_of_its_own(self):
        files = {"src/engines/e.h": "", "src/engines/fast/f.cc": '#include "engines/e.h"\n#include "net/a.h"\n'}
        self.assertEqual(self.check(files), [])
        files = {"src/engines/slow/f.cc": '#include "net/a.h"\n'}
        self.assert_one(self.check(files), "src/engines/slow/f.cc:1: engines may not include")
        files = {"src/engines/e.h": '#include "engines/fast/f.h"', "src/engines/fast/f.h": ""}
        self.assert_one(self.check(files), "engines may not include")

    def test_what_is_commented_out_does_not_count(self):
        files = {"src/core/b.h": '// #include "net/a.h"\n/*\n#include "net/a.h"\n*/\n'}
        self.assertEqual(self.check(files), [])

    def test_lines_are_counted_through_comments(self):
        errors = self.check({"src/core/b.h": '/*\n\n*/\n#include "net/a.h"\n'})
        self.assert_one(errors, "src/core/b.h:4:")

    def test_missing_file_and_way_up_are_errors(self):
        self.assert_one(self.check({"src/net/b.cc": '#include "core/none.h"'}), "no such file")
        self.assert_one(self.check({"src/net/b.cc": '#include "../core/a.h"'}), "without '..'")

    def test_generated_headers_need_not_exist(self):
        table = TABLE + '[rooms.proto]\nallowed = []\n'
        self.assert_one(self.check({"src/net/b.cc": '#include "proto/x.pb.h"'}, table), "net may not include")
        self.assertEqual(self.check({"src/server/b.cc": '#include "proto/x.pb.h"'}, table), [])

    def test_folder_without_entry_is_an_error(self):
        self.assert_one(self.check({"src/other/b.cc": ""}), "src/other: no room")
        self.assert_one(self.check({"src/b.cc": ""}), "src/b.cc: belongs in a room")

    def test_room_without_readme_is_an_error(self):
        errors = self.check({"src/engines/fast/f.h": ""}, readme=False)
        self.assertEqual(
            errors, [f"src/{room}: no README.md" for room in ("core", "engines", "engines/fast", "net")]
        )

    def test_cycle_in_the_table_is_an_error(self):
        table = '[rooms.core]\nallowed = ["net"]\n[rooms.net]\nallowed = ["core"]\n'
        self.assert_one(self.check({}, table), "allows a cycle: core -> net -> core")

    def test_cycle_among_includes_is_named(self):
        files = {"src/core/b.h": '#include "net/a.h"', "src/net/b.h": '#include "core/b.h"'}
        errors = self.check(files)
        self.assertEqual(len(errors), 2, errors)
        self.assertIn("core may not include", errors[0])
        self.assertIn("cycle among the includes: core -> net -> core", errors[1])

    def test_mistakes_in_the_table_are_errors(self):
        self.assert_one(self.check({}, TABLE + '[rooms.x]\nallowed = ["y"]\n'), "'y' is no room")
        self.assert_one(self.check({}, TABLE + "[rooms.x]\nalowed = []\n"), "unknown key 'alowed'")
        self.assert_one(self.check({}, "[rooms"), "docs/layers.toml")

    def test_this_tree_has_a_table_that_can_be_read(self):
        root = pathlib.Path(check_layers.__file__).resolve().parent.parent
        table = check_layers.Table(check_layers.tomllib.loads((root / "docs" / "layers.toml").read_text()))
        self.assertEqual(table.errors, [])
        self.assertIsNone(check_layers.find_cycle(table.allowed))
        self.assertNotIn("sim", table.allowed["server"])


if __name__ == "__main__":
    unittest.main()
