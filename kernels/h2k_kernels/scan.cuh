// Places for compacted output, in the order of the pixels: several counts per 32-pixel word, scanned together.
//
// A block scans its own words; the last block to finish scans the totals of all. Sums do not depend on the order of blocks.
#pragma once

#include "bits.cuh"

#define SCAN_BLOCK 256  // threads of a scanning block, one word each
#define SCAN_WARPS (SCAN_BLOCK / 32)

// Exclusive sums over the block of each thread's counts (at most 32 each), and the block's totals. All threads must call it.
template <int STREAMS>
__device__ __forceinline__ void scan_block(const unsigned (&count)[STREAMS], unsigned (&before)[STREAMS], unsigned (&total)[STREAMS]) {
  constexpr int pairs = (STREAMS + 1) / 2;  // two sums in one word: a block has at most 8192 of each
  __shared__ unsigned warp_sums[pairs][SCAN_WARPS];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  unsigned own[pairs], inclusive[pairs];
#pragma unroll
  for (int p = 0; p < pairs; ++p) {
    own[p] = count[2 * p] | (2 * p + 1 < STREAMS ? count[2 * p + 1 < STREAMS ? 2 * p + 1 : 0] << 16 : 0u);
    inclusive[p] = own[p];
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
      const unsigned other = __shfl_up_sync(FULL_WARP, inclusive[p], offset);
      if (lane >= offset) inclusive[p] += other;
    }
    if (lane == 31) warp_sums[p][warp] = inclusive[p];
  }
  __syncthreads();
#pragma unroll
  for (int p = 0; p < pairs; ++p) {
    unsigned sum = 0, ahead = 0;
#pragma unroll
    for (int w = 0; w < SCAN_WARPS; ++w) {
      if (w < warp) ahead += warp_sums[p][w];
      sum += warp_sums[p][w];
    }
    ahead += inclusive[p] - own[p];
    before[2 * p] = ahead & 0xffffu;
    total[2 * p] = sum & 0xffffu;
    if (2 * p + 1 < STREAMS) {
      before[2 * p + 1 < STREAMS ? 2 * p + 1 : 0] = ahead >> 16;
      total[2 * p + 1 < STREAMS ? 2 * p + 1 : 0] = sum >> 16;
    }
  }
}

// Whether this block is the last one of the grid's row to come here; what the others wrote before is then to be seen with
// load_relaxed. `ticket` counts up from 0. All threads must call it.
__device__ __forceinline__ bool is_last_block(unsigned* ticket) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(ticket, 1u) == gridDim.x - 1;
  __syncthreads();
  if (last) __threadfence();
  return last;
}

// Replaces the totals of all blocks, [stream][block], by the exclusive sums over the blocks, and returns each stream's sum in
// shared memory. One block; all threads must call it.
template <int STREAMS>
__device__ __forceinline__ void scan_totals(unsigned* totals, int blocks, unsigned (&sums)[STREAMS]) {
  const int lane = threadIdx.x % 32;
  for (int stream = threadIdx.x / 32; stream < STREAMS; stream += SCAN_WARPS) {
    unsigned* mine = totals + (long long)stream * blocks;
    unsigned carry = 0;
    for (int first = 0; first < blocks; first += 128) {
      unsigned value[4], sum = 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = first + 4 * lane + i;
        value[i] = at < blocks ? (unsigned)load_relaxed(reinterpret_cast<const int*>(mine + at)) : 0u;
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) sum += value[i];
      unsigned inclusive = sum;
#pragma unroll
      for (int offset = 1; offset < 32; offset *= 2) {
        const unsigned other = __shfl_up_sync(FULL_WARP, inclusive, offset);
        if (lane >= offset) inclusive += other;
      }
      unsigned ahead = carry + inclusive - sum;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = first + 4 * lane + i;
        if (at < blocks) mine[at] = ahead;
        ahead += value[i];
      }
      carry += __shfl_sync(FULL_WARP, inclusive, 31);
    }
    if (lane == 0) sums[stream] = carry;
  }
  __syncthreads();
}

// Writes a warp's values to consecutive places, without gaps between lanes: `width` values from each lane of `lanes`, in order of the
// lanes, from `out` on. `stage` is the warp's own shared memory. All lanes must call it.
template <int WIDTH, class T>
__device__ __forceinline__ void write_packed(T* out, unsigned lanes, const T (&values)[WIDTH], T* stage) {
  const int lane = threadIdx.x % 32, count = WIDTH * __popc(lanes);
  if (lanes >> lane & 1) {
    const int slot = WIDTH * __popc(lanes & bits_below(lane));
#pragma unroll
    for (int i = 0; i < WIDTH; ++i) stage[slot + i] = values[i];
  }
  __syncwarp(FULL_WARP);
  for (int i = lane; i < count; i += 32) out[i] = stage[i];
  __syncwarp(FULL_WARP);
}
