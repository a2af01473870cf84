// Colours of the front and the back point of each pixel; twins: h2k_rt.surface.colour and the last step of
// h2k_rt.surface.back_colour.
//
//   colour_targets  what is well inside the person, at its edge, and surely background
//   colour_sure     pixels that have the person's own colour
//   colour_replace  the others take it from the nearest of these
//   colour_even     colours evened out towards the silhouette
//   fill_rows, fill_detail, fill_apply
//                   what the front shows replaced on the back, with its fine detail where that fits
//
// The maps are a window of the canvas. Pictures are (B, H, W) uchar4, of which the fourth byte is not used.

#include "bits.cuh"

struct Rules {
  float mixed, core, outside;  // px: mixed with the background; surely the person's; surely background
  float distinct;              // grey levels by which background and person differ
  int box;                     // radius in px of the mean towards which colours are evened
};

#define TAPS 64

// How the fill of the back is laid over the front. It is coarser than the maps by `factor`.
struct FillRules {
  int factor, height, width;  // of the fill
  int blur;                   // radius in px of the Gaussian that tells the front's detail
  int reach;                  // px: detail stays where the colours are alike so far around
  float detail_reach, detail_share, detail_limit;
  float taps[TAPS];           // of the Gaussian, from its middle
};

struct Maps {
  int height, width;
};

#define PIXEL_AND_PERSON                                                                              \
  const int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 8 + threadIdx.y, person = blockIdx.z; \
  if (x >= maps.width || y >= maps.height) return;                                                    \
  const long long pixels = (long long)maps.height * maps.width, base = person * pixels;               \
  const long long at = base + (long long)y * maps.width + x

// All kernels: block (32, 8), one pixel per thread; grid (W / 32, H / 8, persons).

//   inside, away (B, H, W): distance to the silhouette inside and outside of the mask
extern "C" __global__ void __launch_bounds__(256)
    colour_targets(const float* __restrict__ inside, const float* __restrict__ away, unsigned char* __restrict__ core,
                   unsigned char* __restrict__ edge, unsigned char* __restrict__ background, int* __restrict__ any_sure,
                   const Maps maps, const Rules rules) {
  if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0 && threadIdx.y == 0) any_sure[blockIdx.z] = 0;
  PIXEL_AND_PERSON;
  const float depth = inside[at];
  core[at] = depth > rules.core;
  edge[at] = depth > 0.f && depth <= rules.core;
  background[at] = depth == 0.f && away[at] > rules.outside;
}

__device__ __forceinline__ float difference(uchar4 a, uchar4 b) {
  return (float)max(max(abs((int)a.x - b.x), abs((int)a.y - b.y)), abs((int)a.z - b.z));
}

//   canvas (B, N, N, 4);   origin (B, 2): x, y of the maps on it;   picture (B, H, W, 4): written, the canvas there
//   nearest_core, nearest_background (B, H, W): flat indices, -1 where there is none near enough
//   sure, unsure (B, H, W): of the mask, written;   any_sure (B): whether there is a sure one, written
extern "C" __global__ void __launch_bounds__(256)
    colour_sure(const uchar4* __restrict__ canvas, const int* __restrict__ origin, int size, const float* __restrict__ inside,
                const int* __restrict__ nearest_core, const int* __restrict__ nearest_background, uchar4* __restrict__ picture,
                unsigned char* __restrict__ sure, unsigned char* __restrict__ unsure, int* __restrict__ any_sure, const Maps maps,
                const Rules rules) {
  PIXEL_AND_PERSON;
  canvas += (long long)person * size * size;
  const int left = origin ? origin[2 * person] : 0, top = origin ? origin[2 * person + 1] : 0;
  const auto colour = [&](int row, int column) {
    return canvas[(long long)min(max(top + row, 0), size - 1) * size + min(max(left + column, 0), size - 1)];
  };
  const uchar4 own = colour(y, x);
  picture[at] = own;
  const float depth = inside[at];
  bool foreign = false;
  const int there = nearest_core[at], beside = nearest_background[at];
  if (depth > 0.f && depth <= rules.core && there >= 0 && beside >= 0) {
    const uchar4 body = colour(there / maps.width, there % maps.width), ground = colour(beside / maps.width, beside % maps.width);
    foreign = difference(body, ground) > rules.distinct && difference(own, ground) < difference(own, body);
  }
  const bool good = depth > rules.mixed && !foreign;
  sure[at] = good;
  unsure[at] = depth > 0.f && !good;
  if (good && !load_relaxed(any_sure + person)) atomicOr(any_sure + person, 1);
}

//   picture (B, H, W, 4): changed where `source` names a pixel, which is never one that is changed
extern "C" __global__ void __launch_bounds__(256)
    colour_replace(uchar4* __restrict__ picture, const int* __restrict__ source, const Maps maps) {
  PIXEL_AND_PERSON;
  const int from = source[at];
  if (from >= 0) picture[at] = picture[base + from];
}

__device__ __forceinline__ unsigned char to_byte(float v) { return (unsigned char)min(max(__float2int_rn(v), 0), 255); }

//   picture (B, H, W, 4);   front, back (B, H, W, 4): written, both the same; as the photo is where nothing was sure
extern "C" __global__ void __launch_bounds__(256, 4)
    colour_even(const uchar4* __restrict__ picture, const float* __restrict__ inside, uchar4* __restrict__ front,
                uchar4* __restrict__ back, const int* __restrict__ any_sure, const Maps maps, const Rules rules) {
  PIXEL_AND_PERSON;
  uchar4 own = picture[at];
  const float depth = inside[at], reach = 1.5f * rules.core;
  if (depth > 0.f && depth < reach && any_sure[person]) {
    int red = 0, green = 0, blue = 0, count = 0;
    for (int row = max(y - rules.box, 0); row <= min(y + rules.box, maps.height - 1); ++row)
      for (int column = max(x - rules.box, 0); column <= min(x + rules.box, maps.width - 1); ++column) {
        const long long there = base + (long long)row * maps.width + column;
        if (inside[there] == 0.f) continue;
        const uchar4 v = picture[there];
        red += v.x;
        green += v.y;
        blue += v.z;
        ++count;
      }
    const float towards = 1.f - depth / reach, share = 1.f / (float)count;
    own.x = to_byte(own.x + towards * ((float)red * share - own.x));
    own.y = to_byte(own.y + towards * ((float)green * share - own.y));
    own.z = to_byte(own.z + towards * ((float)blue * share - own.z));
  }
  front[at] = back[at] = own;
}

// --------------------------------------------------------------------------------------------------------- fill of the back

// A plane of the fill at a pixel of the maps: bilinear, edge values held.
__device__ __forceinline__ float filled(const float* __restrict__ plane, const FillRules& fill, int y, int x) {
  const float scale = 1.f / (float)fill.factor;
  const float u = fminf(fmaxf(((float)x + 0.5f) * scale - 0.5f, 0.f), (float)(fill.width - 1));
  const float v = fminf(fmaxf(((float)y + 0.5f) * scale - 0.5f, 0.f), (float)(fill.height - 1));
  const int x0 = (int)u, y0 = (int)v, x1 = min(x0 + 1, fill.width - 1), y1 = min(y0 + 1, fill.height - 1);
  const float fx = u - (float)x0, fy = v - (float)y0;
  const float *upper = plane + (long long)y0 * fill.width, *lower = plane + (long long)y1 * fill.width;
  return (upper[x0] * (1.f - fx) + upper[x1] * fx) * (1.f - fy) + (lower[x0] * (1.f - fx) + lower[x1] * fx) * fy;
}

#define FILL_PLANES 6  // red, green, blue, alpha, grain, detail
#define LEAST_ALPHA 1e-3f

// Index within 0..count-1, mirrored at the first and last pixel.
__device__ __forceinline__ int mirrored(int i, int count) {
  while (i < 0 || i >= count) i = i < 0 ? -i : 2 * (count - 1) - i;
  return count == 1 ? 0 : i;
}

// The blur's taps where all threads of a block can index them; every thread has to come by.
__device__ __forceinline__ void share_taps(float (&taps)[TAPS], const FillRules& fill) {
  if (threadIdx.y == 0 && threadIdx.x == 0) {
#pragma unroll
    for (int i = 0; i < TAPS; ++i) taps[i] = fill.taps[i];
  }
  __syncthreads();
}

//   back (B, H, W, 4);   rows (B, H, W, 4) float: the back blurred along its rows, written
extern "C" __global__ void __launch_bounds__(256)
    fill_rows(const uchar4* __restrict__ back, float4* __restrict__ rows, const Maps maps, const FillRules fill) {
  __shared__ float taps[TAPS];
  share_taps(taps, fill);
  PIXEL_AND_PERSON;
  float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
  const uchar4* row = back + base + (long long)y * maps.width;
  for (int dx = -fill.blur; dx <= fill.blur; ++dx) {
    const uchar4 v = row[mirrored(x + dx, maps.width)];
    const float tap = taps[abs(dx)];
    sum.x += tap * (float)v.x;
    sum.y += tap * (float)v.y;
    sum.z += tap * (float)v.z;
  }
  rows[at] = sum;
}

//   planes (B, FILL_PLANES, h, w): the fill
//   alike (B, H, W): how much the back's coarse colours are the fill's, written;   fine (B, H, W): its detail, grey, written
extern "C" __global__ void __launch_bounds__(256)
    fill_detail(const uchar4* __restrict__ back, const float4* __restrict__ rows, const float* __restrict__ planes, long long stride,
                float* __restrict__ alike, float* __restrict__ fine, const Maps maps, const FillRules fill) {
  __shared__ float taps[TAPS];
  share_taps(taps, fill);
  PIXEL_AND_PERSON;
  float4 coarse = make_float4(0.f, 0.f, 0.f, 0.f);
  for (int dy = -fill.blur; dy <= fill.blur; ++dy) {
    const float4 v = rows[base + (long long)mirrored(y + dy, maps.height) * maps.width + x];
    const float tap = taps[abs(dy)];
    coarse.x += tap * v.x;
    coarse.y += tap * v.y;
    coarse.z += tap * v.z;
  }
  const float* mine = planes + person * stride;
  const long long area = (long long)fill.height * fill.width;
  const float away = fmaxf(fmaxf(fabsf(coarse.x - filled(mine, fill, y, x)), fabsf(coarse.y - filled(mine + area, fill, y, x))),
                           fabsf(coarse.z - filled(mine + 2 * area, fill, y, x)));
  alike[at] = __saturatef(1.f - away / fill.detail_reach);
  const uchar4 v = back[at];
  fine[at] = ((float)v.x - coarse.x + (float)v.y - coarse.y + (float)v.z - coarse.z) * (1.f / 3.f);
}

//   back (B, H, W, 4): changed
extern "C" __global__ void __launch_bounds__(256, 4)
    fill_apply(uchar4* __restrict__ back, const float* __restrict__ planes, long long stride, const float* __restrict__ alike,
               const float* __restrict__ fine, const Maps maps, const FillRules fill) {
  PIXEL_AND_PERSON;
  const float* mine = planes + person * stride;
  const long long area = (long long)fill.height * fill.width;
  const float alpha = filled(mine + 3 * area, fill, y, x);
  if (alpha <= LEAST_ALPHA) return;
  float least = 1.f;
  for (int row = max(y - fill.reach, 0); row <= min(y + fill.reach, maps.height - 1); ++row)
    for (int column = max(x - fill.reach, 0); column <= min(x + fill.reach, maps.width - 1); ++column)
      least = fminf(least, alike[base + (long long)row * maps.width + column]);
  const float share = least * filled(mine + 5 * area, fill, y, x) * fill.detail_share;
  const float detail = fminf(fmaxf(fine[at], -fill.detail_limit), fill.detail_limit) * share + filled(mine + 4 * area, fill, y, x);
  const uchar4 v = back[at];
  back[at] = make_uchar4(to_byte(v.x + (filled(mine, fill, y, x) + detail - v.x) * alpha),
                         to_byte(v.y + (filled(mine + area, fill, y, x) + detail - v.y) * alpha),
                         to_byte(v.z + (filled(mine + 2 * area, fill, y, x) + detail - v.z) * alpha), v.w);
}
