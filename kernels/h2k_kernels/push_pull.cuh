// Reading a filled pyramid; see push_pull.cu.
#pragma once

#include "common.cuh"

// The two values of pixel (y, x) of a level, upsampled from the next coarser one of h x w pixels: bilinear, edge values held.
__device__ __forceinline__ float2 pushed(const float4* __restrict__ coarse, int height, int width, int y, int x) {
  const int x0 = x / 2, y0 = y / 2;
  const int x1 = min(max(x % 2 ? x0 + 1 : x0 - 1, 0), width - 1), y1 = min(max(y % 2 ? y0 + 1 : y0 - 1, 0), height - 1);
  const float4 a = coarse[(long long)y0 * width + x0], b = coarse[(long long)y0 * width + x1];
  const float4 c = coarse[(long long)y1 * width + x0], d = coarse[(long long)y1 * width + x1];
  const float2 near = make_float2(0.75f * a.x + 0.25f * b.x, 0.75f * a.y + 0.25f * b.y);
  const float2 far = make_float2(0.75f * c.x + 0.25f * d.x, 0.75f * c.y + 0.25f * d.y);
  return make_float2(0.75f * near.x + 0.25f * far.x, 0.75f * near.y + 0.25f * far.y);
}
