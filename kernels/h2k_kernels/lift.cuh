// From depth to points in the scan frame; twin: h2k_rt.surface.rays.
#pragma once

#include "common.cuh"

// The canvas camera.
struct Camera {
  float nu_scale, nu_offset;  // distance along the ray = nu * nu_scale + nu_offset
  float inverse_scale;        // 1 / world scale
  float step;                 // difference of two neighbouring pixels' tangents
};

// Rounded after each operation as NumPy does, because faces are split by comparing distances.
__device__ __forceinline__ float distance_of(Camera camera, float nu) {
  return __fadd_rn(__fmul_rn(nu, camera.nu_scale), camera.nu_offset);
}

__device__ __forceinline__ float ray_length(float tan_x, float tan_y) {
  return __fsqrt_rn(__fadd_rn(__fadd_rn(__fmul_rn(tan_x, tan_x), __fmul_rn(tan_y, tan_y)), 1.f));
}

// Point at `distance` along the ray through (tan_x, tan_y, 1): x right, y up, z towards the camera.
__device__ __forceinline__ void lift_to_scan(Camera camera, float distance, float tan_x, float tan_y, float (&out)[3]) {
  const float z = distance / ray_length(tan_x, tan_y) * camera.inverse_scale;
  out[0] = z * tan_x;
  out[1] = -z * tan_y;
  out[2] = camera.inverse_scale - z;
}

// Unit normal of z(tan_x, tan_y) from its differences to the neighbours, per pixel: the cross product of the two tangents of
// z (tx, ty, 1) is parallel to (dz/dtx, dz/dty, -(z + tx dz/dtx + ty dz/dty)). sign: 1 towards the camera, -1 away from it.
__device__ __forceinline__ void grid_normal(Camera camera, float z, float dx, float dy, float tan_x, float tan_y, float sign,
                                            float (&out)[3]) {
  const float zx = dx / camera.step, zy = dy / camera.step, depth = z + tan_x * zx + tan_y * zy;
  const float scale = sign / __fsqrt_rn(zx * zx + zy * zy + depth * depth);
  out[0] = zx * scale;
  out[1] = -zy * scale;
  out[2] = depth * scale;
}

// Central difference along an axis, one-sided where one neighbour misses, 0 where both do.
__device__ __forceinline__ float masked_difference(float before, float own, float after, bool has_before, bool has_after) {
  const float total = (has_before ? own - before : 0.f) + (has_after ? after - own : 0.f);
  return has_before && has_after ? 0.5f * total : total;
}

// Colours of the maps' pixels: `channels` bytes each, of a picture like the maps, or of the whole canvas.
struct Colours {
  const unsigned char *front, *back;
  int height, width, channels, of_canvas;
};

// First byte of the colour of pixel (y, x) of maps that lie at (shift_x, shift_y) on the canvas.
__device__ __forceinline__ const unsigned char* colour_at(const Colours& colours, bool back, int person, int y, int x, int shift_y,
                                                          int shift_x) {
  const long long row = (long long)person * colours.height + y + (colours.of_canvas ? shift_y : 0);
  const long long pixel = row * colours.width + x + (colours.of_canvas ? shift_x : 0);
  return (back ? colours.back : colours.front) + pixel * colours.channels;
}

// Unit vector; (0, 0, 1) where there is none.
__device__ __forceinline__ void to_unit(float (&v)[3]) {
  const float length = __fsqrt_rn(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
  const bool clear = length > 1e-6f;
  v[0] = clear ? v[0] / length : 0.f;
  v[1] = clear ? v[1] / length : 0.f;
  v[2] = clear ? v[2] / length : 1.f;
}
