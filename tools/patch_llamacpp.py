"""Changes some places of llama.cpp's source before it is built; fails where one of them does not look as expected.

usage: patch_llamacpp.py [--needed-only] SOURCE     SOURCE is a llama.cpp tree

1. AMX: g++ 12 takes _tile_loadconfig to read eight bytes only and drops the stores into the rest of its argument, which ends
   in SIGILL at the first matrix product. An empty statement that may read all of it keeps them. Without this nothing runs:
   with --needed-only it is the only change, for programs that stand for llama.cpp as it is.
2. Threads that wait for each other within a step (ggml's own barrier, without OpenMP) look for some microseconds and then sleep in
   a futex. A core that a thread spins on can't be given to the thread that is waited for; one that is idle is.
3. What a grammar may take at one token is bounded: rules can be written whose ways double with every letter, and the thread that follows
   them is the one that computes everybody's tokens. What exceeds it is an exception, which ends that answer alone.
4. Attention over the cells of a cache that sequences share is computed by src/engines/llamacpp/cell_attention.h, which says why.
5. Products of Q4_1 weights are computed by src/engines/llamacpp/q4_1_product.h, likewise.
6. Threads of a pool may come and go between the nodes of a graph, where the pool is told so: src/engines/llamacpp/coming_threads.h, likewise.
"""

import pathlib
import shutil
import sys

SPINS = 2000  # rounds of `pause`: 30 to 100 µs, more than a barrier lasts while every thread has a core

# About half a second's: stacks are copied and compared from their bottoms, and tokens are held against each of them. A list of 10,000 words
# takes about half of it at its first token, with 49,152 tokens to choose from.
GRAMMAR_WORK = 30_000_000

AMX = "ggml/src/ggml-cpu/amx/mmq.cpp"
CPU = "ggml/src/ggml-cpu/ggml-cpu.c"
GRAMMAR = "src/llama-grammar.cpp"
SAMPLER = "src/llama-sampler.cpp"
COMMON_SAMPLING = "common/sampling.cpp"
OPS = "ggml/src/ggml-cpu/ops.cpp"
SGEMM = "ggml/src/ggml-cpu/llamafile/sgemm.cpp"
ATTENTION = "src/engines/llamacpp/cell_attention.h"  # of this repository; it goes beside OPS
PRODUCT = "src/engines/llamacpp/q4_1_product.h"  # likewise, beside SGEMM
COMING = "src/engines/llamacpp/coming_threads.h"  # likewise, beside CPU

NEEDED = [
    (AMX, "    _tile_loadconfig(&tc);\n", '    asm volatile("" : : "r"(&tc) : "memory");\n    _tile_loadconfig(&tc);\n'),
]
OURS = [
    (
        GRAMMAR,
        "#define MAX_REPETITION_THRESHOLD 2000\n",
        "#define MAX_REPETITION_THRESHOLD 2000\n"
        "// Of one call from outside, on its thread: stacks that were looked at, and what they were compared with.\n"
        "static thread_local int64_t grammar_work = 0;\n"
        "static void grammar_spend(size_t work) {\n"
        "    grammar_work += static_cast<int64_t>(work);\n"
        f"    if (grammar_work > {GRAMMAR_WORK}) {{\n"
        '        throw std::length_error("the grammar can be followed in too many ways at once");\n'
        "    }\n"
        "}\n",
    ),
    (
        GRAMMAR,
        "        auto [curr_stack_it, inserted] = seen.insert(std::move(curr_stack_candidate));\n",
        "        grammar_spend((16 + new_stacks.size() / 4) * (1 + curr_stack_candidate.size() / 8));\n"
        "        auto [curr_stack_it, inserted] = seen.insert(std::move(curr_stack_candidate));\n",
    ),
    (
        GRAMMAR,
        "    rejects.reserve(candidates.size());\n",
        "    grammar_spend(candidates.size() / 64);\n    rejects.reserve(candidates.size());\n",
    ),
    (GRAMMAR, "bool llama_grammar_parser::parse(const char * src) {\n", "bool llama_grammar_parser::parse(const char * src) {\n    grammar_work = 0;\n"),
    (
        GRAMMAR,
        "void llama_grammar_apply_impl(const struct llama_grammar & grammar, llama_token_data_array * cur_p) {\n",
        "void llama_grammar_apply_impl(const struct llama_grammar & grammar, llama_token_data_array * cur_p) {\n    grammar_work = 0;\n",
    ),
    (
        GRAMMAR,
        "void llama_grammar_accept_impl(struct llama_grammar & grammar, llama_token token) {\n",
        "void llama_grammar_accept_impl(struct llama_grammar & grammar, llama_token token) {\n    grammar_work = 0;\n",
    ),
    (
        SGEMM,
        "/**\n * Performs optimized matrix multiplication on CPU.\n",
        '#include "q4_1_product.h"\n\n/**\n * Performs optimized matrix multiplication on CPU.\n',
    ),
    (SGEMM, "    if (n < 2)\n        return false;\n", "    if (n < 2 && Atype != GGML_TYPE_Q4_1)\n        return false;\n"),
    (
        SGEMM,
        "    case GGML_TYPE_IQ4_NL: {\n",
        "    case GGML_TYPE_Q4_1: {\n"
        "#ifdef EVENKEEL_Q4_1_PRODUCT\n"
        "        if (Btype == GGML_TYPE_Q8_1) {\n"
        "            evenkeel::Q41Product(k, (const block_q4_1 *)A, lda, (const block_q8_1 *)B, ldb, (float *)C, ldc)\n"
        "                .Run(m, n, params->ith, params->nth);\n"
        "            return true;\n"
        "        }\n"
        "#endif\n"
        "        return false;\n"
        "    }\n\n"
        "    case GGML_TYPE_IQ4_NL: {\n",
    ),
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
    (COMMON_SAMPLING, "            throw e;\n", "            llama_sampler_free(grmr);\n            llama_sampler_free(chain);\n            throw; // as what it is\n"),
    (
        SAMPLER,
        "        llama_grammar * grammar = nullptr;\n        // TODO: remove trigger_words support.\n",
        "        llama_grammar * grammar = nullptr;\n"
        "        // Of a grammar that ends in an exception nothing is left behind.\n"
        "        struct owner {\n"
        "            llama_sampler_grammar * owned;\n"
        "            int before = std::uncaught_exceptions();\n"
        "            ~owner() { if (std::uncaught_exceptions() > before) { delete owned; } }\n"
        "        } owner{ctx};\n"
        "        // TODO: remove trigger_words support.\n",
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
    (CPU, "// Threadpool def\nstruct ggml_threadpool {\n", "// Threadpool def\nstruct coming;\nstruct ggml_threadpool {\n"),
    (
        CPU,
        "    struct ggml_compute_state * workers;   // per thread state\n",
        "    struct ggml_compute_state * workers;   // per thread state\n    struct coming * coming;\n    atomic_int * n_present;  // of its\n",
    ),
    (
        CPU,
        "    int n_threads = atomic_load_explicit(&tp->n_graph, memory_order_relaxed) & GGML_THREADPOOL_N_THREADS_MASK;\n"
        "    if (n_threads == 1) {\n",
        "    int n_threads = atomic_load_explicit(&tp->n_graph, memory_order_relaxed) & GGML_THREADPOOL_N_THREADS_MASK;\n"
        "    if (n_threads & 0x8000) {\n"
        "        n_threads = atomic_load_explicit(tp->n_present, memory_order_relaxed);\n"
        "    }\n"
        "    if (n_threads == 1) {\n",
    ),
    (
        CPU,
        "void ggml_threadpool_free(struct ggml_threadpool* threadpool) {\n",
        '#include "coming_threads.h"\n\nvoid ggml_threadpool_free(struct ggml_threadpool* threadpool) {\n',
    ),
    (
        CPU,
        "    ggml_aligned_free(threadpool->workers, workers_size);\n",
        "    coming_free(threadpool->coming, n_threads);\n    ggml_aligned_free(threadpool->workers, workers_size);\n",
    ),
    (
        CPU,
        "    struct ggml_threadpool    * tp    = state->threadpool;\n\n    const struct ggml_cgraph * cgraph = tp->cgraph;\n",
        "    struct ggml_threadpool    * tp    = state->threadpool;\n\n"
        "    if (state->ith == 0 && (atomic_load(&tp->n_graph) & COMING_FLAG)) {\n"
        "        coming_first(state);\n"
        "        return 0;\n"
        "    }\n"
        "    if (state->ith > 0) {\n"
        "        if (state->last_graph & COMING_FLAG) {\n"
        "            coming_help(state);\n"
        "            return 0;\n"
        "        }\n"
        "        coming_anywhere(tp->coming, &tp->coming->helpers[state->ith]);\n"
        "    }\n\n"
        "    const struct ggml_cgraph * cgraph = tp->cgraph;\n",
    ),
    (
        CPU,
        "    int n_threads = n_graph & GGML_THREADPOOL_N_THREADS_MASK;\n    if (n_graph != state->last_graph) {\n",
        "    int n_threads = COMING_THREADS(n_graph & GGML_THREADPOOL_N_THREADS_MASK);\n    if (n_graph != state->last_graph) {\n",
    ),
    (
        CPU,
        "    n_graph = ((n_graph + 1) << GGML_THREADPOOL_N_THREADS_BITS) | (n_threads & GGML_THREADPOOL_N_THREADS_MASK);\n",
        "    n_graph = ((n_graph + 1) << GGML_THREADPOOL_N_THREADS_BITS) | (coming_begin(threadpool->coming, n_threads) & GGML_THREADPOOL_N_THREADS_MASK);\n",
    ),
    (
        CPU,
        "    threadpool->workers = workers;\n",
        "    threadpool->workers = workers;\n    threadpool->coming = coming_new(tpp->n_threads);\n    threadpool->n_present = &threadpool->coming->present;\n",
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
        for header, user in ((ATTENTION, OPS), (PRODUCT, SGEMM), (COMING, CPU)):
            file = pathlib.Path(__file__).resolve().parent.parent / header
            shutil.copyfile(file, (source / user).with_name(file.name))


main()
