// Distance of each pixel to the nearest target pixel, and which one that is; twin: distance_field.py.
//
//   distance_rows   the nearest target within each row
//   distance_field  over all rows
//
// The metric is OpenCV's DIST_L2 with a 5 x 5 mask: steps to a neighbour cost 1, diagonal ones 1.4, knight's moves 2.1969. The
// cheapest path between two pixels then has a closed form, so no pixel waits for another.

#include "bits.cuh"
#include "guard.cuh"

#define NO_TARGET 0x40000000

__device__ __forceinline__ float step_distance(int dx, int dy) {
  const int a = max(dx, dy), b = min(dx, dy);
  return a >= 2 * b ? (float)(a - 2 * b) + 2.1969f * (float)b : 1.4f * (float)(2 * b - a) + 2.1969f * (float)(a - b);
}

// Block 256, one pixel per thread; grid (H * W / 256, persons).
//   bits (B, H, words): the targets;   offsets (B, H, W): columns to the nearest target in the row, NO_TARGET without one
extern "C" __global__ void __launch_bounds__(256)
    distance_rows(const unsigned* __restrict__ bits, int* __restrict__ offsets, int height, int width, const int* __restrict__ guard,
                  int guard_stride) {
  const int person = blockIdx.y;
  const long long pixels = (long long)height * width, at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= pixels || is_off(guard, guard_stride, person)) return;
  const int words = (width + 31) / 32, y = (int)(at / width), x = (int)(at % width), k = x >> 5, i = x & 31;
  const unsigned* row = bits + (person * (long long)height + y) * words;
  const unsigned own = __ldg(row + k);
  int left = NO_TARGET, right = NO_TARGET;
  unsigned found = own & (bits_below(i) | 1u << i);
  for (int word = k;;) {
    if (found) {
      left = x - (32 * word + 31 - __clz((int)found));
      break;
    }
    if (--word < 0) break;
    found = __ldg(row + word);
  }
  found = own & ~bits_below(i);
  for (int word = k;;) {
    if (found) {
      right = 32 * word + __ffs((int)found) - 1 - x;
      break;
    }
    if (++word >= words || 32 * word - x > left) break;  // no nearer than the one on the left
    found = __ldg(row + word);
  }
  offsets[person * pixels + at] = left <= right ? (left == NO_TARGET ? NO_TARGET : -left) : right;
}

// Block (32, 8), one pixel per thread; grid (W / 32, H / 8, persons).
//   where (B, H, W)     pixels of interest; the others get distance 0 and index -1; null: all
//   distance (B, H, W)  less `inset`, but not less than 0; `limit` where it is larger or there is no target; null: not wanted
//   index (B, H, W)     flat index of the nearest target, -1 beyond `limit`; null: not wanted
extern "C" __global__ void __launch_bounds__(256)
    distance_field(const int* __restrict__ offsets, const unsigned char* __restrict__ where, float* __restrict__ distance,
                   int* __restrict__ index, int height, int width, float inset, float limit, const int* __restrict__ guard,
                   int guard_stride) {
  const int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 8 + threadIdx.y, person = blockIdx.z;
  if (x >= width || y >= height || is_off(guard, guard_stride, person)) return;
  const long long base = (long long)person * height * width, at = base + (long long)y * width + x;
  float best = limit;
  int best_x = -1, best_y = -1;
  const bool wanted = !where || where[at];
  if (wanted) {
    const int first = __ldg(offsets + at);
    if (first != NO_TARGET && (float)abs(first) < best) best = (float)abs(first), best_x = x + first, best_y = y;
    for (int dy = 1; (float)dy < best && (y - dy >= 0 || y + dy < height); ++dy)
#pragma unroll
      for (int side = -1; side <= 1; side += 2) {
        const int row = y + side * dy;
        if (row < 0 || row >= height) continue;
        const int dx = __ldg(offsets + base + (long long)row * width + x);
        if (dx == NO_TARGET) continue;
        const float candidate = step_distance(abs(dx), dy);
        if (candidate < best) best = candidate, best_x = x + dx, best_y = row;
      }
  } else {
    best = 0.f;
  }
  if (distance) distance[at] = fmaxf(best - inset, 0.f);
  if (index) index[at] = best_x < 0 ? -1 : best_y * width + best_x;
}
