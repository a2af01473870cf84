// Blur-weighted fusion of the parts' normals as one gather over the output; twin: fuse_parts.py.
//
// Each block makes a tile of the canvas and looks at the parts that reach it only. The blurred weight of a part's window is a
// product of two edge profiles where the whole window lies on the canvas; where the canvas cuts the window, `fuse_weights` has
// blurred what is left of it beforehand. The full resolution and its two sub-samplings leave in the same pass.

#include "common.cuh"

#define MAX_TAPS 31
#define MAX_RADIUS (MAX_TAPS / 2)

// The Gaussian blur of the windows, and how much smaller than the crop they are.
struct Blur {
  int radius, margin;         // the window starts `margin` pixels inside the crop
  float taps[MAX_TAPS];       // from -radius to radius
  float cumulative[MAX_TAPS]; // sums of the taps from -radius on
};

__device__ __forceinline__ float normalised_row(Canvas canvas, const Affine& affine, int row, int x, int y) {
  return grid_index(affine.m + 3 * row, normalised_centre(canvas, x), normalised_centre(canvas, y), (float)canvas.size);
}

// First pixel of a crop on the canonical canvas.
__device__ __forceinline__ int2 crop_origin(Canvas canvas, const Crop& crop) {
  return make_int2(canvas.size / 2 - crop.width / 2, canvas.size / 2 - crop.height / 2);
}

// Whether the canvas holds the whole window of a crop. With a margin for rounding: near the border the weights are blurred.
__device__ __forceinline__ bool window_is_whole(Canvas canvas, const Affine& to_canvas, const Crop& crop, int margin) {
  const int2 origin = crop_origin(canvas, crop);
  const float last = (float)canvas.size - 1.01f;
  bool whole = true;
#pragma unroll
  for (int corner = 0; corner < 4; ++corner) {
    const int x = origin.x + (corner & 1 ? crop.width - 1 - margin : margin);
    const int y = origin.y + (corner & 2 ? crop.height - 1 - margin : margin);
    const float u = normalised_row(canvas, to_canvas, 0, x, y), v = normalised_row(canvas, to_canvas, 1, x, y);
    whole = whole && u >= 0.01f && u <= last && v >= 0.01f && v <= last;
  }
  return whole;
}

// ------------------------------------------------------------------------------------------------ windows that the canvas cuts

#define WEIGHT_TILE 32

// Blurred window of each part of which the canvas holds a part only; the maps of the others are not written.
// Block (32, 8); grid (tiles of all crops, persons).
//   to_canvas  (B, P, 2, 3);   usable (B, P) or null;   weights (B, pixels of all crops)
extern "C" __global__ void __launch_bounds__(256)
    fuse_weights(const float* __restrict__ to_canvas, const unsigned char* __restrict__ usable, int parts, const Canvas canvas,
                 const __grid_constant__ CropTable table, const __grid_constant__ Blur blur, float* __restrict__ weights) {
  __shared__ float window[WEIGHT_TILE + 2 * MAX_RADIUS][WEIGHT_TILE + 2 * MAX_RADIUS];
  __shared__ float rows[WEIGHT_TILE + 2 * MAX_RADIUS][WEIGHT_TILE];
  const Crop& crop = table.crops[crop_of_tile(table, blockIdx.x)];
  const long long part = (long long)blockIdx.y * parts + crop.part;
  if (usable && !usable[part]) return;
  const Affine affine = load_affine(to_canvas + 6 * part);
  if (window_is_whole(canvas, affine, crop, blur.margin)) return;

  const int tile = blockIdx.x - crop.first_tile, thread = threadIdx.y * blockDim.x + threadIdx.x, threads = blockDim.x * blockDim.y;
  const int left = tile % crop.tiles_across * WEIGHT_TILE, top = tile / crop.tiles_across * WEIGHT_TILE;
  const int2 origin = crop_origin(canvas, crop);
  const int radius = blur.radius, side = WEIGHT_TILE + 2 * radius;
  const float size = (float)canvas.size;
  for (int i = thread; i < side * side; i += threads) {
    const int x = left - radius + i % side, y = top - radius + i / side;
    float value = 0.f;
    if (x >= blur.margin && x < crop.width - blur.margin && y >= blur.margin && y < crop.height - blur.margin) {
      const float u = normalised_row(canvas, affine, 0, origin.x + x, origin.y + y);
      const float v = normalised_row(canvas, affine, 1, origin.x + x, origin.y + y);
      // Bilinear sampling of ones: 1 on the canvas, falling to 0 over the pixel beyond its border.
      value = __saturatef(u + 1.f) * __saturatef(size - u) * __saturatef(v + 1.f) * __saturatef(size - v);
    }
    window[i / side][i % side] = value;
  }
  __syncthreads();
  for (int i = thread; i < side * WEIGHT_TILE; i += threads) {
    const int x = i % WEIGHT_TILE, y = i / WEIGHT_TILE;
    float sum = 0.f;
    for (int k = 0; k <= 2 * radius; ++k) sum += blur.taps[k] * window[y][x + k];
    rows[y][x] = sum;
  }
  __syncthreads();
  const int x = left + threadIdx.x;
  float* out = weights + blockIdx.y * table.pixels + crop.first_pixel;
  for (int j = threadIdx.y; j < WEIGHT_TILE; j += blockDim.y) {
    const int y = top + j;
    float sum = 0.f;
    for (int k = 0; k <= 2 * radius; ++k) sum += blur.taps[k] * rows[j + k][threadIdx.x];
    if (x < crop.width && y < crop.height) out[(long long)y * crop.width + x] = sum;
  }
}

// -------------------------------------------------------------------------------------------------------------------- fusion

#define TILE_WIDTH 64
#define TILE_HEIGHT 16

// A part that reaches the tile.
struct Cover {
  Affine to_part;
  int crop;
  bool whole;  // its window: the weight is a product of profiles
};

// Sum of the blur's taps that fall into the window, for a pixel of a line of `count` pixels; 1 well inside.
__device__ __forceinline__ float profile(const float* cumulative, int radius, int margin, int count, int at) {
  const int highest = count - 1 - margin - at, lowest = margin - at;  // of the taps inside
  if (highest >= radius && lowest <= -radius) return 1.f;
  if (highest < lowest || highest < -radius || lowest > radius) return 0.f;
  // The kernel is symmetric: small sums are looked up from the side where they are sums of few taps.
  if (highest >= radius) return cumulative[radius - lowest];
  return cumulative[highest + radius] - (lowest > -radius ? cumulative[lowest - 1 + radius] : 0.f);
}

// `first` to `last` of the channels.
template <class In>
__device__ __forceinline__ void add_normals(const In* block, const Crop& crop, const Taps& u, const Taps& v, float weight,
                                            float sums[6], int first = 0, int last = 6) {
  const int plane = crop.height * crop.width;  // 6 of them lie within 2^31: the launcher checks it
  const In *top = block + first * plane + v.at[0] * crop.width, *bottom = block + first * plane + v.at[1] * crop.width;
  const float w00 = weight * (u.weight[0] * v.weight[0]), w01 = weight * (u.weight[1] * v.weight[0]);
  const float w10 = weight * (u.weight[0] * v.weight[1]), w11 = weight * (u.weight[1] * v.weight[1]);
#pragma unroll
  for (int c = first; c < last; ++c) {
    sums[c] += w00 * load(top + u.at[0]) + w01 * load(top + u.at[1]) + w10 * load(bottom + u.at[0]) + w11 * load(bottom + u.at[1]);
    top += plane;
    bottom += plane;
  }
}

// Adds `front` and `back` times the low-resolution normals of the side, upsampled bilinearly (half-pixel centres, held at the border).
template <class In>
__device__ __forceinline__ void add_fill(const In* fill, int fill_size, float ratio, int x, int y, float front, float back,
                                         float sums[6]) {
  const float last = (float)(fill_size - 1);
  const float u = fminf(fmaxf(((float)x + 0.5f) * ratio - 0.5f, 0.f), last), v = fminf(fmaxf(((float)y + 0.5f) * ratio - 0.5f, 0.f), last);
  const Taps across = taps_between(u, 0, fill_size), down = taps_between(v, 0, fill_size);
  const Crop whole = {nullptr, 0, 0, fill_size, fill_size, 0, 0, 0, 0};
  if (front > 0.f) add_normals(fill, whole, across, down, front, sums, 0, 3);
  add_normals(fill, whole, across, down, back, sums, 3, 6);
}

template <class Out>
__device__ __forceinline__ void write_levels(Out* full, Out* half, Out* quarter, int width, int height, int x, int y,
                                             const float (*values)[6]) {
  const bool both = x + 1 < width;
  const long long plane = (long long)width * height, at = (long long)y * width + x;
  const bool pair = both && (reinterpret_cast<unsigned long long>(full + at) | plane * sizeof(Out)) % (2 * sizeof(Out)) == 0;
#pragma unroll
  for (int c = 0; c < 6; ++c) {
    if (pair) {
      store_pair(full + c * plane + at, values[0][c], values[1][c]);
    } else {
      store(full + c * plane + at, values[0][c]);
      if (both) store(full + c * plane + at + 1, values[1][c]);
    }
  }
  if (half && y % 2 == 0) {  // [0::2, 0::2]
    const long long half_width = (width + 1) / 2, half_plane = half_width * ((height + 1) / 2);
#pragma unroll
    for (int c = 0; c < 6; ++c) store(half + c * half_plane + y / 2 * half_width + x / 2, values[0][c]);
  }
  if (quarter && both && y % 4 == 1 && x % 4 == 0) {  // [1::4, 1::4]
    const long long quarter_width = (width + 2) / 4, quarter_plane = quarter_width * ((height + 2) / 4);
#pragma unroll
    for (int c = 0; c < 6; ++c) store(quarter + c * quarter_plane + y / 4 * quarter_width + x / 4, values[1][c]);
  }
}

// Elements of one person in each level.
struct Levels {
  void *full, *half, *quarter;
  int width, height, is_half_precision;
};

template <class Out>
__device__ __forceinline__ void write_levels(const Levels& levels, int person, int x, int y, const float (*values)[6]) {
  const long long width = levels.width, height = levels.height;
  Out* full = static_cast<Out*>(levels.full) + person * 6 * width * height;
  Out* half = levels.half ? static_cast<Out*>(levels.half) + person * 6 * ((width + 1) / 2) * ((height + 1) / 2) : nullptr;
  Out* quarter = levels.quarter ? static_cast<Out*>(levels.quarter) + person * 6 * ((width + 2) / 4) * ((height + 2) / 4) : nullptr;
  write_levels(full, half, quarter, levels.width, levels.height, x, y, values);
}

// What stands in where the parts' weights sum to less than `weight`, and has `back_share` of the back everywhere.
struct Fill {
  const void* normals;
  int is_half, size;
  float ratio, weight, back_share;
};

// Lists the crops that reach a tile, in the table's order, so that sums do not depend on scheduling. One warp; lane = crop.
__device__ __forceinline__ int list_covers(Cover* covers, const CropTable& table, const float* to_canvas, const float* to_part,
                                           const unsigned char* usable, Canvas canvas, int margin, int2 first, int2 last, int lane) {
  bool reaches = lane < table.count && !(usable && !usable[table.crops[lane].part]);
  Affine affine = {};
  if (reaches) {
    const Crop& crop = table.crops[lane];
    affine = load_affine(to_part + 6 * crop.part);
    const int2 origin = crop_origin(canvas, crop);
    float u_low = 3e38f, u_high = -3e38f, v_low = 3e38f, v_high = -3e38f;
#pragma unroll
    for (int corner = 0; corner < 4; ++corner) {
      const int x = corner & 1 ? last.x : first.x, y = corner & 2 ? last.y : first.y;
      const float u = normalised_row(canvas, affine, 0, x, y) - (float)origin.x;
      const float v = normalised_row(canvas, affine, 1, x, y) - (float)origin.y;
      u_low = fminf(u_low, u), u_high = fmaxf(u_high, u), v_low = fminf(v_low, v), v_high = fmaxf(v_high, v);
    }
    // A crop's values reach one pixel beyond it; a little more for rounding.
    reaches = u_high > -1.05f && u_low < (float)crop.width + 0.05f && v_high > -1.05f && v_low < (float)crop.height + 0.05f;
  }
  const unsigned found = __ballot_sync(FULL_WARP, reaches);
  if (reaches) {
    Cover& cover = covers[__popc(found & ((1u << lane) - 1))];
    cover.to_part = affine;
    cover.crop = lane;
    cover.whole = window_is_whole(canvas, load_affine(to_canvas + 6 * table.crops[lane].part), table.crops[lane], margin);
  }
  return __popc(found);
}

// Block (32, 8), each thread two neighbouring pixels of two rows; grid (tiles across, tiles down, persons).
//   to_canvas, to_part  (B, P, 2, 3);   usable (B, P) or null
//   weights   (B, pixels of all crops), of fuse_weights
//   region    (B, 4) x0, y0, x1, y1: canvas pixels to compute, 0 elsewhere; null: all
//   origin    (B, 2) x, y: canvas pixel of the output's first one, multiples of 4; null: 0
//   levels    (B, 6, h, w), and sub-sampled [0::2, 0::2] and [1::4, 1::4] or null
extern "C" __global__ void __launch_bounds__(256, 3)
    fuse_parts(const float* __restrict__ to_canvas, const float* __restrict__ to_part, const unsigned char* __restrict__ usable,
               int parts, const float* __restrict__ weights, const int* __restrict__ region, const int* __restrict__ origin,
               const Canvas canvas, const Fill fill, const Levels levels, const __grid_constant__ CropTable table,
               const __grid_constant__ Blur blur) {
  __shared__ Cover covers[MAX_CROPS];
  __shared__ int cover_count;
  __shared__ float centre_x[TILE_WIDTH], centre_y[TILE_HEIGHT], cumulative[MAX_TAPS];
  const int person = blockIdx.z, thread = threadIdx.y * blockDim.x + threadIdx.x;
  const int left = blockIdx.x * TILE_WIDTH, top = blockIdx.y * TILE_HEIGHT;
  // From output to canvas pixels.
  const int2 shift = origin ? make_int2(origin[2 * person], origin[2 * person + 1]) : make_int2(0, 0);
  int x_min = 0, y_min = 0, x_max = canvas.size, y_max = canvas.size;
  if (region) {
    x_min = region[4 * person], y_min = region[4 * person + 1], x_max = region[4 * person + 2], y_max = region[4 * person + 3];
  }
  if (threadIdx.y == 0) {
    const int2 first = make_int2(max(shift.x + left, x_min), max(shift.y + top, y_min));
    const int2 last = make_int2(min(shift.x + left + TILE_WIDTH, x_max) - 1, min(shift.y + top + TILE_HEIGHT, y_max) - 1);
    const long long at = (long long)person * parts;
    int count = 0;
    if (first.x <= last.x && first.y <= last.y)
      count = list_covers(covers, table, to_canvas + 6 * at, to_part + 6 * at, usable ? usable + at : nullptr, canvas, blur.margin,
                          first, last, threadIdx.x);
    if (thread == 0) cover_count = count;
  } else if (threadIdx.y < 3) {
    centre_x[thread - 32] = normalised_centre(canvas, shift.x + left + thread - 32);
  } else if (threadIdx.y == 3) {
    if (threadIdx.x < TILE_HEIGHT) centre_y[threadIdx.x] = normalised_centre(canvas, shift.y + top + threadIdx.x);
  } else if (threadIdx.y == 4) {
    if ((int)threadIdx.x <= 2 * blur.radius) cumulative[threadIdx.x] = blur.cumulative[threadIdx.x];
  }
  __syncthreads();

  const int x = left + 2 * threadIdx.x;
  if (x >= levels.width) return;
  const float size = (float)canvas.size;
  for (int row = threadIdx.y; row < TILE_HEIGHT; row += blockDim.y) {
    const int y = top + row;
    if (y >= levels.height) break;
    float values[2][6];
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      float sums[6] = {0.f, 0.f, 0.f, 0.f, 0.f, 0.f};
      float total = 0.f;
      const int canvas_x = shift.x + x + k, canvas_y = shift.y + y;
      const bool inside = canvas_x >= x_min && canvas_x < x_max && canvas_y >= y_min && canvas_y < y_max;
      for (int i = 0; inside && i < cover_count; ++i) {
        const Cover& cover = covers[i];
        const Crop& crop = table.crops[cover.crop];
        const int2 at = crop_origin(canvas, crop);
        const float cx = centre_x[2 * threadIdx.x + k], cy = centre_y[row];
        const Taps u = taps_between(grid_index(cover.to_part.m, cx, cy, size), at.x, crop.width);
        const Taps v = taps_between(grid_index(cover.to_part.m + 3, cx, cy, size), at.y, crop.height);
        if (u.weight[0] + u.weight[1] == 0.f || v.weight[0] + v.weight[1] == 0.f) continue;
        float weight;
        if (cover.whole) {
          const float across = u.weight[0] * profile(cumulative, blur.radius, blur.margin, crop.width, u.at[0]) +
                               u.weight[1] * profile(cumulative, blur.radius, blur.margin, crop.width, u.at[1]);
          const float down = v.weight[0] * profile(cumulative, blur.radius, blur.margin, crop.height, v.at[0]) +
                             v.weight[1] * profile(cumulative, blur.radius, blur.margin, crop.height, v.at[1]);
          weight = across * down;
        } else {
          const float* map = weights + person * table.pixels + crop.first_pixel;
          const float *upper = map + v.at[0] * crop.width, *lower = map + v.at[1] * crop.width;
          weight = v.weight[0] * (u.weight[0] * __ldg(upper + u.at[0]) + u.weight[1] * __ldg(upper + u.at[1])) +
                   v.weight[1] * (u.weight[0] * __ldg(lower + u.at[0]) + u.weight[1] * __ldg(lower + u.at[1]));
        }
        if (weight == 0.f) continue;
        total += weight;
        if (crop.is_half) add_normals(static_cast<const half_t*>(crop.data) + person * crop.person_stride, crop, u, v, weight, sums);
        else add_normals(static_cast<const float*>(crop.data) + person * crop.person_stride, crop, u, v, weight, sums);
      }
      float back_scale = 1.f;
      if (fill.normals && inside && (total < fill.weight || fill.back_share > 0.f)) {
        const float lacking = fmaxf(fill.weight - total, 0.f);
        total += lacking;
        back_scale = 1.f - fill.back_share;
        const float back = lacking + total * (fill.back_share / back_scale);
        const long long of_person = person * 6LL * fill.size * fill.size;
        if (fill.is_half)
          add_fill(static_cast<const half_t*>(fill.normals) + of_person, fill.size, fill.ratio, canvas_x, canvas_y, lacking, back, sums);
        else
          add_fill(static_cast<const float*>(fill.normals) + of_person, fill.size, fill.ratio, canvas_x, canvas_y, lacking, back, sums);
      }
      const float scale = total == 0.f ? 0.f : 1.f / total;
#pragma unroll
      for (int c = 0; c < 6; ++c) values[k][c] = sums[c] * (c < 3 ? scale : scale * back_scale);
    }
    if (levels.is_half_precision) write_levels<half_t>(levels, person, x, y, values);
    else write_levels<float>(levels, person, x, y, values);
  }
}

// ---------------------------------------------------------------------------------------------------------------------- fill

template <class T>
__device__ __forceinline__ void fine_scale(const T* low, T* out, long long plane, float factor) {
  const float encoded[3] = {load(low), load(low + plane), load(low + 2 * plane)};
  // Differences in units of z; a steep or broken prediction is held at the steepest that 8 bits can tell.
  const float scale = 1.f / (fmaxf(2.f * encoded[2] - 1.f, 1.f / 128.f) * factor);
  const float x = (2.f * encoded[0] - 1.f) * scale, y = (2.f * encoded[1] - 1.f) * scale;
  const float length = __fsqrt_rn(x * x + y * y + 1.f);
  const float present = 0.5f * __saturatef(2.f * fmaxf(fmaxf(encoded[0], encoded[1]), encoded[2]));
  store(out, (x / length + 1.f) * present);
  store(out + plane, (y / length + 1.f) * present);
  store(out + 2 * plane, (1.f / length + 1.f) * present);
}

// Low-resolution normals in the encoding of the `factor` times finer resolution; twin: h2k_rt.inference.fine_scale_normals.
// Block 256; grid (pixels / 256, persons, 2 sides).   low, out (B, 6, n, n)
extern "C" __global__ void __launch_bounds__(256)
    fill_normals(const void* __restrict__ low, void* __restrict__ out, int is_half, long long plane, float factor) {
  const long long pixel = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (pixel >= plane) return;
  const long long at = (blockIdx.y * 2LL + blockIdx.z) * 3 * plane + pixel;
  if (is_half) fine_scale(static_cast<const half_t*>(low) + at, static_cast<half_t*>(out) + at, plane, factor);
  else fine_scale(static_cast<const float*>(low) + at, static_cast<float*>(out) + at, plane, factor);
}
