// The silhouette of the grid mesh at one border pixel; twin: h2k_rt.surface.silhouette.find_border.
#pragma once

#include "bits.cuh"

#define OUTLINE_RADIUS 8

// Taps 0 to 8 of the blur that tells the smooth outline from the pixel stairs, and how far a vertex may move.
struct Outline {
  float taps[OUTLINE_RADIUS + 1];
  float shift, bulge, tight_shift, tight_bulge;  // limits in pixels
  int smooth;                                    // move vertices onto the smooth outline
};

// Where a border vertex goes: direction to the outside in the picture, pixels along it, and the bulge of the strip there.
struct Rim {
  float x, y, shift, bulge;
};

__device__ __forceinline__ float outline_tap(const Outline& outline, int offset) {
  const int distance = abs(offset);
  return distance <= OUTLINE_RADIUS ? outline.taps[distance] : 0.f;
}

// Bits from column `first` on of a row, at most 32.
__device__ __forceinline__ unsigned row_bits(BitMask mask, int y, int first) {
  const int k = first >> 5, rest = first & 31;
  const unsigned low = mask.word(y, k), high = mask.word(y, k + 1);
  return rest ? low >> rest | high << (32 - rest) : low;
}

__device__ __forceinline__ float warp_sum(float v) {
  for (int offset = 16; offset; offset /= 2) v += __shfl_xor_sync(FULL_WARP, v, offset);
  return v;
}

__device__ __forceinline__ unsigned long long dilated(unsigned long long board) {
  const unsigned long long left = 0xfefefefefefefefeull, right = 0x7f7f7f7f7f7f7f7full;
  const unsigned long long rows = board | (board << 1 & left) | (board >> 1 & right);
  return rows | rows << 8 | rows >> 8;
}

// Whether the pixel lies in or beside a gap or a limb of fewer than three cells: closing and opening of the cells around it differ.
// All lanes of the warp work on the same pixel.
__device__ __forceinline__ bool is_tight(BitMask cells, int y, int x) {
  const int lane = threadIdx.x % 32;
  // 8 x 8 cells around the pixel, 4 on each side. Results hold in the middle 4 x 4.
  unsigned part = lane < 8 ? (row_bits(cells, y - 4 + lane, x - 4) & 0xffu) << 8 * (lane % 4) : 0u;
  part |= __shfl_xor_sync(FULL_WARP, part, 1);
  part |= __shfl_xor_sync(FULL_WARP, part, 2);
  const unsigned low = __shfl_sync(FULL_WARP, part, 0), high = __shfl_sync(FULL_WARP, part, 4);
  const unsigned long long board = (unsigned long long)high << 32 | low;
  const unsigned long long closed = ~dilated(~dilated(board)), opened = dilated(~dilated(~board));
  return ((closed ^ opened) & 0x00003c3c3c3c0000ull) != 0;
}

// All lanes of the warp work on the same border pixel; `used` are the pixels of the cells.
__device__ __forceinline__ Rim find_rim(BitMask cells, BitMask used, const Outline& outline, int y, int x) {
  // Each lane blurs one row around the pixel horizontally, at the pixel and at its neighbours.
  const int row = (int)(threadIdx.x % 32) - OUTLINE_RADIUS - 1;
  float middle = 0.f, left = 0.f, right = 0.f;
  if (row <= OUTLINE_RADIUS + 1) {
    const unsigned bits = row_bits(used, y + row, x - OUTLINE_RADIUS - 1);
#pragma unroll
    for (int i = 0; i < 2 * OUTLINE_RADIUS + 3; ++i) {
      const int offset = i - OUTLINE_RADIUS - 1;
      if (bits >> i & 1) {
        middle += outline_tap(outline, offset);
        left += outline_tap(outline, offset + 1);
        right += outline_tap(outline, offset - 1);
      }
    }
  }
  const float weight = outline_tap(outline, row);
  const float centre = warp_sum(middle * weight);
  const float across = 0.5f * warp_sum((left - right) * weight);
  const float down = 0.5f * warp_sum(middle * (outline_tap(outline, row + 1) - outline_tap(outline, row - 1)));
  const float steepness = __fsqrt_rn(across * across + down * down), divisor = fmaxf(steepness, 1e-3f);
  const bool clear = steepness > 1e-3f, tight = is_tight(cells, y, x);
  const float limit = tight ? outline.tight_shift : outline.shift;
  Rim rim;
  rim.x = clear ? across / divisor : 0.f;
  rim.y = clear ? down / divisor : 0.f;
  // To the level of one half, which lies half a pixel outside of the border pixels of a straight outline.
  const float distance = (centre - 0.5f) / divisor - 0.5f;
  rim.shift = outline.smooth && clear ? fminf(fmaxf(distance, -limit), limit) : 0.f;
  rim.bulge = tight ? outline.tight_bulge : outline.bulge;
  return rim;
}
