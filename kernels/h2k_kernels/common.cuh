// What the kernels share: half precision, the canvas's coordinates, and the table of part crops.
//
// No header of the toolkit is included, so that NVRTC compiles these files without any.
#pragma once

#define FULL_WARP 0xffffffffu

// --------------------------------------------------------------------------------------------------------- half precision

// IEEE half precision as its 16 bits; all arithmetic is in float.
struct half_t {
  unsigned short bits;
};

__device__ __forceinline__ float to_float(float v) { return v; }
__device__ __forceinline__ float to_float(half_t v) {
#ifdef CUDA_HOST
  _Float16 half;
  memcpy(&half, &v, sizeof half);
  return half;
#else
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(v.bits));
  return value;
#endif
}

// Rounds to the nearest, ties to even.
__device__ __forceinline__ half_t to_half(float v) {
  half_t result;
#ifdef CUDA_HOST
  const _Float16 half = v;
  memcpy(&result, &half, sizeof half);
#else
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(v));
#endif
  return result;
}

__device__ __forceinline__ float load(const float* p) { return __ldg(p); }
__device__ __forceinline__ float load(const half_t* p) {
  half_t v;
  v.bits = __ldg(&p->bits);
  return to_float(v);
}
__device__ __forceinline__ void store(float* p, float v) { *p = v; }
__device__ __forceinline__ void store(half_t* p, float v) { *p = to_half(v); }

// Two neighbours at once; `p` must lie on a multiple of two elements.
__device__ __forceinline__ void store_pair(float* p, float a, float b) { *reinterpret_cast<float2*>(p) = make_float2(a, b); }
__device__ __forceinline__ void store_pair(half_t* p, float a, float b) {
  *reinterpret_cast<unsigned*>(p) = to_half(a).bits | (unsigned)to_half(b).bits << 16;
}

// ------------------------------------------------------------------------------------------------------ canvas coordinates

// An affine between two square canvases of the same size, on normalised coordinates: x in, (u, v) out.
struct Affine {
  float m[6];
};

__device__ __forceinline__ Affine load_affine(const float* p) {
  Affine a;
#pragma unroll
  for (int i = 0; i < 6; ++i) a.m[i] = __ldg(p + i);
  return a;
}

// The side of a canvas, and the step of its normalised grid: 2 / (size - 1) in float.
struct Canvas {
  int size;
  float step;
};

// Normalised coordinate of pixel centre i, rounded as h2k_kernels.sampling rounds it.
__device__ __forceinline__ float normalised_centre(Canvas canvas, int i) {
  const int last = canvas.size - 1;
  const float line = i < canvas.size / 2 ? __fmaf_rn(canvas.step, (float)i, -1.f) : __fmaf_rn(-canvas.step, (float)(last - i), 1.f);
  return __fdiv_rn(__fmul_rn(line, (float)last), (float)canvas.size);
}

// One output row of an affine as a pixel index, in the very order of operations of h2k_kernels.sampling.grid_indices: each is
// rounded by itself, because a sample that moves by 1e-4 pixel is seen on a photo's edges.
__device__ __forceinline__ float grid_index(const float* row, float x, float y, float size) {
  float g = __fadd_rn(__fmul_rn(row[0], x), __fmul_rn(row[1], y));
  g = __fadd_rn(g, row[2]);
  g = __fadd_rn(g, 1.f);
  g = __fsub_rn(__fmul_rn(g, size), 1.f);
  return __fmul_rn(g, 0.5f);
}

// The two pixels between which an index lies, with their bilinear weights; a pixel beyond 0..count-1 has weight 0 and the
// position of the nearest one inside.
struct Taps {
  int at[2];
  float weight[2];
};

__device__ __forceinline__ Taps taps_between(float index, int origin, int count) {
  // Held near the picture, so that the conversion to an integer is exact and cannot overflow. NaN becomes "outside".
  const float held = fminf(fmaxf(index, (float)origin - 2.f), (float)(origin + count) + 1.f);
  const float whole = floorf(held);
  const float fraction = held - whole;
  const int first = (int)whole - origin;
  Taps t;
  t.weight[0] = first >= 0 && first < count ? 1.f - fraction : 0.f;
  t.weight[1] = first >= -1 && first < count - 1 ? fraction : 0.f;
  t.at[0] = min(max(first, 0), count - 1);
  t.at[1] = min(max(first + 1, 0), count - 1);
  return t;
}

// ------------------------------------------------------------------------------------------------------------- part crops

#define MAX_CROPS 32

// The crop of one part: a (6, height, width) block of a network's input or output tensor.
struct Crop {
  void* data;               // of the first person
  long long person_stride;  // elements from one person's block to the next one's
  long long first_pixel;    // crop pixels of all crops before this one
  int height, width;
  int part;                 // row of the transform arrays
  int first_tile;           // tiles of all crops before this one
  int tiles_across;
  int is_half;
};

struct CropTable {
  int count, tiles;
  long long pixels;  // of all crops
  Crop crops[MAX_CROPS];
};

// Index of the crop that holds tile `tile`.
__device__ __forceinline__ int crop_of_tile(const CropTable& table, int tile) {
  int index = 0;
  while (index + 1 < table.count && tile >= table.crops[index + 1].first_tile) ++index;
  return index;
}
