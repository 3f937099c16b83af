// Threads of a step that come and go between its parts, where other processes want the cores too. C: tools/patch_llamacpp.py has ggml-cpu.c include it.
//
// The threads of a step wait for each other after each node of its graph, hundreds of times. One whose core another process has for some milliseconds holds all of them
//   up, so that two threads on a core and a half are slower than one alone. Here the first thread computes every node, and a helper takes part in those at whose
//   beginning it is there: it offers itself, is taken into a node or not, and gives its core up by itself, between two nodes, before the system would take it in the
//   middle of one. What it had of the core is won, and nobody waits while it has none.
// Contract: a node is computed by the threads that were taken into it, all of them; graphs computed so and graphs of the usual kind may follow each other in any order.
//   When the first thread leaves a graph no helper looks at it any more. A helper keeps off the core that the first thread is on, where its processors allow that.
// Use for: graphs of one pool, begun by one thread at a time, as ggml's are. Ours, beside ggml's own loop, of which it repeats which nodes are computed.
#pragma once

#include <sched.h>
#include <time.h>

#define COMING_FLAG 0x8000  // among the threads of n_graph: the graph is computed so
#define COMING_THREADS(n_graph) ((n_graph)&0x7fff)

static int ggml_cpu_try_fuse_ops(const struct ggml_cgraph*, const int,
                                 const struct ggml_compute_params*, const struct ggml_cplan*);

enum {
  COMING_AWAY = -1,     // not there
  COMING_OFFERED = 0,   // looks whether it is taken
  COMING_CLAIMED = -2,  // about to be; above 0: its number in the node
};

// A turn of a core, less than the system lets a thread have before it looks whether others want it; and the sleep behind it, after which the core is had again
// soon: who sleeps keeps his claim, where a yield gives up a whole slice. Of the pairs that were tried (turns of 0.3 to 1.2 ms, sleeps of 0.05 to 1 ms) these lost least.
static const int64_t coming_turn_ns = 700 * 1000, coming_sleep_ns = 500 * 1000;
static const int coming_spins = 2000;  // 30 to 100 us

struct coming_helper {
  atomic_int GGML_CACHE_ALIGN place;
  bool moved;     // its processors are not the first thread's
  cpu_set_t set;  // that it was given, where it ever was
  bool ever;
};

struct coming {
  struct coming_helper* helpers;  // by thread; the first is not used
  bool wanted;                    // of the graphs that are begun from now on
  atomic_int first_thread;
  int node;                             // that is computed
  atomic_int first_core;                // written by the first thread at each node, as those before
  atomic_int GGML_CACHE_ALIGN present;  // threads of the node that is computed
  atomic_int GGML_CACHE_ALIGN done;     // helpers that are through with it
  atomic_int first_asleep;              // until `done` changes
  atomic_int GGML_CACHE_ALIGN ended;    // n_graph of the last graph that is over
};

static struct coming* coming_new(int n_threads) {
  struct coming* c = ggml_aligned_malloc(sizeof(struct coming));
  memset(c, 0, sizeof(struct coming));
  atomic_store(&c->present, 1);
  const size_t size = sizeof(struct coming_helper) * (size_t)n_threads;
  c->helpers = ggml_aligned_malloc(size);
  memset(c->helpers, 0, size);
  for (int i = 0; i < n_threads; ++i) atomic_store(&c->helpers[i].place, COMING_AWAY);
  return c;
}

static void coming_free(struct coming* c, int n_threads) {
  ggml_aligned_free(c->helpers, sizeof(struct coming_helper) * (size_t)n_threads);
  ggml_aligned_free(c, sizeof(struct coming));
}

// Of the graphs that are begun after it, by whoever begins them.
void evenkeel_threads_come_and_go(struct ggml_threadpool* tp, bool wanted) {
  tp->coming->wanted = wanted;
}

// What stands for the threads of a graph that begins: the number itself, or with the flag, and then no more than there are processors for. Called by the first thread.
static int coming_begin(struct coming* c, int n_threads) {
  if (!c->wanted || n_threads < 2) return n_threads;
  cpu_set_t all;
  if (sched_getaffinity(0, sizeof all, &all) != 0) return n_threads;
  const int processors = CPU_COUNT(&all);
  if (processors < 2) return 1;
  atomic_store(&c->first_thread, (int)syscall(SYS_gettid));
  atomic_store(&c->first_core, sched_getcpu());
  return (n_threads < processors ? n_threads : processors) | COMING_FLAG;
}

static int64_t coming_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

// Nodes that were computed beside the node, as one with it.
static int coming_compute(struct ggml_threadpool* tp, int node, int ith, int nth) {
  struct ggml_compute_params params = {
      /*.ith        =*/ith,
      /*.nth        =*/nth,
      /*.wsize      =*/tp->cplan->work_size,
      /*.wdata      =*/tp->cplan->work_data,
      /*.threadpool =*/tp,
      /*.use_ref    =*/tp->cplan->use_ref,
  };
  const int fused = ggml_cpu_try_fuse_ops(tp->cgraph, node, &params, tp->cplan);
  if (fused > 0) return fused;
  ggml_compute_forward(&params, tp->cgraph->nodes[node]);
  return 0;
}

// Takes whoever is there into the node; how many it has then.
static int coming_take(struct coming* c, int node, int n_threads) {
  int taken[GGML_MAX_N_THREADS];
  int n = 1;
  for (int i = 1; i < n_threads; ++i) {
    int offered = COMING_OFFERED;
    if (atomic_load_explicit(&c->helpers[i].place, memory_order_relaxed) == COMING_OFFERED &&
        atomic_compare_exchange_strong(&c->helpers[i].place, &offered, COMING_CLAIMED)) {
      taken[n++] = i;
    }
  }
  c->node = node;
  atomic_store_explicit(&c->done, 0, memory_order_relaxed);
  atomic_store_explicit(&c->present, n, memory_order_relaxed);
  for (int i = 1; i < n; ++i) {
    atomic_store_explicit(&c->helpers[taken[i]].place, i, memory_order_release);
  }
  return n;
}

static void coming_await(struct coming* c, int helpers) {
  for (int i = 0; i < coming_spins; ++i) {
    if (atomic_load_explicit(&c->done, memory_order_acquire) == helpers) return;
    ggml_thread_cpu_relax();
  }
  atomic_store(&c->first_asleep, 1);
  for (int seen; (seen = atomic_load(&c->done)) != helpers;) {
    syscall(SYS_futex, &c->done, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
  }
  atomic_store(&c->first_asleep, 0);
}

// The first thread's part of a graph.
static void coming_first(struct ggml_compute_state* state) {
  struct ggml_threadpool* tp = state->threadpool;
  struct coming* c = tp->coming;
  const struct ggml_cgraph* cgraph = tp->cgraph;
  const struct ggml_cplan* cplan = tp->cplan;
  const int graph = atomic_load(&tp->n_graph);
  const int n_threads = COMING_THREADS(graph);
  for (int node_n = 0; node_n < cgraph->n_nodes; node_n++) {
    struct ggml_tensor* node = cgraph->nodes[node_n];
    if (ggml_op_is_empty(node->op) || (node->flags & GGML_TENSOR_FLAG_COMPUTE) == 0) continue;
    atomic_store_explicit(&c->first_core, sched_getcpu(), memory_order_relaxed);
    const int n = coming_take(c, node_n, n_threads);
    node_n += coming_compute(tp, node_n, 0, n);
    if (n > 1) coming_await(c, n - 1);
    if (cplan->abort_callback && cplan->abort_callback(cplan->abort_callback_data)) {
      tp->ec = GGML_STATUS_ABORTED;
      break;
    }
  }
  atomic_store(&c->present, 1);
  atomic_store(&c->ended, graph);
}

static bool coming_over(struct ggml_threadpool* tp, int graph) {
  return atomic_load(&tp->coming->ended) == graph || atomic_load(&tp->n_graph) != graph ||
         tp->stop || tp->pause;
}

static bool coming_set(struct coming_helper* self, const cpu_set_t* set) {
  if (sched_setaffinity(0, sizeof *set, set) != 0) return false;
  self->set = *set;
  self->ever = true;
  return true;
}

// On the first thread's core a helper only takes it from that.
static void coming_keep_off(struct coming* c, struct coming_helper* self) {
  const int core = atomic_load_explicit(&c->first_core, memory_order_relaxed);
  if (core < 0 || core >= CPU_SETSIZE || sched_getcpu() != core) return;
  cpu_set_t all;
  if (sched_getaffinity((pid_t)atomic_load(&c->first_thread), sizeof all, &all) != 0) return;
  CPU_CLR(core, &all);
  if (CPU_COUNT(&all) > 0 && coming_set(self, &all)) self->moved = true;
}

// Back to where the first thread may be, and after it where that has changed since: before a graph of the usual kind.
static void coming_anywhere(struct coming* c, struct coming_helper* self) {
  cpu_set_t all;
  if (!self->ever || sched_getaffinity((pid_t)atomic_load(&c->first_thread), sizeof all, &all) != 0)
    return;
  if (!self->moved && CPU_EQUAL(&all, &self->set)) return;
  if (coming_set(self, &all)) self->moved = false;
}

// A helper's part of a graph, and of those after it that it did not see begin.
static void coming_help(struct ggml_compute_state* state) {
  struct ggml_threadpool* tp = state->threadpool;
  struct coming* c = tp->coming;
  struct coming_helper* self = &c->helpers[state->ith];
  const int graph = state->last_graph;
  coming_keep_off(c, self);
  int64_t since = coming_now();
  atomic_store(&self->place, COMING_OFFERED);
  for (int spins = 1;; ++spins) {
    const int mine = atomic_load_explicit(&self->place, memory_order_acquire);
    bool away = false;
    if (mine > 0) {
      coming_compute(tp, c->node, mine, atomic_load_explicit(&c->present, memory_order_relaxed));
      away = coming_now() - since > coming_turn_ns;
      atomic_store(&self->place, away ? COMING_AWAY : COMING_OFFERED);
      atomic_fetch_add(&c->done, 1);
      if (atomic_load(&c->first_asleep))
        syscall(SYS_futex, &c->done, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    } else {
      ggml_thread_cpu_relax();
      if (mine == COMING_OFFERED && spins % 32 == 0 &&
          (coming_over(tp, graph) || coming_now() - since > coming_turn_ns)) {
        int offered = COMING_OFFERED;
        away = atomic_compare_exchange_strong(&self->place, &offered, COMING_AWAY);
      }
    }
    if (!away) continue;
    if (coming_over(tp, graph)) return;
    const struct timespec others_turn = {0, coming_sleep_ns};
    nanosleep(&others_turn, NULL);
    since = coming_now();
    coming_keep_off(c, self);
    atomic_store(&self->place, COMING_OFFERED);
  }
}
