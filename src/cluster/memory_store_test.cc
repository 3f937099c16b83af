// The contracts over the store in memory: MemoryStore is held to what etcd does (etcd/etcd_store_test.cc runs the same ones there).
#include "cluster/memory_store.h"

#include <gtest/gtest.h>

#include "cluster/kv_store_contract.h"
#include "cluster/membership_contract.h"
#include "cluster/memory_arena.h"

namespace evenkeel {
namespace {

INSTANTIATE_TYPED_TEST_SUITE_P(Memory, KvStoreContract, MemoryArena);
INSTANTIATE_TYPED_TEST_SUITE_P(Memory, MembershipContract, MemoryArena);

}  // namespace
}  // namespace evenkeel
