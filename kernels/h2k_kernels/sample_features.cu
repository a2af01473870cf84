// Project points into every view and sample all feature maps there; twin: sample_features.py.
//
// A block takes 32 points of one view. Maps have their channels last, so that a warp reads 32 channels of a point at once; the
// result has its points last, as the point network reads it, and is turned over in shared memory.

#include "common.cuh"

#define MAX_SCALES 8
#define TILE 32
#define WARPS 8
#define LEAST_DEPTH 1e-6f

// One scale's maps: (views, height, width, channels).
struct Scale {
  const void* data;
  int height, width, channels;
  int first_channel;  // of the result
};

struct ScaleTable {
  int count;
  int channels;  // of the result: those of all scales, and the depth
  Scale scales[MAX_SCALES];
};

template <class In, class Out>
__device__ __forceinline__ void sample(const float* points, const float* projections, Out* features, long long count,
                                       const ScaleTable& table) {
  __shared__ float at_u[TILE], at_v[TILE];
  __shared__ int offset[4][TILE];
  __shared__ float weight[4][TILE];
  __shared__ float turned[TILE][TILE + 1];
  const int lane = threadIdx.x, warp = threadIdx.y, view = blockIdx.y;
  const long long start = (long long)blockIdx.x * TILE;
  const long long own = start + lane;
  Out* out = features + (long long)view * table.channels * count;

  if (warp == 0) {
    const float* m = projections + 12 * view;
    const float* p = points + 3 * min(own, count - 1);
    const float x = __ldg(p), y = __ldg(p + 1), z = __ldg(p + 2);
    const float w = __ldg(m + 8) * x + __ldg(m + 9) * y + __ldg(m + 10) * z + __ldg(m + 11);
    const bool ahead = w > LEAST_DEPTH;
    const float inverse = ahead ? 1.f / w : 0.f;
    at_u[lane] = ahead ? (__ldg(m) * x + __ldg(m + 1) * y + __ldg(m + 2) * z + __ldg(m + 3)) * inverse : -1.f;
    at_v[lane] = ahead ? (__ldg(m + 4) * x + __ldg(m + 5) * y + __ldg(m + 6) * z + __ldg(m + 7)) * inverse : -1.f;
    if (own < count) store(out + (table.channels - 1) * count + own, w - __ldg(m + 11));
  }
  for (int s = 0; s < table.count; ++s) {
    const Scale& scale = table.scales[s];
    if (warp == 0) {  // wrote u and v of its own points itself
      const Taps tx = taps_between(at_u[lane] * (float)scale.width - 0.5f, 0, scale.width);
      const Taps ty = taps_between(at_v[lane] * (float)scale.height - 0.5f, 0, scale.height);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        offset[k][lane] = (ty.at[k / 2] * scale.width + tx.at[k % 2]) * scale.channels;
        weight[k][lane] = ty.weight[k / 2] * tx.weight[k % 2];
      }
    }
    __syncthreads();
    const In* map = static_cast<const In*>(scale.data) + (long long)view * scale.height * scale.width * scale.channels;
    for (int channel = 0; channel < scale.channels; channel += TILE) {
      if (channel + lane < scale.channels) {
        for (int point = warp; point < TILE; point += WARPS) {
          float sum = 0.f;
#pragma unroll
          for (int k = 0; k < 4; ++k) sum += weight[k][point] * load(map + offset[k][point] + channel + lane);
          turned[lane][point] = sum;
        }
      }
      __syncthreads();
      for (int c = warp; c < TILE && channel + c < scale.channels; c += WARPS) {
        if (own < count) store(out + (scale.first_channel + channel + c) * count + own, turned[c][lane]);
      }
      __syncthreads();
    }
  }
}

// Block (32, 8); grid (points / 32, views).
//   points (N, 3);   projections (V, 3, 4);   features (V, channels, N)
extern "C" __global__ void __launch_bounds__(256)
    sample_features_f32_f32(const float* __restrict__ points, const float* __restrict__ projections, float* __restrict__ features,
                            long long count, const __grid_constant__ ScaleTable table) {
  sample<float>(points, projections, features, count, table);
}
extern "C" __global__ void __launch_bounds__(256)
    sample_features_f32_f16(const float* __restrict__ points, const float* __restrict__ projections, half_t* __restrict__ features,
                            long long count, const __grid_constant__ ScaleTable table) {
  sample<float>(points, projections, features, count, table);
}
extern "C" __global__ void __launch_bounds__(256)
    sample_features_f16_f32(const float* __restrict__ points, const float* __restrict__ projections, float* __restrict__ features,
                            long long count, const __grid_constant__ ScaleTable table) {
  sample<half_t>(points, projections, features, count, table);
}
extern "C" __global__ void __launch_bounds__(256)
    sample_features_f16_f16(const float* __restrict__ points, const float* __restrict__ projections, half_t* __restrict__ features,
                            long long count, const __grid_constant__ ScaleTable table) {
  sample<half_t>(points, projections, features, count, table);
}
