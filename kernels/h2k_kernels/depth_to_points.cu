// Point clouds of two depth maps, with the published mask clean-up and seam shells; twin: h2k_rt.surface.points.
//
//   points_steps   depth in steps of the 16-bit pictures, and the front's mask
//   points_erode   the back without a band along the front's silhouette
//   points_select  which pixels have a point in each layer
//   points_places  points before each 32-pixel word
//   points_write   positions, normals and colours, layer by layer, row by row

#include "lift.cuh"
#include "scan.cuh"

#define SEAMS 7
#define LAYERS (2 + SEAMS)  // front, back, and the shells in the published order
#define REACH 4             // pixels by which the front's mask is eroded at most

struct Rules {
  int published;          // depth rounded to steps, front <= back, the back kept away from the silhouette
  int seams;
  int wrap;               // steps beyond 16 bits wrap around instead of being clipped
  int erosion;            // the back's distance from the silhouette, less than REACH
  float nu_px, px_steps;  // pixels in one nu, steps in one pixel
  float nearest;          // points nearer than this are dropped
};

struct Maps {
  int height, width, words, blocks, select_blocks;
};

struct Scratch {
  float* steps;                     // (B, 2, H, W)
  unsigned *front, *back, *inner;   // (B, H, words) bits: the front, what is left of the back, the front eroded by REACH
  unsigned* bits;                   // (B, LAYERS, H, words)
  unsigned* before;                 // (B, LAYERS, H, words)
  unsigned* totals;                 // (B, LAYERS, blocks)
  double* moments;                  // (B, SEAMS, blocks of points_select, 2): sums of x and y in the lift frame
  float* middles;                   // (B, SEAMS, 2): means of x and y
  unsigned* state;                  // (B, 1 + LAYERS): blocks done, sums
};

__device__ __forceinline__ Scratch of_person(Scratch scratch, const Maps& maps, int person) {
  const long long words = (long long)maps.height * maps.words;
  scratch.steps += 2LL * person * maps.height * maps.width;
  scratch.front += person * words;
  scratch.back += person * words;
  scratch.inner += person * words;
  scratch.bits += person * words * LAYERS;
  scratch.before += person * words * LAYERS;
  scratch.totals += (long long)person * LAYERS * maps.blocks;
  scratch.moments += 2LL * person * SEAMS * maps.select_blocks;
  scratch.middles += 2 * person * SEAMS;
  scratch.state += person * (1 + LAYERS);
  return scratch;
}

// The word of a warp, and the lane's pixel.
struct Place {
  long long word;
  int y, k, x;
  bool inside;
};

__device__ __forceinline__ Place place_of_warp(const Maps& maps) {
  Place p;
  p.word = (long long)blockIdx.x * 8 + threadIdx.x / 32;
  p.y = (int)(p.word / maps.words);
  p.k = (int)(p.word % maps.words);
  p.x = 32 * p.k + threadIdx.x % 32;
  p.inside = p.y < maps.height && p.x < maps.width;
  return p;
}

__device__ __forceinline__ float to_steps(const Rules& rules, float nu) {
  const float steps = __fmul_rn(__fmul_rn(nu, rules.nu_px), rules.px_steps);
  if (!rules.published) return steps;
  if (rules.wrap) return (float)(__float2ll_rz(steps) & 0xffff);
  return truncf(fminf(fmaxf(steps, 0.f), 65535.f));
}

// Block 256, a warp makes one word; grid (words / 8, persons).   depth (B, 2, H, W) in nu, 0 outside the person
extern "C" __global__ void __launch_bounds__(256)
    points_steps(const float* __restrict__ depth, const Rules rules, const Maps maps, Scratch scratch) {
  scratch = of_person(scratch, maps, blockIdx.y);
  if (blockIdx.x == 0 && threadIdx.x == 0) scratch.state[0] = 0;
  const Place p = place_of_warp(maps);
  const long long pixels = (long long)maps.height * maps.width, at = (long long)p.y * maps.width + p.x;
  float front = 0.f, back = 0.f;
  if (p.inside) {
    front = depth[2 * blockIdx.y * pixels + at];
    back = depth[(2 * blockIdx.y + 1) * pixels + at];
    const bool keep = !rules.published || front <= back;
    front = keep ? to_steps(rules, front) : 0.f;
    back = keep ? to_steps(rules, back) : 0.f;
    scratch.steps[at] = front;
    scratch.steps[pixels + at] = back;
  }
  const unsigned word = __ballot_sync(FULL_WARP, front > 0.f);
  if (p.y < maps.height && threadIdx.x % 32 == 0) scratch.front[p.word] = word;
}

__device__ __forceinline__ unsigned warp_or(unsigned v) {
  for (int offset = 16; offset; offset /= 2) v |= __shfl_xor_sync(FULL_WARP, v, offset);
  return v;
}

// Pixels at most `radius` < 32 columns from a bit of row y.
__device__ __forceinline__ unsigned spread(BitMask mask, int y, int k, int radius) {
  const unsigned own = mask.word(y, k), before = mask.word(y, k - 1), after = mask.word(y, k + 1);
  unsigned result = own;
  for (int i = 1; i <= radius; ++i) result |= own << i | before >> (32 - i) | own >> i | after << (32 - i);
  return result;
}

// The same for what is not in the mask; outside of the picture there is nothing.
__device__ __forceinline__ unsigned spread_rest(BitMask mask, int y, int k, int radius) {
  if (y < 0 || y >= mask.height) return 0u;
  const auto rest = [&](int word) {
    const int columns = min(mask.width - 32 * word, 32);
    return word < 0 || columns <= 0 ? 0u : ~mask.word(y, word) & (columns < 32 ? bits_below(columns) : FULL_WARP);
  };
  const unsigned own = rest(k), before = rest(k - 1), after = rest(k + 1);
  unsigned result = own;
  for (int i = 1; i <= radius; ++i) result |= own << i | before >> (32 - i) | own >> i | after << (32 - i);
  return result;
}

// Block 256, a warp makes one word; grid (words / 8, persons).
extern "C" __global__ void __launch_bounds__(256) points_erode(const Rules rules, const Maps maps, Scratch scratch) {
  scratch = of_person(scratch, maps, blockIdx.y);
  const Place p = place_of_warp(maps);
  if (p.y >= maps.height) return;
  const BitMask front = bit_mask(scratch.front, maps.height, maps.width);
  const int lane = threadIdx.x % 32, row = lane - REACH;  // each lane looks at one row
  unsigned lost = 0, lost_inner = 0;
  if (rules.published && row <= REACH) {
    lost = abs(row) <= rules.erosion ? spread_rest(front, p.y + row, p.k, rules.erosion) : 0u;
    lost_inner = abs(row) <= rules.erosion + 1 ? spread_rest(front, p.y + row, p.k, rules.erosion + 1) : 0u;
  }
  lost = warp_or(lost);
  lost_inner = warp_or(lost_inner);
  float* back = scratch.steps + (long long)maps.height * maps.width + (long long)p.y * maps.width + p.x;
  const bool gone = lost >> lane & 1;
  const bool set = p.inside && !gone && *back > 0.f;
  if (p.inside && gone) *back = 0.f;
  const unsigned word = __ballot_sync(FULL_WARP, set);
  if (lane == 0) {
    scratch.back[p.word] = word;
    scratch.inner[p.word] = front.word(p.y, p.k) & ~lost_inner;
  }
}

// ----------------------------------------------------------------------------------------------------------------- layers

// Seam shell s lies on ring `ring` around the back's mask (0: its own rim), between front and back.
struct Seam {
  int ring;
  float front, back;
};

__device__ __forceinline__ Seam seam_of(int s) {
  const int i = s < 3 ? s : s - 3;  // c10, c20, c30; then c05, c15, c25, c35
  Seam seam;
  seam.ring = s < 3 ? i + 1 : i;
  seam.front = (s < 3 ? 5.f : 6.5f) - 2.f * (float)i;
  seam.back = (s < 3 ? 1.f : 0.5f) + (float)i;
  return seam;
}

// Depth of a shell: front, and the largest of the back around the pixel, mixed.
__device__ __forceinline__ float seam_steps(const Maps& maps, const Scratch& scratch, const Seam& seam, int y, int x) {
  const float* back = scratch.steps + (long long)maps.height * maps.width;
  float grown = 0.f;
  for (int row = max(y - seam.ring, 0); row <= min(y + seam.ring, maps.height - 1); ++row)
    for (int column = max(x - seam.ring, 0); column <= min(x + seam.ring, maps.width - 1); ++column)
      grown = fmaxf(grown, back[(long long)row * maps.width + column]);
  const float near = scratch.steps[(long long)y * maps.width + x];
  return __fadd_rn(__fmul_rn(seam.front, near), __fmul_rn(seam.back, grown)) / (seam.front + seam.back);
}

__device__ __forceinline__ float distance_of_steps(const Rules& rules, Camera camera, float steps) {
  return distance_of(camera, steps / (rules.nu_px * rules.px_steps));
}

// Block 256, a warp makes one word of every layer; grid (words / 8, persons).
//   tangents (N);   origin (B, 2) x, y of the maps on the canvas, or null
extern "C" __global__ void __launch_bounds__(256)
    points_select(const float* __restrict__ tangents, const int* __restrict__ origin, const Camera camera, const Rules rules,
                  const Maps maps, Scratch scratch) {
  __shared__ double moments[8][2];
  scratch = of_person(scratch, maps, blockIdx.y);
  const Place p = place_of_warp(maps);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const long long words = (long long)maps.height * maps.words, pixels = (long long)maps.height * maps.width;
  const int shift_x = origin ? origin[2 * blockIdx.y] : 0, shift_y = origin ? origin[2 * blockIdx.y + 1] : 0;
  const float tan_x = p.inside ? tangents[shift_x + p.x] : 0.f, tan_y = p.inside ? tangents[shift_y + p.y] : 0.f;
  const float length = ray_length(tan_x, tan_y);
  const auto lifted = [&](float steps) { return distance_of_steps(rules, camera, steps) / length; };
  for (int side = 0; side < 2; ++side) {
    const float steps = p.inside ? scratch.steps[side * pixels + (long long)p.y * maps.width + p.x] : 0.f;
    const unsigned word = __ballot_sync(FULL_WARP, steps > 0.f && lifted(steps) > rules.nearest);
    if (p.y < maps.height && lane == 0) scratch.bits[side * words + p.word] = word;
  }
  // Without seams the layers' words are 0, and points_places finds nothing in them.
  unsigned rings[4] = {0, 0, 0, 0};
  if (rules.seams) {
    const BitMask back = bit_mask(scratch.back, maps.height, maps.width);
    const int row = lane - 3;
    unsigned grown = back.word(p.y, p.k);
    rings[0] = grown & ~(p.y < maps.height ? scratch.inner[p.word] : 0u);
#pragma unroll
    for (int ring = 1; ring <= 3; ++ring) {
      const unsigned wider = warp_or(abs(row) <= ring && p.y < maps.height ? spread(back, p.y + row, p.k, ring) : 0u);
      rings[ring] = wider & ~grown;
      grown = wider;
    }
  }
#pragma unroll
  for (int s = 0; s < SEAMS; ++s) {
    const Seam seam = seam_of(s);
    double x = 0., y = 0.;
    bool set = p.inside && rings[seam.ring] >> lane & 1;
    if (set) {
      const float steps = seam_steps(maps, scratch, seam, p.y, p.x), z = lifted(steps);
      set = steps > 0.f && z > rules.nearest;
      x = set ? z * tan_x : 0.f;
      y = set ? z * tan_y : 0.f;
    }
    const unsigned word = __ballot_sync(FULL_WARP, set);
    if (p.y < maps.height && lane == 0) scratch.bits[(2 + s) * words + p.word] = word;
    if (!rules.seams) continue;
    for (int offset = 16; offset; offset /= 2) {
      x += __shfl_down_sync(FULL_WARP, x, offset);
      y += __shfl_down_sync(FULL_WARP, y, offset);
    }
    if (lane == 0) moments[warp][0] = x, moments[warp][1] = y;
    __syncthreads();
    if (threadIdx.x < 2) {
      double sum = 0.;
      for (int w = 0; w < 8; ++w) sum += moments[w][threadIdx.x];
      scratch.moments[2 * ((long long)s * maps.select_blocks + blockIdx.x) + threadIdx.x] = sum;
    }
    __syncthreads();
  }
}

// Sum of the moments of all blocks, always in the same order, in shared memory. One block; all threads must call it.
__device__ __forceinline__ void add_moments(const double* moments, int blocks, double (&sums)[SCAN_WARPS][2]) {
  double x = 0., y = 0.;
  for (int i = threadIdx.x; i < blocks; i += SCAN_BLOCK) {
    x += moments[2 * i];
    y += moments[2 * i + 1];
  }
  for (int offset = 16; offset; offset /= 2) {
    x += __shfl_down_sync(FULL_WARP, x, offset);
    y += __shfl_down_sync(FULL_WARP, y, offset);
  }
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32][0] = x, sums[threadIdx.x / 32][1] = y;
  __syncthreads();
}

// Block 256, one word per thread; grid (blocks of words, persons). Two blocks on a multiprocessor are enough: for sm_100
// the compiler would otherwise aim at more and spill.   counts (B, 1 + LAYERS): points in all, and in each layer
extern "C" __global__ void __launch_bounds__(SCAN_BLOCK, 2)
    points_places(const Rules rules, const Maps maps, Scratch scratch, long long* __restrict__ counts) {
  __shared__ unsigned sums[LAYERS];
  __shared__ double moments[SCAN_WARPS][2];
  scratch = of_person(scratch, maps, blockIdx.y);
  const long long words = (long long)maps.height * maps.words, index = (long long)blockIdx.x * SCAN_BLOCK + threadIdx.x;
  unsigned count[LAYERS], before[LAYERS], total[LAYERS];
#pragma unroll
  for (int i = 0; i < LAYERS; ++i) count[i] = index < words ? __popc(scratch.bits[i * words + index]) : 0;
  scan_block(count, before, total);
#pragma unroll
  for (int i = 0; i < LAYERS; ++i) {
    if (index < words) scratch.before[i * words + index] = before[i];
    if (threadIdx.x == 0) scratch.totals[(long long)i * maps.blocks + blockIdx.x] = total[i];
  }
  if (!is_last_block(scratch.state)) return;
  scan_totals(scratch.totals, maps.blocks, sums);
  if (threadIdx.x == 0) {
    long long all = 0;
    for (int i = 0; i < LAYERS; ++i) {
      counts[(1 + LAYERS) * (long long)blockIdx.y + 1 + i] = sums[i];
      scratch.state[1 + i] = sums[i];
      all += sums[i];
    }
    counts[(1 + LAYERS) * (long long)blockIdx.y] = all;
  }
  for (int s = 0; rules.seams && s < SEAMS; ++s) {
    add_moments(scratch.moments + 2LL * s * maps.select_blocks, maps.select_blocks, moments);
    if (threadIdx.x < 2) {
      double sum = 0.;
      for (int w = 0; w < SCAN_WARPS; ++w) sum += moments[w][threadIdx.x];
      scratch.middles[2 * s + threadIdx.x] = (float)(sum / max(sums[2 + s], 1u));
    }
    __syncthreads();
  }
}

// ----------------------------------------------------------------------------------------------------------------- points

struct Points {
  float* positions;        // (B, most, 3)
  float* normals;          // (B, most, 3)
  unsigned char* colours;  // (B, most, 3)
  long long most;
};

// Block 256, a warp writes the points of one word, layer after layer; grid (words / 8, persons).
extern "C" __global__ void __launch_bounds__(256)
    points_write(const float* __restrict__ tangents, const int* __restrict__ origin, const Colours colours, const Camera camera,
                 const Rules rules, const Maps maps, Scratch scratch, const long long* __restrict__ counts, Points out) {
  __shared__ float stages[8][96];
  const int person = blockIdx.y, lane = threadIdx.x % 32;
  scratch = of_person(scratch, maps, person);
  const Place p = place_of_warp(maps);
  if (p.y >= maps.height || counts[(1 + LAYERS) * (long long)person] > out.most) return;
  const long long words = (long long)maps.height * maps.words, pixels = (long long)maps.height * maps.width;
  const int shift_x = origin ? origin[2 * person] : 0, shift_y = origin ? origin[2 * person + 1] : 0;
  float* const stage = stages[threadIdx.x / 32];
  long long first = person * out.most;
  for (int layer = 0; layer < (rules.seams ? LAYERS : 2); ++layer) {
    const BitMask bits = bit_mask(scratch.bits + layer * words, maps.height, maps.width);
    const unsigned word = bits.word(p.y, p.k);
    if (word) {
      // Lanes without a point take the first one's place, so that nothing is read outside of the maps.
      const int x = word >> lane & 1 ? p.x : 32 * p.k + __ffs((int)word) - 1;
      const float tan_x = tangents[shift_x + x], tan_y = tangents[shift_y + p.y], length = ray_length(tan_x, tan_y);
      float position[3], normal[3];
      unsigned char colour[3] = {128, 128, 128};
      if (layer < 2) {
        const float* steps = scratch.steps + layer * pixels + (long long)p.y * maps.width + x;
        const float distance = distance_of_steps(rules, camera, *steps), z = distance / length;
        const bool has_left = bits.left_of(p.y, p.k) >> (x & 31) & 1, has_right = bits.right_of(p.y, p.k) >> (x & 31) & 1;
        const bool has_above = bits.word(p.y - 1, p.k) >> (x & 31) & 1, has_below = bits.word(p.y + 1, p.k) >> (x & 31) & 1;
        const auto beside = [&](bool there, int dy, int dx) {
          if (!there) return 0.f;
          const float other = distance_of_steps(rules, camera, steps[(long long)dy * maps.width + dx]);
          return other / ray_length(tangents[shift_x + x + dx], tangents[shift_y + p.y + dy]);
        };
        const float dx = masked_difference(beside(has_left, 0, -1), z, beside(has_right, 0, 1), has_left, has_right);
        const float dy = masked_difference(beside(has_above, -1, 0), z, beside(has_below, 1, 0), has_above, has_below);
        grid_normal(camera, z, dx, dy, tan_x, tan_y, layer ? -1.f : 1.f, normal);
        lift_to_scan(camera, distance, tan_x, tan_y, position);
        const unsigned char* c = colour_at(colours, layer, person, p.y, x, shift_y, shift_x);
#pragma unroll
        for (int i = 0; i < 3; ++i) colour[i] = c[i];
      } else {
        const float distance = distance_of_steps(rules, camera, seam_steps(maps, scratch, seam_of(layer - 2), p.y, x));
        const float z = distance / length;
        lift_to_scan(camera, distance, tan_x, tan_y, position);
        // Away from the middle of the layer in the picture plane.
        normal[0] = z * tan_x - scratch.middles[2 * (layer - 2)];
        normal[1] = -(z * tan_y - scratch.middles[2 * (layer - 2) + 1]);
        normal[2] = 0.f;
        to_unit(normal);
      }
      const long long at = first + scratch.before[layer * words + p.word] +
                           scratch.totals[(long long)layer * maps.blocks + p.word / SCAN_BLOCK];
      write_packed(out.positions + 3 * at, word, position, stage);
      write_packed(out.normals + 3 * at, word, normal, stage);
      write_packed(out.colours + 3 * at, word, colour, reinterpret_cast<unsigned char*>(stage));
    }
    first += scratch.state[1 + layer];
  }
}
