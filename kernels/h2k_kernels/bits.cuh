// Masks as bits, 32 pixels of a row in a word, bit i the pixel 32 k + i; and connected components of such masks.
//
// A component's label is its smallest flat pixel index. Only the first pixel of each run of set bits within a word has a label, so
// a mask of a million pixels needs some ten thousand unions.
#pragma once

#include "common.cuh"

// Bits of one (height, width) mask; words of a row are `words` apart. Outside of the mask everything is 0.
struct BitMask {
  const unsigned* bits;
  int height, width, words;

  __device__ __forceinline__ unsigned word(int y, int k) const {
    return y >= 0 && y < height && k >= 0 && k < words ? __ldg(bits + (long long)y * words + k) : 0u;
  }
  // The word whose bit i is the pixel left (right) of pixel i of word k.
  __device__ __forceinline__ unsigned left_of(int y, int k) const { return word(y, k) << 1 | word(y, k - 1) >> 31; }
  __device__ __forceinline__ unsigned right_of(int y, int k) const { return word(y, k) >> 1 | word(y, k + 1) << 31; }
};

__device__ __forceinline__ BitMask bit_mask(const unsigned* bits, int height, int width) {
  const BitMask mask = {bits, height, width, (width + 31) / 32};
  return mask;
}

__device__ __forceinline__ unsigned bits_below(int i) { return (1u << i) - 1u; }  // i < 32

// First bit of the run of ones that holds bit i of `word`.
__device__ __forceinline__ int run_start(unsigned word, int i) { return 32 - __clz((int)(~word & bits_below(i))); }

// Bits at which a run of ones starts.
__device__ __forceinline__ unsigned run_starts(unsigned word) { return word & ~(word << 1); }

// Number of ones from bit i on.
__device__ __forceinline__ int run_length(unsigned word, int i) {
  const unsigned rest = ~(word >> i);
  return rest ? __ffs((int)rest) - 1 : 32;
}

// ------------------------------------------------------------------------------------------------------------ components

// A value that other threads change meanwhile.
__device__ __forceinline__ int load_relaxed(const int* p) {
#ifdef CUDA_HOST
  return std::atomic_ref<int>(*const_cast<int*>(p)).load(std::memory_order_relaxed);
#else
  int value;
  asm volatile("ld.relaxed.gpu.s32 %0, [%1];" : "=r"(value) : "l"(p) : "memory");
  return value;
#endif
}

__device__ __forceinline__ int find_root(const int* parent, int i) {
  for (int up; (up = load_relaxed(parent + i)) != i;) i = up;
  return i;
}

// Joins two components under the smaller root. Parents only ever get smaller, so a root that is out of date is an ancestor still.
__device__ __forceinline__ void unite(int* parent, int a, int b) {
  for (;;) {
    a = find_root(parent, a);
    b = find_root(parent, b);
    if (a == b) return;
    if (a < b) {
      const int t = a;
      a = b;
      b = t;
    }
    const int old = atomicMin(parent + a, b);
    if (old == a) return;
    a = old;
  }
}

// The runs of word (y, k) joined with those above and to the left.
__device__ __forceinline__ void unite_word(BitMask mask, int y, int k, bool diagonal, int* parent) {
  const unsigned own = mask.word(y, k);
  if (!own) return;
  const int base = y * mask.width + 32 * k, above_base = base - mask.width;
  const unsigned before = mask.word(y, k - 1), above = mask.word(y - 1, k);
  if (own & 1 && before >> 31) unite(parent, base, base - 32 + run_start(before, 31));
  const unsigned shared = own & above;
  for (unsigned todo = run_starts(shared); todo; todo &= todo - 1) {
    const int i = __ffs((int)todo) - 1;
    unite(parent, base + run_start(own, i), above_base + run_start(above, i));
  }
  if (!diagonal) return;
  // A diagonal neighbour counts where no pixel beside it already joins the two.
  const unsigned above_before = mask.word(y - 1, k - 1);
  for (unsigned todo = own & mask.left_of(y - 1, k) & ~above & ~mask.left_of(y, k); todo; todo &= todo - 1) {
    const int i = __ffs((int)todo) - 1;
    const int other = i ? run_start(above, i - 1) : -32 + run_start(above_before, 31);
    unite(parent, base + run_start(own, i), above_base + other);
  }
  for (unsigned todo = own & mask.right_of(y - 1, k) & ~above & ~mask.right_of(y, k); todo; todo &= todo - 1) {
    const int i = __ffs((int)todo) - 1;
    unite(parent, base + run_start(own, i), above_base + i + 1);  // a run starts there, be it in the next word
  }
}

// Adds `count` to the area of `root` for every lane, most lanes of a warp having the same root: one addition for these. Every lane
// of the warp must call it, with count 0 where it has nothing. The largest sum seen of any root ends up in `largest`.
__device__ __forceinline__ void add_area(unsigned* area, unsigned* largest, int root, unsigned count) {
  const unsigned busy = __ballot_sync(FULL_WARP, count > 0);
  if (!busy) return;
  const int leader = __ffs((int)busy) - 1, lane = threadIdx.x % 32;
  const bool same = root == __shfl_sync(FULL_WARP, root, leader);
  unsigned sum = same ? count : 0;
  for (int offset = 16; offset; offset /= 2) sum += __shfl_xor_sync(FULL_WARP, sum, offset);
  if (lane == leader) count = sum;
  else if (same) count = 0;
  if (!count) return;
  const unsigned total = atomicAdd(area + root, count) + count;
  atomicMax(largest, total);
}

// Lets each run of a word point to its root, and adds up the areas. One word per lane; lanes without one pass 0.
__device__ __forceinline__ void count_word(unsigned word, int base, int* parent, unsigned* area, unsigned* largest) {
  int root = 0;
  unsigned count = 0;
  for (unsigned todo = run_starts(word); __any_sync(FULL_WARP, todo != 0); todo &= todo - 1) {
    if (todo) {
      const int i = __ffs((int)todo) - 1, start = base + i;
      root = find_root(parent, start);
      atomicExch(parent + start, root);
      count = run_length(word, i);
    } else {
      count = 0;
    }
    add_area(area, largest, root, count);
  }
}

// The bits of `word` whose components have at least `least` pixels; after count_word.
__device__ __forceinline__ unsigned large_runs(unsigned word, int base, const int* parent, const unsigned* area, unsigned least) {
  unsigned kept = 0;
  for (unsigned todo = run_starts(word); todo; todo &= todo - 1) {
    const int i = __ffs((int)todo) - 1, length = run_length(word, i);
    if (area[parent[base + i]] >= least) kept |= (length < 32 ? bits_below(length) : FULL_WARP) << i;
  }
  return kept;
}

// The smallest area to keep: `share` of the largest, and at least 1. Compared in double as NumPy does.
__device__ __forceinline__ unsigned least_area(unsigned largest, double share) {
  return (unsigned)fmax(ceil(share * (double)largest), 1.0);
}
