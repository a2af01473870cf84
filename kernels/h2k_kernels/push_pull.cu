// Filling unknown pixels smoothly from the known ones by a pyramid; twin: h2k_rt.surface.fill.push_pull.
//
//   pull_first, pull  weighted means of 2 x 2 pixels, level by level, until one pixel is left of each axis or two
//   push_last         the coarsest level: its mean
//   push              fills a level's unknown pixels from the next coarser one
//
// The finest level is not stored: its unknown pixels are read off level 1 by `pushed` where they are needed.

#include "guard.cuh"
#include "push_pull.cuh"

// Mean of 2 x 2 weighted pixels; `value` and `weight` of what lies outside are 0.
template <class Value, class Weight>
__device__ __forceinline__ float4 pulled(int x, int y, int height, int width, const Value& value, const Weight& weight) {
  float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int column = 2 * x + k % 2, row = 2 * y + k / 2;
    if (column >= width || row >= height) continue;
    const float share = weight(row, column);
    if (share > 0.f) {
      const float2 v = value(row, column);
      sum.x += share * v.x;
      sum.y += share * v.y;
      sum.z += share;
    }
  }
  const float mean = 0.25f * sum.z, divisor = fmaxf(mean, 1e-6f);
  return make_float4(0.25f * sum.x / divisor, 0.25f * sum.y / divisor, fminf(4.f * mean, 1.f), 0.f);
}

// Block (32, 8), one coarse pixel per thread; grid (w / 32, h / 8, persons).
//   first, second (B, H, W) with `stride` floats from person to person;   known (B, H, W)
//   level (B, h, w): the two values and their weight
extern "C" __global__ void __launch_bounds__(256)
    pull_first(const float* __restrict__ first, const float* __restrict__ second, long long stride,
               const unsigned char* __restrict__ known, float4* __restrict__ level, int height, int width, long long level_stride,
               const int* __restrict__ guard, int guard_stride) {
  const int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 8 + threadIdx.y, person = blockIdx.z;
  const int coarse_width = (width + 1) / 2, coarse_height = (height + 1) / 2;
  if (x >= coarse_width || y >= coarse_height || is_off(guard, guard_stride, person)) return;
  first += person * stride;
  second += person * stride;
  known += (long long)person * height * width;
  const auto value = [&](int row, int column) {
    const long long at = (long long)row * width + column;
    return make_float2(first[at], second[at]);
  };
  const auto weight = [&](int row, int column) { return known[(long long)row * width + column] ? 1.f : 0.f; };
  level[person * level_stride + (long long)y * coarse_width + x] = pulled(x, y, height, width, value, weight);
}

// As pull_first, from a level to the next coarser one; `fine` and `coarse` are their first pixels in the pyramid.
extern "C" __global__ void __launch_bounds__(256)
    pull(float4* __restrict__ pyramid, long long fine, long long coarse, int height, int width, long long stride,
         const int* __restrict__ guard, int guard_stride) {
  const int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 8 + threadIdx.y, person = blockIdx.z;
  const int coarse_width = (width + 1) / 2, coarse_height = (height + 1) / 2;
  if (x >= coarse_width || y >= coarse_height || is_off(guard, guard_stride, person)) return;
  pyramid += person * stride;
  const auto value = [&](int row, int column) {
    const float4 v = pyramid[fine + (long long)row * width + column];
    return make_float2(v.x, v.y);
  };
  const auto weight = [&](int row, int column) { return pyramid[fine + (long long)row * width + column].z; };
  pyramid[coarse + (long long)y * coarse_width + x] = pulled(x, y, height, width, value, weight);
}

// One thread per person: the coarsest level, of at most 2 x 2 pixels.
extern "C" __global__ void __launch_bounds__(32)
    push_last(float4* __restrict__ pyramid, long long level, int pixels, long long stride, int persons, const int* __restrict__ guard,
              int guard_stride) {
  const int person = blockIdx.x * blockDim.x + threadIdx.x;
  if (person >= persons || is_off(guard, guard_stride, person)) return;
  float4* mine = pyramid + person * stride + level;
  float2 sum = make_float2(0.f, 0.f);
  float total = 0.f;
  for (int i = 0; i < pixels; ++i) {
    sum.x += mine[i].x * mine[i].z;
    sum.y += mine[i].y * mine[i].z;
    total += mine[i].z;
  }
  const float divisor = fmaxf(total, 1e-6f);
  for (int i = 0; i < pixels; ++i) {
    const float4 v = mine[i];
    mine[i] = make_float4(v.x * v.z + sum.x / divisor * (1.f - v.z), v.y * v.z + sum.y / divisor * (1.f - v.z), v.z, 0.f);
  }
}

// Block (32, 8), one pixel of the finer level per thread; grid (w / 32, h / 8, persons).
extern "C" __global__ void __launch_bounds__(256)
    push(float4* __restrict__ pyramid, long long fine, long long coarse, int height, int width, long long stride,
         const int* __restrict__ guard, int guard_stride) {
  const int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 8 + threadIdx.y, person = blockIdx.z;
  if (x >= width || y >= height || is_off(guard, guard_stride, person)) return;
  pyramid += person * stride;
  float4& pixel = pyramid[fine + (long long)y * width + x];
  const float4 v = pixel;
  if (v.z >= 1.f) return;
  const float2 up = pushed(pyramid + coarse, (height + 1) / 2, (width + 1) / 2, y, x);
  pixel = make_float4(v.x * v.z + up.x * (1.f - v.z), v.y * v.z + up.y * (1.f - v.z), v.z, 0.f);
}
