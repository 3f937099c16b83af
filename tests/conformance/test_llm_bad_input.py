"""The careless and the hostile against a language model, as llm_bad_input.py plays them, beside streams that must not notice."""

from __future__ import annotations

import pytest
from daemon import BINARY
from llm_bad_input import GGUF, Report, place, play

pytestmark = pytest.mark.skipif(not GGUF.exists() or not (BINARY.parent / "libexec" / "evenkeel" / "evenkeel-worker-llamacpp").exists(),
                                reason="no language model, or no worker for one")


def test_each_is_answered_as_it_should_be_and_nobody_else_notices(serve, tmp_path):
    place(tmp_path / "daemon" / "models")
    daemon = serve(models={}, folder=tmp_path / "daemon")
    said = []
    report = Report(show=said.append)
    play(daemon, report)
    assert not report.wrong, "\n".join(report.wrong)
    assert report.count > 200, "\n".join(said)
