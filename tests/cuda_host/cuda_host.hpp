// Runs CUDA C++ kernels on the CPU, for tests: the unmodified .cu file is compiled as C++ after this header.
//
// Two ways to run the threads of a block:
//   default                  each thread is a fiber of one OS thread, so results do not depend on scheduling;
//                            blocks are shared out to CUDA_HOST_WORKERS OS threads (default: one per core);
//   -DCUDA_HOST_OS_THREADS   each thread is an OS thread, blocks run one after the other: slow, but with
//                            -fsanitize=thread a forgotten barrier is a reported race.
// Barriers, warp votes and shuffles, atomics and static shared memory work in both. A barrier or a warp operation that not
// all of its threads reach stops the program with a message.
// Not covered: dynamic shared memory, textures, __constant__ memory, cooperative groups, tensor cores.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <setjmp.h>
#include <ucontext.h>

#define CUDA_HOST 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#ifdef CUDA_HOST_OS_THREADS
#define __shared__ static
#else
#define __shared__ static thread_local
#endif

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

inline unsigned rank_in_block() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }
inline void place(uint3& at, unsigned i, dim3 d) { at = {i % d.x, i / d.x % d.y, i / (d.x * d.y)}; }

// What the lanes of one warp exchange. A round ends when every lane of its mask has arrived.
struct Warp {
  uint64_t offered[32], taken[32];
  unsigned arrived = 0, offered_votes = 0, taken_votes = 0;
};

struct Waiting {
  enum Kind : char { nothing, barrier, warp, finished };
};

// The threads of the block that is being run, and what each of them waits for. `Derived` blocks and wakes single threads.
template <class Derived>
struct Block {
  std::vector<Waiting::Kind> waiting;
  std::vector<Warp> warps;
  unsigned alive = 0, at_barrier = 0;

  void start(unsigned threads) {
    waiting.assign(threads, Waiting::nothing);
    warps.assign((threads + 31) / 32, Warp{});
    alive = threads;
    at_barrier = 0;
  }
  void open_barrier() {
    at_barrier = 0;
    for (unsigned t = 0; t < waiting.size(); ++t)
      if (waiting[t] == Waiting::barrier) self().wake(t);
  }
  void sync() {
    if (++at_barrier == alive) return open_barrier();
    self().wait(rank_in_block(), Waiting::barrier);
  }
  // A thread that has returned no longer takes part in barriers (as on a GPU).
  void finish(unsigned t) {
    waiting[t] = Waiting::finished;
    if (--alive && at_barrier == alive) open_barrier();
  }
  // Every lane of `mask` offers a value and a vote; afterwards all read what was taken.
  Warp& exchange(unsigned mask, uint64_t value, bool vote) {
    const unsigned t = rank_in_block(), lane = t % 32, first = t - lane;
    Warp& w = warps[t / 32];
    if (!(mask >> lane & 1)) fail("a lane takes part in a warp operation whose mask does not name it");
    if (w.arrived >> lane & 1) fail("two warp operations of one warp overlap");
    w.arrived |= 1u << lane;
    w.offered_votes = (w.offered_votes & ~(1u << lane)) | unsigned(vote) << lane;
    w.offered[lane] = value;
    for (unsigned i = 0; i < 32; ++i)
      if (mask >> i & 1 && (first + i >= waiting.size() || waiting[first + i] == Waiting::finished))
        fail("the mask of a warp operation names a lane that does not exist or has returned");
    if ((w.arrived & mask) == mask) {
      for (unsigned i = 0; i < 32; ++i)
        if (mask >> i & 1) w.taken[i] = w.offered[i];
      w.taken_votes = (w.taken_votes & ~mask) | (w.offered_votes & mask);
      w.arrived &= ~mask;
      for (unsigned i = 0; i < 32; ++i)
        if (mask >> i & 1 && i != lane) self().wake(first + i);
    } else {
      self().wait(t, Waiting::warp);
    }
    return w;
  }
  Derived& self() { return static_cast<Derived&>(*this); }
};

#ifdef CUDA_HOST_OS_THREADS

struct ThreadBlock : Block<ThreadBlock> {
  std::mutex mutex;
  std::vector<std::unique_ptr<std::condition_variable>> bell;
  std::unique_lock<std::mutex>* held(std::unique_lock<std::mutex>* lock = nullptr) {
    static thread_local std::unique_lock<std::mutex>* mine;
    return lock ? mine = lock : mine;
  }
  void wake(unsigned t) { waiting[t] = Waiting::nothing; bell[t]->notify_one(); }
  void wait(unsigned t, Waiting::Kind kind) {
    waiting[t] = kind;
    bell[t]->wait(*held(), [&] { return waiting[t] == Waiting::nothing; });
  }
};
inline ThreadBlock* current;

inline void sync() {
  std::unique_lock<std::mutex> lock(current->mutex);
  current->held(&lock);
  current->sync();
}
inline Warp exchange(unsigned mask, uint64_t value, bool vote) {
  std::unique_lock<std::mutex> lock(current->mutex);
  current->held(&lock);
  return current->exchange(mask, value, vote);
}
inline void run(const std::function<void()>& body) {
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z, blocks = gridDim.x * gridDim.y * gridDim.z;
  ThreadBlock block;
  current = &block;
  for (unsigned t = 0; t < threads; ++t) block.bell.push_back(std::make_unique<std::condition_variable>());
  for (unsigned b = 0; b < blocks; ++b) {
    block.start(threads);
    std::vector<std::thread> pool;
    for (unsigned t = 0; t < threads; ++t) pool.emplace_back([&, t] {
      place(blockIdx, b, gridDim);
      place(threadIdx, t, blockDim);
      body();
      std::unique_lock<std::mutex> lock(block.mutex);
      block.finish(t);
    });
    for (auto& thread : pool) thread.join();
  }
}

#else

// A place to go on from. After the first time a switch needs no system call, which swapcontext makes at each; AddressSanitizer
// knows swapcontext only.
struct Context {
  ucontext_t full;
#ifdef __SANITIZE_ADDRESS__
  void switch_to(Context& other) { swapcontext(&full, &other.full); }
  void begin(Context& other) { swapcontext(&full, &other.full); }
#else
  jmp_buf quick;
  void switch_to(Context& other) {
    if (!_setjmp(quick)) _longjmp(other.quick, 1);
  }
  void begin(Context& other) {
    if (!_setjmp(quick)) setcontext(&other.full);
  }
#endif
};

// A fiber runs thread after thread until one has to wait; then the next fiber goes on with the threads not yet started. So a
// kernel that never waits runs as a plain loop, and only as many stacks are used as threads wait at once.
struct FiberBlock : Block<FiberBlock> {
  static constexpr size_t stack_bytes = 256 << 10;
  struct Fiber {
    Context context;
    std::unique_ptr<char[]> stack{new char[stack_bytes]};
  };
  Context scheduler;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> fiber_of;  // of each thread that has started
  Fiber* running = nullptr;      // the newest
  unsigned started = 0;
  const std::function<void()>* body = nullptr;

  void wake(unsigned t) { waiting[t] = Waiting::nothing; }
  void wait(unsigned t, Waiting::Kind kind) {
    waiting[t] = kind;
    fiber_of[t]->context.switch_to(scheduler);
    place(threadIdx, t, blockDim);
  }
  static void entry();
  void run_fiber(unsigned number) {
    if (number < fibers.size()) return scheduler.switch_to(fibers[number]->context);
    fibers.push_back(std::make_unique<Fiber>());
    running = fibers.back().get();
    ucontext_t& context = running->context.full;
    getcontext(&context);
    context.uc_link = nullptr;
    context.uc_stack.ss_sp = running->stack.get();
    context.uc_stack.ss_size = stack_bytes;
    makecontext(&context, entry, 0);
    scheduler.begin(running->context);
  }
  void run(unsigned b, unsigned threads) {
    place(blockIdx, b, gridDim);
    start(threads);
    fiber_of.assign(threads, nullptr);
    started = 0;
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
  }
};
inline thread_local FiberBlock* current = nullptr;

inline void FiberBlock::entry() {
  FiberBlock& block = *current;
  Fiber* const self = block.running;
  for (;;) {
    while (block.started < block.waiting.size()) {
      const unsigned t = block.started++;
      block.fiber_of[t] = self;
      place(threadIdx, t, blockDim);
      (*block.body)();
      block.finish(t);
    }
    self->context.switch_to(block.scheduler);  // until the next block
  }
}
inline void sync() { current->sync(); }
inline Warp exchange(unsigned mask, uint64_t value, bool vote) { return current->exchange(mask, value, vote); }
inline void run(const std::function<void()>& body) {
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z, blocks = gridDim.x * gridDim.y * gridDim.z;
  const char* wish = std::getenv("CUDA_HOST_WORKERS");
  const unsigned cores = wish ? unsigned(std::atoi(wish)) : std::thread::hardware_concurrency();
  const unsigned workers = std::max(1u, std::min(blocks, cores));
  std::atomic<unsigned> next{0};
  auto work = [&] {
    FiberBlock block;
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

#endif

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
inline void __syncwarp(unsigned mask = 0xffffffffu) { cuda_host::exchange(mask, 0, false); }
inline unsigned __ballot_sync(unsigned mask, int vote) { return cuda_host::exchange(mask, 0, vote).taken_votes & mask; }
inline int __any_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote) != 0; }
inline int __all_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote) == mask; }
template <class T> T __shfl_sync(unsigned mask, T value, int source) {
  return cuda_host::unpack<T>(cuda_host::exchange(mask, cuda_host::pack(value), false).taken[source & 31]);
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

// Atomics return the old value.
template <class T, class U> T atomicAdd(T* p, U value) { return std::atomic_ref<T>(*p).fetch_add(T(value)); }
template <class T> T atomicExch(T* p, T value) { return std::atomic_ref<T>(*p).exchange(value); }
template <class T> T atomicAnd(T* p, T value) { return std::atomic_ref<T>(*p).fetch_and(value); }
template <class T> T atomicOr(T* p, T value) { return std::atomic_ref<T>(*p).fetch_or(value); }
template <class T> T atomicCAS(T* p, T expected, T value) {
  std::atomic_ref<T>(*p).compare_exchange_strong(expected, value);
  return expected;
}
template <class T> T atomicMax(T* p, T value) {
  std::atomic_ref<T> at(*p);
  T old = at.load();
  while (old < value && !at.compare_exchange_weak(old, value)) {}
  return old;
}
template <class T> T atomicMin(T* p, T value) {
  std::atomic_ref<T> at(*p);
  T old = at.load();
  while (value < old && !at.compare_exchange_weak(old, value)) {}
  return old;
}
inline void __threadfence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
