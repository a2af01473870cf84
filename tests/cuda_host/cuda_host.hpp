// Runs CUDA C++ kernels on the CPU, for tests: the unmodified .cu file is compiled as C++ after this header.
//
// The threads of a block are fibers of one OS thread, so results do not depend on scheduling; blocks are shared out to
// CUDA_HOST_WORKERS OS threads (default: one per core). Barriers, warp votes and shuffles, atomics and static shared memory work. A
// barrier or a warp operation that not all of its threads reach stops the program with a message.
//
// With -fsanitize=thread (and one worker) every CUDA thread is a thread of its own to ThreadSanitizer, ordered with the others of its
// block by __syncthreads and __syncwarp only: a forgotten one is a reported race, whatever the order in which the fibers ran.
// With -fsanitize=address an access out of bounds is reported.
//
// Not covered: dynamic shared memory, textures, __constant__ memory, cooperative groups, tensor cores, races between blocks.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#ifndef __x86_64__
#include <ucontext.h>
#endif

#define CUDA_HOST 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __shared__ static thread_local

// ---------------------------------------------------------------------------------------------- types and built-in variables

struct alignas(8) float2 { float x, y; };
struct float3 { float x, y, z; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct int3 { int x, y, z; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct uint3 { unsigned x, y, z; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct uchar3 { unsigned char x, y, z; };
struct alignas(4) uchar4 { unsigned char x, y, z, w; };
struct dim3 { unsigned x = 1, y = 1, z = 1; };

inline float2 make_float2(float x, float y) { return {x, y}; }
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uchar4 make_uchar4(unsigned char x, unsigned char y, unsigned char z, unsigned char w) { return {x, y, z, w}; }

inline thread_local uint3 threadIdx{}, blockIdx{};
inline dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

// ------------------------------------------------------------------------------------------------------------- running blocks

namespace cuda_host {

[[noreturn]] inline void fail(const char* message) {
  std::fprintf(stderr, "cuda_host: %s (block %u,%u,%u thread %u,%u,%u)\n", message, blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x,
               threadIdx.y, threadIdx.z);
  std::abort();
}

// What ThreadSanitizer is told. Elsewhere nothing.
#ifdef __SANITIZE_THREAD__
// Of a function that leaves for another stack: it would stay among the calls that the race check thinks its caller is in.
#define UNCHECKED __attribute__((no_sanitize("thread")))
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned);
void __tsan_destroy_fiber(void*);
void __tsan_switch_to_fiber(void*, unsigned);
void __tsan_acquire(void*);
void __tsan_release(void*);
// The compiler knows the name, but with other types. The last two: memory order, 0 is relaxed.
int tsan_compare_exchange(volatile int*, int, int, int, int) __asm__("__tsan_atomic32_compare_exchange_val");
void AnnotateIgnoreReadsBegin(const char*, int);
void AnnotateIgnoreReadsEnd(const char*, int);
void AnnotateIgnoreWritesBegin(const char*, int);
void AnnotateIgnoreWritesEnd(const char*, int);
}
inline void* current_thread() { return __tsan_get_current_fiber(); }
inline void* new_thread() { return __tsan_create_fiber(0); }
inline void delete_thread(void* thread) { __tsan_destroy_fiber(thread); }
inline void become(void* thread) { __tsan_switch_to_fiber(thread, 1); }  // 1: without ordering the two
inline void acquire(char* point) { __tsan_acquire(point); }
inline void release(char* point) { __tsan_release(point); }
// The emulation's own data is no concern of the race check.
struct Unwatched {
  Unwatched() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__), AnnotateIgnoreWritesBegin(__FILE__, __LINE__); }
  ~Unwatched() { AnnotateIgnoreWritesEnd(__FILE__, __LINE__), AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
};
#else
#define UNCHECKED
inline void* current_thread() { return nullptr; }
inline void* new_thread() { return nullptr; }
inline void delete_thread(void*) {}
inline void become(void*) {}
inline void acquire(char*) {}
inline void release(char*) {}
struct Unwatched {
  Unwatched() {}
};
#endif

// A point that threads leave only when all have arrived. Two places in turn: a thread can be at the next point already while another
// has not left this one.
struct MeetingPoint {
  char places[2];
  unsigned count = 0;
  char* now() { return &places[count % 2]; }
};

inline unsigned rank_in_block() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }
inline void place(uint3& at, unsigned i, dim3 d) { at = {i % d.x, i / d.x % d.y, i / (d.x * d.y)}; }

// What the lanes of a mask exchanged, kept until each of them has read it.
struct Round {
  uint64_t values[32];
  unsigned votes = 0, unread = 0;
};

struct Warp {
  MeetingPoint point;
  uint64_t offered[32];
  unsigned arrived = 0, votes = 0;
  Round rounds[32];  // groups of lanes may go on at different speeds
  int round_of[32];
};

#ifdef __x86_64__
// Puts what a called function must keep on the stack, leaves the stack's end in `from`, and goes on at the end `to` of another stack.
extern "C" __attribute__((visibility("hidden"))) void cuda_host_switch(void** from, void* to);
asm(R"(
.text
.p2align 4
.type cuda_host_switch, @function
cuda_host_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_host_switch, .-cuda_host_switch
)");

// A place to go on from. swapcontext would do, but makes a system call at each switch, and under AddressSanitizer clears its notes of
// the whole stack.
struct Context {
  void* end = nullptr;
  void prepare(char* stack, size_t bytes, void (*start)()) {
    void** const top = reinterpret_cast<void**>((reinterpret_cast<uintptr_t>(stack) + bytes) / 16 * 16);
    top[-1] = nullptr;  // `start` does not return
    top[-2] = reinterpret_cast<void*>(start);
    std::fill(top - 8, top - 2, nullptr);  // the registers
    end = top - 8;
  }
  void switch_to(Context& other) { cuda_host_switch(&end, other.end); }
};
#else
struct Context {
  ucontext_t full;
  void prepare(char* stack, size_t bytes, void (*start)()) {
    getcontext(&full);
    full.uc_link = nullptr;
    full.uc_stack.ss_sp = stack;
    full.uc_stack.ss_size = bytes;
    makecontext(&full, start, 0);
  }
  void switch_to(Context& other) { swapcontext(&full, &other.full); }
};
#endif

struct Waiting {
  enum Kind : char { nothing, barrier, warp, finished };
};

// The block that an OS thread runs. A fiber runs CUDA thread after CUDA thread until one has to wait; then the next fiber goes on with
// the threads not yet started. So a kernel that never waits runs as a plain loop, and only as many stacks are used as threads wait.
class Block {
 public:
  const std::function<void()>* body = nullptr;

  ~Block() {
    for (void* thread : identities) delete_thread(thread);
  }
  void run(unsigned b, unsigned threads) {
    place(blockIdx, b, gridDim);
    waiting.assign(threads, Waiting::nothing);
    warps.assign((threads + 31) / 32, Warp{});
    fiber_of.assign(threads, nullptr);
    while (identities.size() < threads) identities.push_back(new_thread());
    scheduler_identity = current_thread();
    alive = threads;
    started = at_barrier = 0;
    release(&block_start);
    for (unsigned number = 0; started < threads; ++number) run_fiber(number);
    while (alive) {
      bool progress = false;
      for (unsigned t = 0; t < threads; ++t) {
        if (waiting[t] != Waiting::nothing) continue;
        progress = true;
        place(threadIdx, t, blockDim);
        scheduler.switch_to(fiber_of[t]->context);
      }
      if (!progress) fail("deadlock: the threads of a block wait at different barriers or warp operations");
    }
    acquire(&block_end);
  }

  void sync() {
    char* const point = barrier.now();
    release(point);
    if (++at_barrier == alive) open_barrier();
    else wait(rank_in_block(), Waiting::barrier);
    acquire(point);
  }
  // Every lane of `mask` offers a value and a vote, and gets what all of them offered. Only `ordered` makes what a lane has written
  // visible to the others.
  Round exchange(unsigned mask, uint64_t value, bool vote, bool ordered) {
    const unsigned t = rank_in_block(), lane = t % 32, first = t - lane, own = 1u << lane;
    Warp& w = warps[t / 32];
    char* const point = w.point.now();
    if (!(mask & own)) fail("a lane takes part in a warp operation whose mask does not name it");
    for (unsigned i = 0; i < 32; ++i)
      if (mask >> i & 1 && (first + i >= waiting.size() || waiting[first + i] == Waiting::finished))
        fail("the mask of a warp operation names a lane that does not exist or has returned");
    if (ordered) release(point);
    w.offered[lane] = value;
    w.votes = vote ? w.votes | own : w.votes & ~own;
    w.arrived |= own;
    if ((w.arrived & mask) == mask) {
      const auto round = std::find_if(w.rounds, w.rounds + 32, [](const Round& r) { return r.unread == 0; });
      std::copy(w.offered, w.offered + 32, round->values);
      round->votes = w.votes & mask;
      round->unread = mask;
      w.arrived &= ~mask;
      if (ordered) ++w.point.count;
      for (unsigned i = 0; i < 32; ++i) {
        if (!(mask >> i & 1)) continue;
        w.round_of[i] = int(round - w.rounds);
        if (i != lane) waiting[first + i] = Waiting::nothing;
      }
    } else {
      wait(t, Waiting::warp);
    }
    if (ordered) acquire(point);
    Round& mine = w.rounds[w.round_of[lane]];
    mine.unread &= ~own;
    return mine;
  }

 private:
  static constexpr size_t stack_bytes = 256 << 10;
  struct Fiber {
    Context context;
    std::unique_ptr<char[]> stack{new char[stack_bytes]};
  };
  Context scheduler;
  std::vector<std::unique_ptr<Fiber>> fibers;
  Fiber* newest = nullptr;
  std::vector<Fiber*> fiber_of;  // of each thread that has started
  std::vector<Waiting::Kind> waiting;
  std::vector<Warp> warps;
  unsigned alive = 0, started = 0, at_barrier = 0;
  MeetingPoint barrier;
  std::vector<void*> identities;  // to the race check, of each thread of a block
  void* scheduler_identity = nullptr;
  char block_start, block_end;

  void open_barrier() {
    at_barrier = 0;
    ++barrier.count;
    for (auto& kind : waiting)
      if (kind == Waiting::barrier) kind = Waiting::nothing;
  }
  void wait(unsigned t, Waiting::Kind kind) {
    waiting[t] = kind;
    become(scheduler_identity);
    fiber_of[t]->context.switch_to(scheduler);
    become(identities[t]);
    place(threadIdx, t, blockDim);
  }
  // A thread that has returned no longer takes part in barriers (as on a GPU).
  void finish(unsigned t) {
    waiting[t] = Waiting::finished;
    if (--alive && at_barrier == alive) open_barrier();
  }
  UNCHECKED void run_fiber(unsigned number) {
    if (number < fibers.size()) return scheduler.switch_to(fibers[number]->context);
    fibers.push_back(std::make_unique<Fiber>());
    newest = fibers.back().get();
    newest->context.prepare(newest->stack.get(), stack_bytes, entry);
    scheduler.switch_to(newest->context);
  }
  UNCHECKED static void entry();
};
inline thread_local Block* current = nullptr;

inline void Block::entry() {
  Block& block = *current;
  Fiber* const self = block.newest;
  for (;;) {
    while (block.started < block.waiting.size()) {
      const unsigned t = block.started++;
      block.fiber_of[t] = self;
      place(threadIdx, t, blockDim);
      become(block.identities[t]);
      acquire(&block.block_start);
      (*block.body)();
      release(&block.block_end);
      become(block.scheduler_identity);
      block.finish(t);
    }
    self->context.switch_to(block.scheduler);  // until the next block
  }
}

inline void sync() {
  Unwatched own_data;
  current->sync();
}
inline Round exchange(unsigned mask, uint64_t value, bool vote, bool ordered = false) {
  Unwatched own_data;
  return current->exchange(mask, value, vote, ordered);
}
inline void run(const std::function<void()>& body) {
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z, blocks = gridDim.x * gridDim.y * gridDim.z;
  const char* wish = std::getenv("CUDA_HOST_WORKERS");
  const unsigned cores = wish ? unsigned(std::atoi(wish)) : std::thread::hardware_concurrency();
  const unsigned workers = std::max(1u, std::min(blocks, cores));
  std::atomic<unsigned> next{0};
  auto work = [&] {
    Unwatched own_data;
    // Kept from launch to launch: to the race check its threads are half a megabyte each.
    static thread_local Block block;
    block.body = &body;
    current = &block;
    for (unsigned b; (b = next++) < blocks;) block.run(b, threads);
    current = nullptr;
  };
  std::vector<std::thread> pool;
  for (unsigned i = 1; i < workers; ++i) pool.emplace_back(work);
  work();
  for (auto& thread : pool) thread.join();
}

template <class T> uint64_t pack(T value) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}
template <class T> T unpack(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}
inline unsigned lane() { return rank_in_block() % 32; }

// ------------------------------------------------------------------------------------------------------- calls from outside

template <class... A, size_t... I>
void launch(void (*kernel)(A...), const unsigned* dims, void** params, std::index_sequence<I...>) {
  gridDim = {dims[0], dims[1], dims[2]};
  blockDim = {dims[3], dims[4], dims[5]};
  run([&] { kernel(*static_cast<std::remove_cvref_t<A>*>(params[I])...); });
}
template <class... A> void launch(void (*kernel)(A...), const unsigned* dims, void** params) {
  launch(kernel, dims, params, std::index_sequence_for<A...>{});
}
// For each parameter its size in bytes, negative where it is a pointer, so that a caller can check what it passes.
template <class... A> int describe(void (*)(A...), int* sizes) {
  const int of[] = {(std::is_pointer_v<A> ? -int(sizeof(A)) : int(sizeof(A)))..., 0};
  if (sizes) std::copy(of, of + sizeof...(A), sizes);
  return sizeof...(A);
}

}  // namespace cuda_host

// Parameters are passed as cuLaunchKernel takes them: an array of pointers to the values.
#define CUDA_HOST_EXPORT(kernel)                                                                                       \
  extern "C" void kernel##__host(const unsigned* dims, void** params) { cuda_host::launch(kernel, dims, params); }       \
  extern "C" int kernel##__describe(int* sizes) { return cuda_host::describe(kernel, sizes); }

// --------------------------------------------------------------------------------------------------- barriers and warp operations

#define __syncthreads() cuda_host::sync()
inline void __syncwarp(unsigned mask = 0xffffffffu) { cuda_host::exchange(mask, 0, false, true); }
inline unsigned __ballot_sync(unsigned mask, int vote) { return cuda_host::exchange(mask, 0, vote).votes; }
inline int __any_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote) != 0; }
inline int __all_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote) == mask; }
template <class T> T __shfl_sync(unsigned mask, T value, int source) {
  return cuda_host::unpack<T>(cuda_host::exchange(mask, cuda_host::pack(value), false).values[source & 31]);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned delta) {
  const int source = int(cuda_host::lane()) - int(delta);
  const T other = __shfl_sync(mask, value, source < 0 ? int(cuda_host::lane()) : source);
  return source < 0 ? value : other;
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned delta) {
  const int source = int(cuda_host::lane() + delta);
  const T other = __shfl_sync(mask, value, source > 31 ? int(cuda_host::lane()) : source);
  return source > 31 ? value : other;
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits) { return __shfl_sync(mask, value, int(cuda_host::lane()) ^ bits); }

// ------------------------------------------------------------------------------------------------------------------- functions

using std::isfinite;
using std::isnan;
using std::max;
using std::min;

template <class T> T __ldg(const T* p) { return *p; }
template <class T> void __stcs(T* p, T value) { *p = value; }
template <class T> T __ldcs(const T* p) { return *p; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float rsqrtf(float x) { return 1.f / std::sqrt(x); }
inline float __saturatef(float x) { return x > 0.f ? (x < 1.f ? x : 1.f) : 0.f; }
// Conversions saturate and take NaN to 0, as the GPU's do.
inline int __float2int_rd(float x) { return isnan(x) ? 0 : x <= -2147483648.f ? INT32_MIN : x >= 2147483648.f ? INT32_MAX : int(std::floor(x)); }
inline int __float2int_rz(float x) { return isnan(x) ? 0 : x <= -2147483648.f ? INT32_MIN : x >= 2147483648.f ? INT32_MAX : int(x); }
inline int __float2int_rn(float x) { return isnan(x) ? 0 : x <= -2147483648.f ? INT32_MIN : x >= 2147483648.f ? INT32_MAX : int(std::nearbyint(x)); }
inline unsigned __float2uint_rn(float x) { return x > 0.f ? (x >= 4294967296.f ? UINT32_MAX : unsigned(std::nearbyint(x))) : 0u; }
inline long long __float2ll_rz(float x) { return isnan(x) ? 0 : x <= -9.2233720e18f ? INT64_MIN : x >= 9.2233720e18f ? INT64_MAX : (long long)(x); }
inline float __int_as_float(int x) { return cuda_host::unpack<float>(cuda_host::pack(x)); }
inline int __float_as_int(float x) { return cuda_host::unpack<int>(cuda_host::pack(x)); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }

// Atomics return the old value and order nothing else, as on a GPU.
template <class T, class U> T atomicAdd(T* p, U value) { return std::atomic_ref<T>(*p).fetch_add(T(value), std::memory_order_relaxed); }
template <class T> T atomicExch(T* p, T value) { return std::atomic_ref<T>(*p).exchange(value, std::memory_order_relaxed); }
template <class T> T atomicAnd(T* p, T value) { return std::atomic_ref<T>(*p).fetch_and(value, std::memory_order_relaxed); }
template <class T> T atomicOr(T* p, T value) { return std::atomic_ref<T>(*p).fetch_or(value, std::memory_order_relaxed); }
template <class T> T atomicCAS(T* p, T expected, T value) {
#ifdef __SANITIZE_THREAD__
  // By value: a variable whose address is taken lies on the stack, which one thread after the other uses, as the race check sees it.
  static_assert(sizeof(T) == 4);
  return T(cuda_host::tsan_compare_exchange(reinterpret_cast<volatile int*>(p), int(expected), int(value), 0, 0));
#else
  std::atomic_ref<T>(*p).compare_exchange_strong(expected, value, std::memory_order_relaxed);
  return expected;
#endif
}
template <class T> T atomicMax(T* p, T value) {
  for (T old = std::atomic_ref<T>(*p).load(std::memory_order_relaxed);;) {
    if (!(old < value)) return old;
    const T seen = atomicCAS(p, old, value);
    if (seen == old) return old;
    old = seen;
  }
}
template <class T> T atomicMin(T* p, T value) {
  for (T old = std::atomic_ref<T>(*p).load(std::memory_order_relaxed);;) {
    if (!(value < old)) return old;
    const T seen = atomicCAS(p, old, value);
    if (seen == old) return old;
    old = seen;
  }
}
inline void __threadfence() {
#ifndef __SANITIZE_THREAD__  // knows no fences; they order different blocks, which it sees one after the other
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}
