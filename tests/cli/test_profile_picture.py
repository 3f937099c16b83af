"""`evenkeel profile --plot FILE.png`: what the picture shows, and what is said where none can be made. Workers are fake ones."""

import os
import shutil
import subprocess

import numpy as np
import pytest

import daemon
from daemon import BINARY
from png_image import MAGIC, read_png
from test_profile import FEW, profile  # noqa: F401 (a fixture)

LIBEXEC = BINARY.parent / "libexec" / "evenkeel"
HELPER = LIBEXEC / "evenkeel-svg-png"
CURVE, CHOSEN = (0x00, 0x72, 0xB2), (0xCC, 0x00, 0x00)


def pixels_of(picture, colour):
    return int(np.all(picture == np.array(colour, dtype=np.uint8), axis=2).sum())


def dark_pixels_of(picture):
    return int((picture.max(axis=2) < 128).sum())


def test_a_picture_has_texts_above_four_charts_with_their_curves_and_marks(profile, tmp_path):  # noqa: F811
    file = tmp_path / "pays.png"
    result = profile("pays", *FEW, "--plot", str(file))
    assert result.returncode == 0, result.stderr
    picture = read_png(file.read_bytes())
    height, width, _ = picture.shape
    assert width == 2 * (2 * 560 + 24 + 2 * 32) and 2 * 600 < height < 2 * 1000
    assert tuple(picture[0, 0]) == tuple(picture[-1, -1]) == (255, 255, 255)
    top, right = height - 2 * (32 + 2 * 300 + 24), 2 * (32 + 560 + 12)
    assert dark_pixels_of(picture[:top]) > 5000  # words
    middle = top + 2 * (300 + 12)
    for rows in (slice(top, middle), slice(middle, height)):
        for columns in (slice(0, right), slice(right, width)):
            chart = picture[rows, columns]
            assert pixels_of(chart, CURVE) > 500
            assert pixels_of(chart, CHOSEN) > 50
            assert dark_pixels_of(chart) > 500
    # The threshold is drawn across the last chart only.
    assert pixels_of(picture[middle:, right:], CHOSEN) > 1.5 * pixels_of(picture[top:middle, right:], CHOSEN)
    assert os.listdir(tmp_path).count("pays.png") == 1 and not list(tmp_path.glob("pays.png?*"))


def test_a_picture_is_replaced_as_a_whole(profile, tmp_path):  # noqa: F811
    file = tmp_path / "old.PNG"
    file.write_text("what was there")
    kept = file.open()
    assert profile("pays", *FEW, "--plot", str(file)).returncode == 0
    assert file.read_bytes().startswith(MAGIC)
    assert kept.read() == "what was there"  # another file by now


def test_a_model_that_no_shape_fits_still_has_a_picture(profile, tmp_path):  # noqa: F811
    result = profile("large", "--runtime", "process", "--shapes", "1c/16MiB", "--batches", "8", "--plot", "large.png")
    assert result.returncode == 0, result.stderr
    assert dark_pixels_of(read_png((tmp_path / "large.png").read_bytes())) > 1000


@pytest.mark.parametrize("file", ["no-such-folder/x.png", "/proc/x.png"])
def test_a_picture_that_cannot_be_written_is_an_error_and_the_rows_are_kept(profile, file):  # noqa: F811
    result = profile("pays", *FEW, "--plot", file)
    assert result.returncode == 1 and file in result.stderr, result.stderr
    assert "batch 4 on 1c/256MiB" in result.stdout
    assert "(3 earlier)" in profile("pays", *FEW).stderr


def test_a_suffix_that_is_none_is_refused_before_anything_is_measured(profile, tmp_path):  # noqa: F811
    result = profile("pays", *FEW, "--plot", "pays.svg")
    assert result.returncode == 2 and "--plot: expected .html or .png, got 'pays.svg'" in result.stderr
    assert result.stdout == "" and not (tmp_path / "state").exists() and not (tmp_path / "pays.svg").exists()


# The program that draws


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """The program as it is installed, with a libexec of the test's own that has no evenkeel-svg-png."""
    libexec = tmp_path / "tree" / "libexec" / "evenkeel"
    libexec.mkdir(parents=True)
    for worker in LIBEXEC.iterdir():
        if worker.name != HELPER.name:
            (libexec / worker.name).symlink_to(worker)
    shutil.copy(BINARY, tmp_path / "tree" / "evenkeel")
    monkeypatch.setattr(daemon, "BINARY", tmp_path / "tree" / "evenkeel")
    return libexec


@pytest.mark.parametrize("script, said", [
    (None, "evenkeel-svg-png, which is not there"),
    ("", "made no picture"),
    ("#!/no/such/interpreter\n", "made no picture: it does not start: No such file or directory"),
    ("#!/bin/sh\necho one; echo two >&2; echo three >&2; exit 3\n", "made no picture: three;"),
    ("#!/bin/sh\nexit 3\n", "made no picture: it ended with exit code 3;"),
    ("#!/bin/sh\nkill -SEGV $$\n", "made no picture: it was ended by signal 11;"),
    ("#!/bin/sh\necho no picture\n", "made no picture: it ended with exit code 0;"),
])
def test_without_the_program_that_draws_nothing_is_measured(profile, tree, tmp_path, script, said):  # noqa: F811
    if script is not None:
        (tree / HELPER.name).write_text(script)
        (tree / HELPER.name).chmod(0o755)
    (tmp_path / "old.png").write_text("what was there")
    result = profile("pays", *FEW, "--plot", "old.png")
    assert result.returncode == 1 and result.stdout == ""
    assert said in result.stderr and "name a .html file" in result.stderr, result.stderr
    assert not (tmp_path / "state" / "load_tables.db").exists()
    assert (tmp_path / "old.png").read_text() == "what was there"
    assert profile("pays", *FEW, "--plot", "page.html").returncode == 0


def test_without_any_font_it_says_so(profile, tmp_path):  # noqa: F811
    (tmp_path / "fonts.conf").write_text("<?xml version='1.0'?><fontconfig></fontconfig>\n")
    result = profile("pays", *FEW, "--plot", "x.png", env={"FONTCONFIG_FILE": str(tmp_path / "fonts.conf")})
    assert result.returncode == 1 and "no font is installed" in result.stderr
    assert "apt-get install librsvg2-2 fonts-dejavu-core" in result.stderr


def drawn(document: bytes, *arguments):
    return subprocess.run([HELPER, *arguments], input=document, capture_output=True, timeout=30, check=False)


def test_it_draws_what_the_document_says():
    result = drawn(b"<svg xmlns='http://www.w3.org/2000/svg' width='5' height='3'><rect width='2' height='3' fill='#f00'/>"
                   b"<rect x='2' width='3' height='3' fill='#fff'/></svg>")
    assert result.returncode == 0 and result.stderr == b""
    picture = read_png(result.stdout)
    assert picture.shape == (3, 5, 3)
    assert (picture[:, :2] == (255, 0, 0)).all() and (picture[:, 2:] == 255).all()


def test_nothing_that_a_document_refers_to_is_loaded(tmp_path):
    red = drawn(b"<svg xmlns='http://www.w3.org/2000/svg' width='4' height='4'><rect width='4' height='4' fill='#f00'/></svg>")
    (tmp_path / "red.png").write_bytes(red.stdout)
    result = drawn(b"<svg xmlns='http://www.w3.org/2000/svg' width='4' height='4'><rect width='4' height='4' fill='#fff'/>"
                   b"<image width='4' height='4' href='file://%s/red.png'/></svg>" % str(tmp_path).encode())
    assert result.returncode == 0 and (read_png(result.stdout) == 255).all()


@pytest.mark.parametrize("document, said", [
    (b"", b"no SVG document"),
    (b"no XML", b"no SVG document"),
    (b"<svg xmlns='http://www.w3.org/2000/svg' width='5' height='3'>", b"no SVG document"),
    (b"<html/>", b"no SVG document"),
    (b"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 5 3'/>", b"size"),
    (b"<svg xmlns='http://www.w3.org/2000/svg' width='0' height='3'/>", b"size"),
    (b"<svg xmlns='http://www.w3.org/2000/svg' width='20000' height='3'/>", b"out of range"),
])
def test_what_it_cannot_draw_is_an_error_of_one_line(document, said):
    result = drawn(document)
    assert result.returncode == 1 and result.stdout == b""
    assert said in result.stderr and result.stderr.count(b"\n") == 1, result.stderr


def test_the_program_itself_links_no_graphics_library():
    libraries = subprocess.run(["ldd", BINARY], capture_output=True, text=True, check=True).stdout
    for name in ("librsvg", "libcairo", "libfontconfig", "libpango"):
        assert name not in libraries
