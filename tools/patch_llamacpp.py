"""Changes some places of llama.cpp's source before it is built; fails where one of them does not look as expected.

usage: patch_llamacpp.py [--needed-only] SOURCE     SOURCE is a llama.cpp tree

1. AMX: g++ 12 takes _tile_loadconfig to read eight bytes only and drops the stores into the rest of its argument, which ends
   in SIGILL at the first matrix product. An empty statement that may read all of it keeps them. Without this nothing runs:
   with --needed-only it is the only change, for programs that stand for llama.cpp as it is.
2. Threads that wait for each other within a step (ggml's own barrier, without OpenMP) look for some microseconds and then sleep in
   a futex. A core that a thread spins on can't be given to the thread that is waited for; one that is idle is.
3. Attention over the cells of a cache that sequences share is computed by src/engines/llamacpp/cell_attention.h, which says why.
"""

import pathlib
import shutil
import sys

SPINS = 2000  # rounds of `pause`: 30 to 100 µs, more than a barrier lasts while every thread has a core

AMX = "ggml/src/ggml-cpu/amx/mmq.cpp"
CPU = "ggml/src/ggml-cpu/ggml-cpu.c"
OPS = "ggml/src/ggml-cpu/ops.cpp"
ATTENTION = "src/engines/llamacpp/cell_attention.h"  # of this repository; it goes beside OPS

NEEDED = [
    (AMX, "    _tile_loadconfig(&tc);\n", '    asm volatile("" : : "r"(&tc) : "memory");\n    _tile_loadconfig(&tc);\n'),
]
OURS = [
    (OPS, "#include <cmath>\n", '#include <cmath>\n#include "cell_attention.h"\n'),
    (
        OPS,
        "    const bool use_ref = params->use_ref;\n\n    const bool kv_is",
        "    const bool use_ref = params->use_ref;\n"
        "#ifdef EVENKEEL_CELL_ATTENTION\n"
        "    if (!use_ref && evenkeel::CellAttention::Fits(dst)) {\n"
        "        evenkeel::CellAttention(params, dst).Run();\n"
        "        return;\n"
        "    }\n"
        "#endif\n\n    const bool kv_is",
    ),
    (
        CPU,
        "#if defined(__gnu_linux__)\n#include <syscall.h>\n#endif\n",
        "#if defined(__gnu_linux__)\n#include <syscall.h>\n#endif\n#include <linux/futex.h>\n#include <unistd.h>\n",
    ),
    (
        CPU,
        "    atomic_int GGML_CACHE_ALIGN n_barrier_passed;\n",
        "    atomic_int GGML_CACHE_ALIGN n_barrier_passed;\n    atomic_int n_barrier_asleep; // threads in the futex on n_barrier_passed\n",
    ),
    (
        CPU,
        "        atomic_fetch_add_explicit(&tp->n_barrier_passed, 1, memory_order_seq_cst);\n        return;\n",
        "        atomic_fetch_add_explicit(&tp->n_barrier_passed, 1, memory_order_seq_cst);\n"
        "        if (atomic_load_explicit(&tp->n_barrier_asleep, memory_order_seq_cst) > 0) {\n"
        "            syscall(SYS_futex, &tp->n_barrier_passed, FUTEX_WAKE_PRIVATE, n_threads, NULL, NULL, 0);\n"
        "        }\n"
        "        return;\n",
    ),
    (
        CPU,
        "    while (atomic_load_explicit(&tp->n_barrier_passed, memory_order_relaxed) == n_passed) {\n"
        "        ggml_thread_cpu_relax();\n"
        "    }\n",
        f"    for (int i = 0; i < {SPINS} && atomic_load_explicit(&tp->n_barrier_passed, memory_order_relaxed) == n_passed; ++i) {{\n"
        "        ggml_thread_cpu_relax();\n"
        "    }\n"
        "    if (atomic_load_explicit(&tp->n_barrier_passed, memory_order_relaxed) == n_passed) {\n"
        "        atomic_fetch_add_explicit(&tp->n_barrier_asleep, 1, memory_order_seq_cst);\n"
        "        while (atomic_load_explicit(&tp->n_barrier_passed, memory_order_seq_cst) == n_passed) {\n"
        "            syscall(SYS_futex, &tp->n_barrier_passed, FUTEX_WAIT_PRIVATE, n_passed, NULL, NULL, 0);\n"
        "        }\n"
        "        atomic_fetch_sub_explicit(&tp->n_barrier_asleep, 1, memory_order_relaxed);\n"
        "    }\n",
    ),
    (
        CPU,
        "        threadpool->n_barrier_passed = 0;\n",
        "        threadpool->n_barrier_passed = 0;\n        threadpool->n_barrier_asleep = 0;\n",
    ),
]


def main():
    needed_only = sys.argv[1] == "--needed-only"
    source = pathlib.Path(sys.argv[-1])
    for name, old, new in NEEDED if needed_only else NEEDED + OURS:
        path = source / name
        text = path.read_text(encoding="utf-8")
        if text.count(old) != 1:
            sys.exit(f"patch_llamacpp: {path}: expected this once, found it {text.count(old)} times:\n{old}")
        path.write_text(text.replace(old, new), encoding="utf-8")
    if not needed_only:
        header = pathlib.Path(__file__).resolve().parent.parent / ATTENTION
        shutil.copyfile(header, (source / OPS).with_name(header.name))


main()
