// Cleaning of masks: pieces too small to count, enclosed holes, dilation and erosion.
// Twins: h2k_rt.surface.clean (drop_small_pieces, fill_small_holes) and OpenCV's dilate and erode with a 3 x 3 square.

#include "bits.cuh"

// Area of a component that touches the border of the mask: no hole.
#define OPEN_AREA 0x80000000u

// Bytes to bits, and each run of bits a component of its own.
// Block 256, a warp makes one word; grid (words / 8, persons).
//   mask (B, H, W): 0 or not;   bits (B, H, words);   parent, area (B, H, W), or null;   largest (B)
extern "C" __global__ void __launch_bounds__(256)
    mask_to_bits(const unsigned char* __restrict__ mask, unsigned* __restrict__ bits, int* __restrict__ parent,
                 unsigned* __restrict__ area, unsigned* __restrict__ largest, int height, int width, int invert) {
  const int words = (width + 31) / 32, lane = threadIdx.x % 32;
  const long long index = (long long)blockIdx.x * 8 + threadIdx.x / 32, pixels = (long long)height * width;
  if (largest && blockIdx.x == 0 && threadIdx.x == 0) largest[blockIdx.y] = 0;
  if (index >= (long long)height * words) return;
  const int y = (int)(index / words), x = (int)(index % words) * 32 + lane;
  const long long at = blockIdx.y * pixels + (long long)y * width + x;
  const bool set = x < width && (mask[at] != 0) != (invert != 0);
  const unsigned word = __ballot_sync(FULL_WARP, set);
  if (lane == 0) bits[blockIdx.y * ((long long)height * words) + index] = word;
  if (parent && run_starts(word) >> lane & 1) {
    parent[at] = y * width + x;
    area[at] = 0;
  }
}

// Block 256, one word per thread; grid (words / 256, persons).
extern "C" __global__ void __launch_bounds__(256)
    mask_unite(const unsigned* __restrict__ bits, int* __restrict__ parent, int height, int width, int diagonal) {
  const int words = (width + 31) / 32;
  const long long index = (long long)blockIdx.x * blockDim.x + threadIdx.x, total = (long long)height * words;
  if (index >= total) return;
  const BitMask mask = bit_mask(bits + blockIdx.y * total, height, width);
  unite_word(mask, (int)(index / words), (int)(index % words), diagonal, parent + blockIdx.y * ((long long)height * width));
}

// Block 256, one word per thread; grid (words / 256, persons). `holes`: components at the border get OPEN_AREA.
extern "C" __global__ void __launch_bounds__(256)
    mask_count(const unsigned* __restrict__ bits, int* __restrict__ parent, unsigned* __restrict__ area, unsigned* __restrict__ largest,
               int height, int width, int holes) {
  const int words = (width + 31) / 32;
  const long long index = (long long)blockIdx.x * blockDim.x + threadIdx.x, total = (long long)height * words;
  const long long pixels = (long long)height * width;
  parent += blockIdx.y * pixels;
  area += blockIdx.y * pixels;
  const int y = (int)(index / words), k = (int)(index % words);
  const unsigned word = index < total ? bits[blockIdx.y * total + index] : 0u;
  const int base = y * width + 32 * k;
  count_word(word, base, parent, area, largest + blockIdx.y);
  if (!holes || index >= total) return;
  unsigned at_border = y == 0 || y == height - 1 ? word : 0u;
  if (k == 0) at_border |= word & 1u;
  if (k == words - 1) at_border |= word & 1u << (width - 1) % 32;
  for (; at_border; at_border &= at_border - 1)
    atomicOr(area + find_root(parent, base + run_start(word, __ffs((int)at_border) - 1)), OPEN_AREA);
}

// Block 256, a warp writes one word's pixels; grid (words / 8, persons).
//   holes = 0: out = components of `bits` with at least `share` of the largest one's area
//   holes = 1: out = not `bits`, and components of `bits` with at most `max_hole` pixels
extern "C" __global__ void __launch_bounds__(256)
    mask_keep(const unsigned* __restrict__ bits, const int* __restrict__ parent, const unsigned* __restrict__ area,
              const unsigned* __restrict__ largest, unsigned char* __restrict__ out, int height, int width, double share, int holes,
              unsigned max_hole) {
  __shared__ unsigned least;
  if (threadIdx.x == 0) least = holes ? 0 : least_area(largest[blockIdx.y], share);
  __syncthreads();
  const int words = (width + 31) / 32, lane = threadIdx.x % 32;
  const long long index = (long long)blockIdx.x * 8 + threadIdx.x / 32, pixels = (long long)height * width;
  if (index >= (long long)height * words) return;
  const int y = (int)(index / words), x = (int)(index % words) * 32 + lane;
  if (x >= width) return;
  const unsigned word = bits[blockIdx.y * ((long long)height * words) + index];
  const long long at = blockIdx.y * pixels + (long long)y * width;
  bool set = word >> lane & 1;
  if (set) {
    const unsigned size = area[blockIdx.y * pixels + parent[at + x - lane + run_start(word, lane)]];
    set = holes ? size <= max_hole : size >= least;
  } else {
    set = holes;
  }
  out[at + x] = set;
}

// -------------------------------------------------------------------------------------------------- dilation and erosion

// Dilation by `radius` along the rows; erosion is the dilation of the rest, so what is outside does not erode.
// Block 256, one word per thread; grid (words / 256, persons).
extern "C" __global__ void __launch_bounds__(256)
    mask_spread_rows(const unsigned* __restrict__ bits, unsigned* __restrict__ spread, int height, int width, int radius) {
  const int words = (width + 31) / 32;
  const long long index = (long long)blockIdx.x * blockDim.x + threadIdx.x, total = (long long)height * words;
  if (index >= total) return;
  const BitMask mask = bit_mask(bits + blockIdx.y * total, height, width);
  const int y = (int)(index / words), k = (int)(index % words);
  unsigned result = 0;
  // Each word reaches 31 pixels into the next; wider radii take words from farther away.
  for (int offset = 0; offset <= radius; ++offset) {
    const int whole = offset / 32, rest = offset % 32;
    const unsigned left = mask.word(y, k - whole), right = mask.word(y, k + whole);
    result |= rest ? left << rest | mask.word(y, k - whole - 1) >> (32 - rest) : left;
    result |= rest ? right >> rest | mask.word(y, k + whole + 1) << (32 - rest) : right;
  }
  spread[blockIdx.y * total + index] = result;
}

// Dilation by `radius` along the columns, back to bytes; `invert` for an erosion.
// Block 256, a warp writes one word's pixels; grid (words / 8, persons).
extern "C" __global__ void __launch_bounds__(256)
    mask_spread_columns(const unsigned* __restrict__ spread, unsigned char* __restrict__ out, int height, int width, int radius,
                        int invert) {
  const int words = (width + 31) / 32, lane = threadIdx.x % 32;
  const long long index = (long long)blockIdx.x * 8 + threadIdx.x / 32, total = (long long)height * words;
  if (index >= total) return;
  const BitMask mask = bit_mask(spread + blockIdx.y * total, height, width);
  const int y = (int)(index / words), k = (int)(index % words);
  unsigned word = 0;
  for (int row = y - radius + lane; row <= y + radius; row += 32) word |= mask.word(row, k);
  for (int offset = 16; offset; offset /= 2) word |= __shfl_xor_sync(FULL_WARP, word, offset);
  const int x = 32 * k + lane;
  if (x < width) out[(blockIdx.y * (long long)height + y) * width + x] = (word >> lane & 1) != (unsigned)(invert != 0);
}
