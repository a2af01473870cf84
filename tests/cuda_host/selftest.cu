// Kernels whose right answer is known, and wrong ones that the emulation must catch.
#include "common.cuh"

// Sum of the squares of 0..n-1 for each block, by a tree in shared memory.
extern "C" __global__ void block_sum(int* __restrict__ out) {
  __shared__ int values[128];
  const int t = threadIdx.x + blockDim.x * threadIdx.y, n = blockDim.x * blockDim.y;
  values[t] = t * t;
  __syncthreads();
  for (int step = n / 2; step; step /= 2) {
    if (t < step) values[t] += values[t + step];
    __syncthreads();
  }
  if (t == 0) out[blockIdx.x] = values[0] + blockIdx.x;
}

// The same without the barrier in the loop: a race.
extern "C" __global__ void racing_sum(int* __restrict__ out) {
  __shared__ int values[64];
  const int t = threadIdx.x;
  values[t] = t;
  __syncthreads();
  for (int step = 32; step; step /= 2)
    if (t < step) values[t] += values[t + step];
  if (t == 0) out[0] = values[0];
}

// Each warp operation once. out (9, 64)
extern "C" __global__ void warp_operations(int* __restrict__ out) {
  const int t = threadIdx.x, lane = t % 32;
  out[t] = __shfl_sync(FULL_WARP, t, 3);
  out[64 + t] = __shfl_up_sync(FULL_WARP, t, 2);
  out[128 + t] = __shfl_down_sync(FULL_WARP, t, 5);
  out[192 + t] = __shfl_xor_sync(FULL_WARP, t, 9);
  out[256 + t] = (int)__ballot_sync(FULL_WARP, t % 3 == 0);
  out[320 + t] = __any_sync(FULL_WARP, t == 40) + 2 * __all_sync(FULL_WARP, t < 32);
  // Half warps by themselves, out of step with each other.
  const unsigned half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
  int sum = 1;
  if (lane < 16) {
    for (int offset = 8; offset; offset /= 2) sum += __shfl_xor_sync(half, sum, offset);
  } else {
    sum = (int)__ballot_sync(half, lane & 1);
  }
  out[384 + t] = sum;
  __syncwarp(FULL_WARP);
  // Lanes that have returned take no part in later barriers.
  out[448 + t] = 7;
  if (t >= 32) return;
  __syncthreads();
  out[512 + t] = 8;
}

extern "C" __global__ void count_atomically(int* __restrict__ counter, unsigned* __restrict__ bits, int* __restrict__ extremes) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd(counter, 2);
  atomicOr(bits, 1u << t % 32);
  atomicMax(extremes, t);
  atomicMin(extremes + 1, -t);
}

extern "C" __global__ void halves(const float* __restrict__ in, half_t* __restrict__ out, float* __restrict__ back, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  out[i] = to_half(in[i]);
  back[i] = load(out + i);
}

// Half of the block waits at a barrier, the other half at a warp operation whose lanes do not all come.
extern "C" __global__ void deadlock() {
  if (threadIdx.x == 0) __syncwarp(FULL_WARP);
  else __syncthreads();
}

extern "C" __global__ void out_of_bounds(float* __restrict__ out, int n) { out[n + threadIdx.x] = 1.f; }
