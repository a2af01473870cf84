// From the networks' two depth maps to a mask and depths that can be meshed; twin: h2k_rt.surface.clean.
//
// The maps are a window of the canvas that holds the person with room around; only where it ends with the canvas may the person
// touch its border. Masks are bytes, 0 or 1. Pieces, holes, dilations, distances and the pyramid are other sources' kernels
// (see launch/clean_depth.py); here is what lies between them.
//
//   clean_person    the person's mask, from the canvas
//   clean_raw       where front and back make sense
//   clean_logic     masks out of masks, counted
//   clean_decide    whether the depth missed a part of the person, and what is known of it
//   clean_complete  depth for what was missed
//   clean_majority  the outline without spikes and notches
//   clean_mask      the final mask, and what it has that the depth lacks
//   clean_fill      depth for that
//   clean_pull_in   depth along the silhouette that stands out of the surface
//   clean_finish    depth along the silhouette smoothed, front and back rounded together and held apart

#include "bits.cuh"
#include "guard.cuh"
#include "push_pull.cuh"

// What a person's numbers are, (B, COUNTERS).
enum Counter { MISSED, KNOWN, KEPT, COMPLETE, SMOOTH, NEW, FILLED, TOTAL, COUNTERS };

#define MAX_TAPS 16

struct Rules {
  float nearest;            // depths (nu) up to this are in front of the nearest point that counts
  float thickness;          // least distance of front and back, nu
  float stand_out;          // how far (nu) depth near the silhouette may stand out of the surface inside
  float limb_radius;        // px: thickness of what is filled in
  float rim_width;          // px: how far inside depth is smoothed
  float rim_radius;         // px: of the round edge
  float nu_per_px;          // depth that is as long as a pixel of the map is wide
  int rim;                  // px, whole: band that is pulled in
  int blur;                 // radius in px of the Gaussian
  float taps[MAX_TAPS];     // of the Gaussian, from its middle
};

struct Maps {
  int height, width;
};

#define PIXEL_AND_PERSON                                                                                    \
  const int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 8 + threadIdx.y, person = blockIdx.z;       \
  const long long pixels = (long long)maps.height * maps.width, base = person * pixels;                    \
  const long long at = base + (long long)y * maps.width + x

// Adds one for every thread of the block that says so.
__device__ __forceinline__ void count(int* counter, bool set) {
  const unsigned votes = __ballot_sync(FULL_WARP, set);
  if (threadIdx.x == 0 && votes) atomicAdd(counter, __popc(votes));
}

// All kernels: block (32, 8), one pixel per thread; grid (W / 32, H / 8, persons).

//   canvas (B, N, N, 4): A is the mask;   origin (B, 2): x, y of the maps on it;   person_mask (B, H, W): written
extern "C" __global__ void __launch_bounds__(256)
    clean_person(const uchar4* __restrict__ canvas, const int* __restrict__ origin, unsigned char* __restrict__ person_mask,
                 int* __restrict__ counters, int size, const Maps maps) {
  PIXEL_AND_PERSON;
  if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.y == 0 && threadIdx.x < COUNTERS) counters[person * COUNTERS + threadIdx.x] = 0;
  if (x >= maps.width || y >= maps.height) return;
  const int canvas_x = (origin ? origin[2 * person] : 0) + x, canvas_y = (origin ? origin[2 * person + 1] : 0) + y;
  const bool inside = canvas_x >= 0 && canvas_x < size && canvas_y >= 0 && canvas_y < size;
  person_mask[at] = inside && canvas[(long long)person * size * size + (long long)canvas_y * size + canvas_x].w >= 128;
}

__device__ __forceinline__ bool is_finite(float v) { return fabsf(v) <= 3.402823466e38f; }

//   depth (B, 2, H, W);   gate (B, H, W): where depth may be;   raw: written, may be `gate`
extern "C" __global__ void __launch_bounds__(256)
    clean_raw(const float* __restrict__ depth, const unsigned char* gate, unsigned char* raw, const Maps maps, const Rules rules) {
  PIXEL_AND_PERSON;
  if (x >= maps.width || y >= maps.height) return;
  const float front = depth[at + base], back = depth[at + base + pixels];
  raw[at] = gate[at] && front <= back && front > 0.f && front > rules.nearest && is_finite(front) && is_finite(back);
}

// out = bit (a + 2 b + 4 c) of `table`; the set pixels are added to number `counter`, unless that is negative.
extern "C" __global__ void __launch_bounds__(256)
    clean_logic(const unsigned char* a, const unsigned char* b, const unsigned char* c, unsigned char* out, int table,
                int* __restrict__ counters, int counter, const Maps maps) {
  PIXEL_AND_PERSON;
  bool set = false;
  if (x < maps.width && y < maps.height) {
    const int key = (a && a[at] ? 1 : 0) | (b && b[at] ? 2 : 0) | (c && c[at] ? 4 : 0);
    set = table >> key & 1;
    out[at] = set;
  }
  if (counter >= 0) count(counters + person * COUNTERS + counter, set);
}

// More missed than seen: then the person's mask is no better than the networks.
//   known (B, H, W): what the depth has, written with what it missed;   kept: what of it is sure, written
extern "C" __global__ void __launch_bounds__(256)
    clean_decide(unsigned char* __restrict__ known, const unsigned char* __restrict__ missed, unsigned char* __restrict__ kept,
                 int* __restrict__ counters, const Maps maps) {
  PIXEL_AND_PERSON;
  int* numbers = counters + person * COUNTERS;
  const int lacking = numbers[MISSED];
  const bool complete = lacking > 0 && lacking <= numbers[KNOWN];
  if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0 && threadIdx.y == 0) numbers[COMPLETE] = complete;
  if (x >= maps.width || y >= maps.height || !complete) return;
  if (numbers[KEPT] == 0) kept[at] = known[at];
  known[at] = known[at] || missed[at];
}

__device__ __forceinline__ float half_thickness(float e, float radius, const Rules& rules) {
  return sqrtf(e * (2.f * radius - e)) * rules.nu_per_px;
}

//   depth (B, 2, H, W): of the networks;   pyramid: of `kept`, level 1 first;   distance (B, H, W): inside of `known`
//   mended (B, 2, H, W): written
extern "C" __global__ void __launch_bounds__(256)
    clean_complete(const float* __restrict__ depth, const unsigned char* __restrict__ known, const unsigned char* __restrict__ kept,
                   const float* __restrict__ distance, const float4* __restrict__ pyramid, long long pyramid_stride,
                   float* __restrict__ mended, const int* __restrict__ counters, const Maps maps, const Rules rules) {
  PIXEL_AND_PERSON;
  if (x >= maps.width || y >= maps.height) return;
  float front = depth[at + base], back = depth[at + base + pixels];
  if (counters[person * COUNTERS + COMPLETE] && known[at] && !kept[at]) {
    const float2 both = pushed(pyramid + person * pyramid_stride, (maps.height + 1) / 2, (maps.width + 1) / 2, y, x);
    const float most = half_thickness(fminf(distance[at], rules.limb_radius), rules.limb_radius, rules);
    const float lack = fmaxf((both.y - both.x) * 0.5f - most, 0.f);
    front = both.x + lack;
    back = both.y - lack;
  }
  mended[at + base] = front;
  mended[at + base + pixels] = back;
}

// Whether most of the (2 radius + 1)^2 pixels around each are set; the border's pixels go on outside.
//   bits (B, H, words);   out (B, H, W): written
extern "C" __global__ void __launch_bounds__(256)
    clean_majority(const unsigned* __restrict__ bits, unsigned char* __restrict__ out, int radius, const Maps maps) {
  PIXEL_AND_PERSON;
  if (x >= maps.width || y >= maps.height) return;
  const int words = (maps.width + 31) / 32, side = 2 * radius + 1;
  const unsigned* mine = bits + person * (long long)maps.height * words;
  int set = 0;
  for (int dy = -radius; dy <= radius; ++dy) {
    const unsigned* row = mine + (long long)min(max(y + dy, 0), maps.height - 1) * words;
    for (int dx = -radius; dx <= radius; ++dx) {
      const int column = min(max(x + dx, 0), maps.width - 1);
      set += __ldg(row + (column >> 5)) >> (column & 31) & 1;
    }
  }
  out[at] = 2 * set > side * side;
}

//   smooth (B, H, W): the mask without spikes and small pieces; if nothing is left of it, `known` stands for it; written
//   fresh (B, H, W): what the mask has and `known` lacks, written
extern "C" __global__ void __launch_bounds__(256)
    clean_mask(const unsigned char* __restrict__ known, unsigned char* __restrict__ smooth, unsigned char* __restrict__ fresh,
               int* __restrict__ counters, const Maps maps) {
  PIXEL_AND_PERSON;
  int* numbers = counters + person * COUNTERS;
  bool lacking = false;
  if (x < maps.width && y < maps.height) {
    const bool set = numbers[SMOOTH] ? smooth[at] : known[at];
    smooth[at] = set;
    lacking = set && !known[at];
    fresh[at] = lacking;
  }
  count(numbers + NEW, lacking);
}

//   mended (B, 2, H, W): filled where `fresh`, and 0 outside the mask
extern "C" __global__ void __launch_bounds__(256)
    clean_fill(float* __restrict__ mended, const unsigned char* __restrict__ mask, const unsigned char* __restrict__ fresh,
               const float4* __restrict__ pyramid, long long pyramid_stride, const Maps maps) {
  PIXEL_AND_PERSON;
  if (x >= maps.width || y >= maps.height) return;
  float *front = mended + at + base, *back = front + pixels;
  if (!mask[at]) {
    *front = *back = 0.f;
  } else if (fresh[at]) {
    const float2 both = pushed(pyramid + person * pyramid_stride, (maps.height + 1) / 2, (maps.width + 1) / 2, y, x);
    *front = both.x;
    *back = both.y;
  }
}

// In a band along the silhouette depth may not stand out of the mean of the surface just inside.
//   inner (B, H, W): the mask less the band
extern "C" __global__ void __launch_bounds__(256, 4)
    clean_pull_in(float* __restrict__ mended, const unsigned char* __restrict__ mask, const unsigned char* __restrict__ inner,
                  const Maps maps, const Rules rules) {
  PIXEL_AND_PERSON;
  if (x >= maps.width || y >= maps.height || !mask[at]) return;
  // The maps' border counts as silhouette.
  const auto is_inner = [&](int row, int column) {
    return row >= rules.rim && row < maps.height - rules.rim && column >= rules.rim && column < maps.width - rules.rim &&
           inner[base + (long long)row * maps.width + column];
  };
  if (is_inner(y, x)) return;
  const float *front = mended + 2 * base, *back = front + pixels;
  float sum_front = 0.f, sum_back = 0.f;
  int weight = 0;
  const int reach = 2 * rules.rim;
  for (int row = max(y - reach, 0); row <= min(y + reach, maps.height - 1); ++row) {
    float row_front = 0.f, row_back = 0.f;
    for (int column = max(x - reach, 0); column <= min(x + reach, maps.width - 1); ++column)
      if (is_inner(row, column)) {
        const long long there = (long long)row * maps.width + column;
        row_front += front[there];
        row_back += back[there];
        ++weight;
      }
    sum_front += row_front;
    sum_back += row_back;
  }
  if (!weight) return;  // a limb thinner than the band: nothing is inside
  const float mean_front = sum_front / (float)weight, mean_back = sum_back / (float)weight;
  float *own_front = mended + at + base, *own_back = own_front + pixels;
  // Band pixels are read by nobody else.
  *own_front = mean_front - fminf(mean_front - *own_front, rules.stand_out);
  *own_back = mean_back + fminf(*own_back - mean_back, rules.stand_out);
}

//   distance (B, H, W): inside of the mask, half a pixel less
//   depth (B, 2, H, W): written, 0 outside the mask;   raw: what the networks had
extern "C" __global__ void __launch_bounds__(256, 4)
    clean_finish(const float* __restrict__ mended, const unsigned char* __restrict__ mask, const unsigned char* __restrict__ raw,
                 const float* __restrict__ distance, float* __restrict__ depth, int* __restrict__ counters, const Maps maps,
                 const Rules rules) {
  __shared__ float taps[MAX_TAPS];
  PIXEL_AND_PERSON;
  if (threadIdx.y == 0 && threadIdx.x == 0) {
#pragma unroll
    for (int i = 0; i < MAX_TAPS; ++i) taps[i] = rules.taps[i];
  }
  __syncthreads();
  bool inside = false, was_raw = false;
  if (x < maps.width && y < maps.height) {
    inside = mask[at];
    was_raw = raw[at];
    const float* from = mended + 2 * base;
    float front = mended[at + base], back = mended[at + base + pixels];
    if (inside) {
      const float e = distance[at];
      if (e < rules.rim_width) {
        float sum_front = 0.f, sum_back = 0.f, weight = 0.f;
        for (int dy = -rules.blur; dy <= rules.blur; ++dy) {
          const int row = y + dy;
          if (row < 0 || row >= maps.height) continue;
          for (int dx = -rules.blur; dx <= rules.blur; ++dx) {
            const int column = x + dx;
            if (column < 0 || column >= maps.width) continue;
            const long long there = (long long)row * maps.width + column;
            if (!mask[base + there]) continue;
            const float tap = taps[abs(dy)] * taps[abs(dx)];
            sum_front += tap * from[there];
            sum_back += tap * from[there + pixels];
            weight += tap;
          }
        }
        const float share = 1.f - e / rules.rim_width;
        front += share * (sum_front / weight - front);
        back += share * (sum_back / weight - back);
      }
      if (e > 0.f && e < rules.rim_radius) {
        const float lack = fmaxf((back - front) * 0.5f - half_thickness(e, rules.rim_radius, rules), 0.f);
        front += lack;
        back -= lack;
      }
      const float apart = fmaxf(rules.thickness - (back - front), 0.f) * 0.5f;
      front -= apart;
      back += apart;
    }
    depth[at + base] = inside ? front : 0.f;
    depth[at + base + pixels] = inside ? back : 0.f;
  }
  count(counters + person * COUNTERS + FILLED, inside && !was_raw);
  count(counters + person * COUNTERS + TOTAL, inside);
}
