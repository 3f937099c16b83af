#!/usr/bin/env python3
"""Runs the project's checks and says how many passed.

    tools/check_all.py                                   what `make test` runs, on build/
    tools/check_all.py --only unit,python --build build/asan

Every step runs, whatever became of the ones before it. The last line of the output is the sum over all steps; the exit
status is 0 only if nothing failed and every step could be run to its end.

Tests run beside each other, and some of them time real processes: of a run in which few failed, those run once more, alone.
What passes then is named as such and counted apart; what fails again has failed.
"""

import argparse
import dataclasses
import os
import pathlib
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as xml
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORES = os.cpu_count() or 1


# Python tests that run at once, by whole files: most of them wait for processes most of the time. More would disturb those that time what they see.
AT_ONCE = min(2, CORES)
# With more failures than this the machine is not to blame, and nothing runs again.
FEW = 6


@dataclasses.dataclass
class Count:
    """How many checks of a step passed (`alone`: of these, only in their second run), failed and were skipped."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    alone: int = 0

    def __add__(self, other):
        return Count(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other))))

    def __str__(self):
        text = f"{self.passed} passed, {self.failed} failed"
        text += f", {self.skipped} skipped" if self.skipped else ""
        return text + (f", {self.alone} passed only alone" if self.alone else "")


def run(*command, **options):
    return subprocess.run([str(c) for c in command], cwd=ROOT, **options)


def one(succeeded):
    return Count(passed=1) if succeeded else Count(failed=1)


def listed(*patterns):
    """The project's own files: what git tracks or would, and still exists."""
    result = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns,
                 capture_output=True, text=True, check=True)
    return sorted({name for name in result.stdout.split("\0") if name and (ROOT / name).is_file()})


def changed(base):
    """Files that differ from the commit `base`, new ones included."""
    diff = run("git", "diff", "--name-only", "-z", base, capture_output=True, text=True, check=True).stdout
    new = run("git", "ls-files", "-z", "--others", "--exclude-standard", capture_output=True, text=True, check=True).stdout
    return {name for name in (diff + new).split("\0") if name}


def case_name(case):
    return "::".join(part for part in (case.get("classname"), case.get("name")) if part)


def read_junit(path, status):
    """(sums of a JUnit file, names of what failed); a step that failed without saying which check did counts as one failure."""
    count, failed = Count(), []
    try:
        for case in xml.parse(path).getroot().iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                count.failed += 1
                failed.append(case_name(case))
            elif case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
                count.skipped += 1
            else:
                count.passed += 1
    except (OSError, xml.ParseError) as error:
        print(f"check_all: {path}: {error}", file=sys.stderr)
        count.failed += 1
    if status != 0 and count.failed == 0:
        count.failed = 1
    return count, failed


def once_more(count, failed, run_alone):
    """The sums after the few that failed ran again by themselves. run_alone() runs them: (sums, names of what failed)."""
    if not 0 < len(failed) == count.failed <= FEW:
        return count
    print(f"== {len(failed)} failed beside others and run once more, alone", flush=True)
    again, still = run_alone()
    passed = [name for name in failed if name not in still]
    # What did not run again has not passed.
    if again.passed != len(passed) or again.failed != len(still):
        return count
    for name in passed:
        print(f"passed only alone: {name}", flush=True)
    return Count(count.passed + len(passed), len(still), count.skipped, len(passed))


def sanitizer_environment():
    environment = {
        "ASAN_OPTIONS": "detect_stack_use_after_return=1:check_initialization_order=1:strict_string_checks=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1:ignore_noninstrumented_modules=1",
        # The engine's thread library loads parts of itself in a way that the sanitizers' runtimes end a program for.
        "TBB_ENABLE_SANITIZERS": "1",
    }
    return {**environment, **os.environ}


def check_layers(options):
    return one(run(sys.executable, "tools/check_layers.py").returncode == 0)


def check_format(options):
    files = listed("*.cc", "*.h")
    if not files:
        return Count()
    result = run("clang-format-14", "--dry-run", "-Werror", *files, capture_output=True, text=True)
    bad = sorted({line.split(":")[0] for line in result.stderr.splitlines() if ": error:" in line})
    if bad:
        print("not as .clang-format wants it (make format):", *bad, sep="\n  ")
    elif result.returncode != 0:
        print(result.stderr)
    return one(result.returncode == 0)


def check_scripts(options):
    """The unit tests of the scripts themselves."""
    count = Count()
    for folder in ("tools", "models"):
        result = run(sys.executable, "-m", "unittest", "discover", "-s", folder, "-p", "*_test.py", stderr=subprocess.PIPE,
                     text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        ran = re.search(r"^Ran (\d+) test", result.stderr, re.MULTILINE)
        total = int(ran.group(1)) if ran else 0
        found = {k: int(v) for k, v in re.findall(r"(failures|errors|skipped)=(\d+)", result.stderr)}
        failed = found.get("failures", 0) + found.get("errors", 0)
        if result.returncode != 0:
            print(result.stderr)
            failed = max(failed, 1)
        skipped = found.get("skipped", 0)
        count += Count(max(total - failed - skipped, 0), failed, skipped)
    return count


def check_unit(options):
    def tests(report, *flags):
        report.unlink(missing_ok=True)
        status = run("ctest", "--test-dir", options.build, "--timeout", 300, "--output-on-failure", "--no-tests=error", "--progress",
                     "--output-junit", report, *flags, env=sanitizer_environment()).returncode
        return read_junit(report, status)

    count, failed = tests(options.build / "ctest.xml", "--parallel", CORES)
    return once_more(count, failed, lambda: tests(options.build / "ctest_again.xml", "--rerun-failed"))


def python_tests(options, marks, at_once):
    if not any((ROOT / "tests").rglob("test_*.py")):
        return Count()
    venv = run("tools/setup_venv.sh", "tools/requirements-tests.txt", stdout=subprocess.PIPE, text=True, check=True)
    environment = {
        **sanitizer_environment(),
        "EVENKEEL_BUILD": str(options.build),
        "EVENKEEL_MODELS": str(ROOT / "build" / "demo-models"),
    }

    def tests(report, *flags):
        report.unlink(missing_ok=True)
        status = run(pathlib.Path(venv.stdout.strip()) / "bin" / "python", "-m", "pytest", "tests", "-m", marks, "--timeout", 300, "-q", "-ra",
                     *flags, "--junitxml", report, env=environment).returncode
        if status == 5:  # pytest's way to say that no test has these marks
            return Count(), []
        return read_junit(report, status)

    together = ["-n", AT_ONCE, "--dist", "loadfile"] if at_once and AT_ONCE > 1 else []
    count, failed = tests(options.build / "pytest.xml", *together)
    return once_more(count, failed, lambda: tests(options.build / "pytest_again.xml", "--last-failed", "--last-failed-no-failures", "none"))


def check_python(options):
    return python_tests(options, "not long", at_once=True)


def check_python_long(options):
    return python_tests(options, "long", at_once=False)


def check_tidy(options):
    """clang-tidy on the changed sources, and on those whose own header has changed."""
    sources = [name for name in listed("src/*.cc", "apps/*.cc") if "/openvino/" not in name or options.build.exists()]
    if not options.all:
        touched = changed(options.base)
        if touched & {".clang-tidy", "CMakeLists.txt"}:
            print("(.clang-tidy or CMakeLists.txt changed; ALL=1 looks at every file)")
        sources = [name for name in sources if name in touched or name[:-3] + ".h" in touched]

    def tidy(name):
        return name, run("clang-tidy-14", "-p", options.build, "--quiet", "--extra-arg=-Wno-unknown-warning-option", name,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    count = Count()
    with ThreadPoolExecutor(CORES) as pool:
        for name, result in pool.map(tidy, sources):
            if result.returncode != 0:
                print(result.stdout or f"{name}: clang-tidy failed")
            count += one(result.returncode == 0)
    return count


def check_fuzz(options):
    """Every target for a while, from its corpus; what it finds stays in the build folder."""
    count = Count()
    targets = sorted(p for p in options.build.glob("*_fuzz") if os.access(p, os.X_OK))
    if not targets:
        print(f"no fuzz targets in {options.build}")
        return Count(failed=1)
    for target in targets:
        corpus, found = ROOT / "fuzz" / "corpus" / target.name, options.build / "corpus" / target.name
        crashes = options.build / "crashes" / target.name
        for folder in (found, crashes):
            folder.mkdir(parents=True, exist_ok=True)
        print(f"{target.name}: {options.fuzz_seconds} s", flush=True)
        result = run(target, found, *([corpus] if corpus.is_dir() else []), f"-max_total_time={options.fuzz_seconds}",
                     f"-artifact_prefix={crashes}/", f"-fork={CORES}" if CORES > 1 else "-jobs=0", "-timeout=10",
                     "-rss_limit_mb=2048", "-print_final_stats=1", env=sanitizer_environment(), stderr=subprocess.PIPE,
                     text=True, errors="replace")
        if result.returncode != 0:
            print("\n".join(result.stderr.splitlines()[-60:]))
        count += one(result.returncode == 0)
    return count


STEPS = {
    "layers": check_layers,
    "format": check_format,
    "scripts": check_scripts,
    "unit": check_unit,
    "python": check_python,
    "python-long": check_python_long,
    "tidy": check_tidy,
    "fuzz": check_fuzz,
}
DEFAULT = "layers,format,scripts,unit,python"


def main():
    parser = argparse.ArgumentParser(description="Runs the project's checks and says how many passed.")
    parser.add_argument("--only", default=DEFAULT, help=f"steps, of {', '.join(STEPS)} (default: %(default)s)")
    parser.add_argument("--build", default="build", help="build folder (default: %(default)s)")
    parser.add_argument("--all", action="store_true", help="tidy: every file, not only the changed ones")
    parser.add_argument("--base", default="HEAD", help="tidy: what files are compared with (default: %(default)s)")
    parser.add_argument("--fuzz-seconds", type=int, default=60, help="for each target (default: %(default)s)")
    options = parser.parse_args()
    options.build = (ROOT / options.build).resolve()
    wanted = options.only.split(",")
    if unknown := [name for name in wanted if name not in STEPS]:
        parser.error(f"no such step: {', '.join(unknown)}")

    total, lines = Count(), []
    for name in wanted:
        print(f"== {name}", flush=True)
        start = time.monotonic()
        try:
            count = STEPS[name](options)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"check_all: {name}: {error}", file=sys.stderr)
            count = Count(failed=1)
        lines.append(f"{name:12} {count} ({time.monotonic() - start:.0f} s)")
        total += count
    print("==", *lines, sep="\n")
    print(total, flush=True)
    return 0 if total.failed == 0 and total.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
