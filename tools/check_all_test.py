"""What check_all counts: JUnit files as ctest and pytest write them, and the second run of the few that failed."""

import contextlib
import io
import pathlib
import tempfile
import unittest

import check_all
from check_all import Count

JUNIT = """<testsuites><testsuite>
<testcase classname="a" name="passes"/>
<testcase classname="a" name="fails"><failure message="no"/></testcase>
<testcase classname="b" name="is_skipped"><skipped/></testcase>
<testcase classname="b" name="breaks"><error/></testcase>
</testsuite></testsuites>"""


class ReadJunit(unittest.TestCase):
    def read(self, text, status):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "report.xml"
            file.write_text(text)
            return check_all.read_junit(file, status)

    def test_sums_and_names(self):
        self.assertEqual(self.read(JUNIT, 1), (Count(1, 2, 1), ["a::fails", "b::breaks"]))

    def test_a_status_without_a_failing_case_is_a_failure(self):
        self.assertEqual(self.read("<testsuite><testcase name='x'/></testsuite>", 2), (Count(1, 1), []))

    def test_a_damaged_report_is_a_failure(self):
        with contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(self.read("<testsuite>", 0), (Count(0, 1), []))


class OnceMore(unittest.TestCase):
    def judge(self, count, failed, again):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            result = check_all.once_more(count, failed, lambda: again)
        return result, said.getvalue()

    def test_what_passes_alone_is_named_and_counted_apart(self):
        result, said = self.judge(Count(8, 2, 1), ["x", "y"], (Count(1, 1), ["y"]))
        self.assertEqual(result, Count(9, 1, 1, 1))
        self.assertIn("passed only alone: x", said)
        self.assertNotIn("alone: y", said)
        self.assertEqual(str(result), "9 passed, 1 failed, 1 skipped, 1 passed only alone")

    def test_nothing_runs_again_where_nothing_or_much_failed_or_the_step_broke(self):
        for count, failed in ((Count(8), []), (Count(8, check_all.FEW + 1), ["x"] * (check_all.FEW + 1)), (Count(8, 1), [])):
            result, _ = self.judge(count, failed, (Count(99), []))
            self.assertEqual(result, count)

    def test_what_did_not_run_again_has_not_passed(self):
        for again in ((Count(), []), (Count(0, 1), []), (Count(1), []), (Count(0, 0, 2), [])):
            self.assertEqual(self.judge(Count(8, 2), ["x", "y"], again)[0], Count(8, 2))


if __name__ == "__main__":
    unittest.main()
