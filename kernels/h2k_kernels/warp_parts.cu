// Warp every part's crop of the picture and of the low front normal upright; twin: warp_parts.py.
//
// One launch fills the input tensors of all part networks. Only crop pixels are computed, and the low normal is never upsampled
// to the canvas: its bilinear upsampling and the bilinear warp are composed into at most 3 x 3 low-resolution samples.
// Each thread makes two neighbouring pixels, which it stores at once. Pixels of one picture or plane are numbered in 32 bits (the
// launcher refuses a canvas of more than 65535 pixels a side); planes, persons and crops lie at 64-bit offsets.

#include "common.cuh"

#define TILE_WIDTH 32
#define TILE_HEIGHT 16

// How the picture is stored: 4 bytes R, G, B, A with A the share of the person over the background, or 3 floats, normalised.
struct Rgba8 {
  const uchar4* pixels;
  float background;
};
struct Float3 {
  const float* pixels;
};

// Weighted sum of four pixels in [-1, 1]. Pixel offsets are relative to the person's picture.
__device__ __forceinline__ float3 sample(const Rgba8& picture, const unsigned offsets[4], const float weights[4]) {
  float r = 0.f, g = 0.f, b = 0.f, shares = 0.f, total = 0.f;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uchar4 v = __ldg(picture.pixels + offsets[i]);
    const float share = weights[i] * ((float)v.w * (1.f / 255.f));
    r += share * (float)v.x;
    g += share * (float)v.y;
    b += share * (float)v.z;
    shares += share;
    total += weights[i];
  }
  // background + share * (normalised - background), summed over the four.
  const float offset = picture.background * total - (1.f + picture.background) * shares;
  return make_float3(r * (2.f / 255.f) + offset, g * (2.f / 255.f) + offset, b * (2.f / 255.f) + offset);
}

__device__ __forceinline__ float3 sample(const Float3& picture, const unsigned offsets[4], const float weights[4]) {
  float3 sum = make_float3(0.f, 0.f, 0.f);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float* p = picture.pixels + 3ull * offsets[i];
    sum.x += weights[i] * __ldg(p);
    sum.y += weights[i] * __ldg(p + 1);
    sum.z += weights[i] * __ldg(p + 2);
  }
  return sum;
}

__device__ __forceinline__ Rgba8 of_person(Rgba8 picture, long long pixels) {
  picture.pixels += pixels;
  return picture;
}
__device__ __forceinline__ Float3 of_person(Float3 picture, long long pixels) {
  picture.pixels += 3 * pixels;
  return picture;
}

// Weights of up to three neighbouring low-resolution samples that make up a weighted pair of upsampled pixels.
struct LowTaps {
  int at[3];
  float weight[3];
};

__device__ __forceinline__ LowTaps low_taps(const Taps& taps, float ratio, int low_size) {
  // Position of canvas pixel i on the low grid, half-pixel centres, held at the border.
  const float last = (float)(low_size - 1);
  const float first = fminf(fmaxf(((float)taps.at[0] + 0.5f) * ratio - 0.5f, 0.f), last);
  const float second = fminf(fmaxf(((float)taps.at[1] + 0.5f) * ratio - 0.5f, 0.f), last);
  const float whole = floorf(first), fraction = first - whole;
  // The canvas is not coarser than the low grid, so the second position lies less than two samples from `whole`.
  const float further = second - whole;
  const bool beyond = further >= 1.f;
  const float second_fraction = beyond ? further - 1.f : further;
  LowTaps t;
  t.weight[0] = taps.weight[0] * (1.f - fraction) + (beyond ? 0.f : taps.weight[1] * (1.f - second_fraction));
  t.weight[1] = taps.weight[0] * fraction + taps.weight[1] * (beyond ? 1.f - second_fraction : second_fraction);
  t.weight[2] = beyond ? taps.weight[1] * second_fraction : 0.f;
  const int base = (int)whole;
  t.at[0] = base;
  t.at[1] = min(base + 1, low_size - 1);
  t.at[2] = min(base + 2, low_size - 1);
  return t;
}

template <class Low>
__device__ __forceinline__ float3 sample_low(const Low* low, int low_size, const LowTaps& x, const LowTaps& y) {
  const Low* const planes[3] = {low, low + (long long)low_size * low_size, low + 2LL * low_size * low_size};
  float sum[3] = {0.f, 0.f, 0.f};
#pragma unroll
  for (int j = 0; j < 3; ++j) {
    if (y.weight[j] == 0.f) continue;  // the third row is needed by one canvas row in eight only
    const unsigned row = (unsigned)y.at[j] * low_size;
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      const float weight = y.weight[j] * x.weight[i];
#pragma unroll
      for (int c = 0; c < 3; ++c) sum[c] += weight * load(planes[c] + (row + x.at[i]));
    }
  }
  return make_float3(sum[0], sum[1], sum[2]);
}

template <class Out>
__device__ __forceinline__ void write(Out* out, long long plane, int columns, const float (*values)[6]) {
  const bool pair = columns == 2 && (reinterpret_cast<unsigned long long>(out) | plane * sizeof(Out)) % (2 * sizeof(Out)) == 0;
#pragma unroll
  for (int c = 0; c < 6; ++c) {
    if (pair) {
      store_pair(out + c * plane, values[0][c], values[1][c]);
    } else {
      store(out + c * plane, values[0][c]);
      if (columns == 2) store(out + c * plane + 1, values[1][c]);
    }
  }
}

template <class Picture>
__device__ __forceinline__ void warp_tile(Picture picture, const void* low, int low_is_half, long long low_stride, int low_size,
                                          float low_ratio, const float* to_canvas, int parts, Canvas canvas,
                                          const CropTable& table) {
  __shared__ float centre_x[TILE_WIDTH], centre_y[TILE_HEIGHT];
  const Crop& crop = table.crops[crop_of_tile(table, blockIdx.x)];
  const int tile = blockIdx.x - crop.first_tile, person = blockIdx.y;
  const int left = tile % crop.tiles_across * TILE_WIDTH, top = tile / crop.tiles_across * TILE_HEIGHT;
  // The crop's first pixel on the canonical canvas. Crops may be larger than the canvas.
  const int canonical_x = canvas.size / 2 - crop.width / 2 + left, canonical_y = canvas.size / 2 - crop.height / 2 + top;
  const int thread = threadIdx.y * blockDim.x + threadIdx.x;
  if (thread < TILE_WIDTH) centre_x[thread] = normalised_centre(canvas, canonical_x + thread);
  else if (thread < TILE_WIDTH + TILE_HEIGHT) centre_y[thread - TILE_WIDTH] = normalised_centre(canvas, canonical_y + thread - TILE_WIDTH);
  __syncthreads();

  const int x = left + 2 * threadIdx.x, y = top + threadIdx.y;
  if (x >= crop.width || y >= crop.height) return;
  const Affine affine = load_affine(to_canvas + 6 * ((long long)person * parts + crop.part));
  picture = of_person(picture, (long long)person * canvas.size * canvas.size);
  const float size = (float)canvas.size;
  float values[2][6];
#pragma unroll
  for (int k = 0; k < 2; ++k) {
    const float cx = centre_x[2 * threadIdx.x + k], cy = centre_y[threadIdx.y];
    const Taps u = taps_between(grid_index(affine.m, cx, cy, size), 0, canvas.size);
    const Taps v = taps_between(grid_index(affine.m + 3, cx, cy, size), 0, canvas.size);
    const unsigned rows[2] = {(unsigned)v.at[0] * canvas.size, (unsigned)v.at[1] * canvas.size};
    const unsigned offsets[4] = {rows[0] + u.at[0], rows[0] + u.at[1], rows[1] + u.at[0], rows[1] + u.at[1]};
    const float weights[4] = {u.weight[0] * v.weight[0], u.weight[1] * v.weight[0], u.weight[0] * v.weight[1],
                              u.weight[1] * v.weight[1]};
    const float3 colour = sample(picture, offsets, weights);
    const LowTaps lu = low_taps(u, low_ratio, low_size), lv = low_taps(v, low_ratio, low_size);
    const float3 normal = low_is_half ? sample_low(static_cast<const half_t*>(low) + person * low_stride, low_size, lu, lv)
                                      : sample_low(static_cast<const float*>(low) + person * low_stride, low_size, lu, lv);
    values[k][0] = colour.x;
    values[k][1] = colour.y;
    values[k][2] = colour.z;
    values[k][3] = normal.x;
    values[k][4] = normal.y;
    values[k][5] = normal.z;
  }
  const long long plane = (long long)crop.height * crop.width;
  const long long at = person * crop.person_stride + (long long)y * crop.width + x;
  const int columns = min(2, crop.width - x);
  if (crop.is_half) write(static_cast<half_t*>(crop.data) + at, plane, columns, values);
  else write(static_cast<float*>(crop.data) + at, plane, columns, values);
}

// Block (16, 16); grid (tiles of all crops, persons).
//   picture    (B, N, N) R, G, B, A bytes, or (B, N, N, 3) float
//   low        (B, C >= 3, n, n), `low_stride` elements from person to person
//   to_canvas  (B, P, 2, 3), canonical -> canvas, normalised coordinates
extern "C" __global__ void __launch_bounds__(256)
    warp_parts_u8(const uchar4* __restrict__ picture, float background, const void* __restrict__ low, int low_is_half,
                  long long low_stride, int low_size, float low_ratio, const float* __restrict__ to_canvas, int parts,
                  const Canvas canvas, const __grid_constant__ CropTable table) {
  warp_tile(Rgba8{picture, background}, low, low_is_half, low_stride, low_size, low_ratio, to_canvas, parts, canvas, table);
}

extern "C" __global__ void __launch_bounds__(256)
    warp_parts_f32(const float* __restrict__ picture, const void* __restrict__ low, int low_is_half, long long low_stride,
                   int low_size, float low_ratio, const float* __restrict__ to_canvas, int parts, const Canvas canvas,
                   const __grid_constant__ CropTable table) {
  warp_tile(Float3{picture}, low, low_is_half, low_stride, low_size, low_ratio, to_canvas, parts, canvas, table);
}
