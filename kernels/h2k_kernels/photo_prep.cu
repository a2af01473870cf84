// From a photo's bytes to the networks' pictures; twins: h2k_rt.framing (placing) and h2k_rt.picture (colours).
//
//   photo_frame   places photo and mask on the canvas and adds up its lightness, which the contrast factor needs
//   photo_mean    the canvas's mean lightness
//   photo_colour  cuts the person out, applies the colour factors, and makes the low-resolution picture

#include "common.cuh"

// How one photo is placed. Positions are fixed-point numbers with 32 fractional bits, exact for photos of any size.
struct Frame {
  long long photo, mask;        // offsets of the first byte
  long long start_x, step_x;    // position of canvas column 0 in the (reduced) photo, and from column to column
  long long start_y, step_y;
  int height, width;            // of the photo
  int reduced_height, reduced_width;  // the photo is averaged down to this first; its own size where it is not
  int cubic;                    // 4 x 4 pixels instead of 2 x 2
  int mask_replicate;           // beyond the photo the mask is its border's value instead of 0
};

struct Colours {
  float factors[3];  // brightness, contrast, saturation
  int order[3];
  int hard_mask;     // every pixel whose mask is above 0 counts as the person
  int keep_alpha;    // the picture is laid over a background
};

// ------------------------------------------------------------------------------------------------------------------- placing

// The photo's pixels along one axis whose weighted mean makes a canvas pixel: two neighbours of the reduced photo, each the mean
// of `width` photo pixels, held at the border.
struct Span {
  int first, count;
  float phase, width;    // the first neighbour starts `phase` pixels after `first`
  float lower, upper;    // weights of the neighbours
  float inside;          // share of the weight that lies on the photo

  __device__ __forceinline__ float weight(int i) const {
    const float low = (float)i, high = (float)(i + 1);
    const float in_first = fmaxf(fminf(high, phase + width) - fmaxf(low, phase), 0.f);
    const float in_second = fmaxf(fminf(high, phase + 2.f * width) - fmaxf(low, phase + width), 0.f);
    return (lower * in_first + upper * in_second) / width;
  }
};

__device__ __forceinline__ float fraction_of(long long position) { return (float)(unsigned)position * (1.f / 4294967296.f); }

__device__ __forceinline__ Span span_at(long long position, int size, int reduced) {
  const long long whole = position >> 32;
  const float fraction = fraction_of(position);
  const bool has_lower = whole >= 0 && whole < reduced, has_upper = whole >= -1 && whole < reduced - 1;
  const bool one = !(has_lower && has_upper);
  const int neighbour = (int)(whole < 0 ? 0 : whole < reduced ? whole : reduced - 1);
  // Neighbour n covers the photo's pixels n * size / reduced to (n + 1) * size / reduced.
  const long long start = (long long)neighbour * size;
  Span span;
  span.first = (int)(start / reduced);
  span.phase = (float)(start - (long long)span.first * reduced) / (float)reduced;
  span.width = (float)size / (float)reduced;
  span.lower = one ? 1.f : 1.f - fraction;
  span.upper = one ? 0.f : fraction;
  span.inside = one ? (has_lower ? 1.f - fraction : 0.f) + (has_upper ? fraction : 0.f) : 1.f;
  span.count = min((int)ceilf(span.phase + (one ? 1.f : 2.f) * span.width), size - span.first);
  return span;
}

__device__ __forceinline__ float4 averaged(const unsigned char* photo, const unsigned char* mask, const Frame& frame, long long x,
                                           long long y) {
  const Span across = span_at(x, frame.width, frame.reduced_width), down = span_at(y, frame.height, frame.reduced_height);
  float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
  for (int j = 0; j < down.count; ++j) {
    const long long row = (long long)(down.first + j) * frame.width + across.first;
    const float row_weight = down.weight(j);
    for (int i = 0; i < across.count; ++i) {
      const float weight = row_weight * across.weight(i);
      const unsigned char* p = photo + 3 * (row + i);
      sum.x += weight * (float)__ldg(p);
      sum.y += weight * (float)__ldg(p + 1);
      sum.z += weight * (float)__ldg(p + 2);
      sum.w += weight * (float)__ldg(mask + row + i);
    }
  }
  if (!frame.mask_replicate) sum.w *= across.inside * down.inside;
  return sum;
}

// Weights of the four pixels around a position; OpenCV's cubic, a = -0.75.
__device__ __forceinline__ void cubic_weights(float t, float weights[4]) {
  const float a = -0.75f, s = t + 1.f, r = 1.f - t;
  weights[0] = ((a * s - 5.f * a) * s + 8.f * a) * s - 4.f * a;
  weights[1] = ((a + 2.f) * t - (a + 3.f)) * t * t + 1.f;
  weights[2] = ((a + 2.f) * r - (a + 3.f)) * r * r + 1.f;
  weights[3] = 1.f - weights[0] - weights[1] - weights[2];
}

__device__ __forceinline__ float4 cubic(const unsigned char* photo, const unsigned char* mask, const Frame& frame, long long x, long long y) {
  float across[4], down[4];
  cubic_weights(fraction_of(x), across);
  cubic_weights(fraction_of(y), down);
  const long long first_x = (x >> 32) - 1, first_y = (y >> 32) - 1;
  float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const long long row = min(max(first_y + j, 0LL), (long long)frame.height - 1);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const long long column = min(max(first_x + i, 0LL), (long long)frame.width - 1);
      const float weight = down[j] * across[i];
      const unsigned char* p = photo + 3 * (row * frame.width + column);
      sum.x += weight * (float)__ldg(p);
      sum.y += weight * (float)__ldg(p + 1);
      sum.z += weight * (float)__ldg(p + 2);
      if (frame.mask_replicate || (row == first_y + j && column == first_x + i))
        sum.w += weight * (float)__ldg(mask + row * frame.width + column);
    }
  }
  return sum;
}

__device__ __forceinline__ unsigned char to_byte(float v) { return (unsigned char)min(max(__float2int_rn(v), 0), 255); }

// ------------------------------------------------------------------------------------------------------------------- colours

__device__ __forceinline__ int lightness(const int rgb[3]) { return (rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16; }

// Pillow's blend of two bytes: truncated, and clipped for factors beyond 0 to 1.
__device__ __forceinline__ int blend(int base, int value, float factor) {
  const float mixed = __fadd_rn((float)base, __fmul_rn(factor, (float)(value - base)));
  return (int)fminf(fmaxf(mixed, 0.f), 255.f);
}

__device__ __forceinline__ int share_of(uchar4 pixel, const Colours& colours) {
  return colours.hard_mask ? (pixel.w ? 255 : 0) : pixel.w;
}

// The person on black: bytes times share, rounded.
__device__ __forceinline__ void cut_out(uchar4 pixel, const Colours& colours, int rgb[3]) {
  const int share = share_of(pixel, colours), bytes[3] = {pixel.x, pixel.y, pixel.z};
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const int product = bytes[c] * share + 128;
    rgb[c] = (product + (product >> 8)) >> 8;  // exact for all bytes
  }
}

// Applies the factors in their order; stops before the contrast factor where its mean is not known yet (negative).
__device__ __forceinline__ void apply_factors(const Colours& colours, int mean, int rgb[3]) {
  for (int i = 0; i < 3; ++i) {
    const int kind = colours.order[i];
    const float factor = kind == 0 ? colours.factors[0] : kind == 1 ? colours.factors[1] : colours.factors[2];
    if (kind == 1 && mean < 0) return;
    const int base = kind == 0 ? 0 : kind == 1 ? mean : lightness(rgb);
#pragma unroll
    for (int c = 0; c < 3; ++c) rgb[c] = blend(base, rgb[c], factor);
  }
}

// Block (32, 8), one pixel per thread; grid (N / 32, N / 8, persons).
//   photos, masks  bytes of all photos: (H, W, 3) and (H, W) each;   frames (B)
//   canvas  (B, N, N, 4): R, G, B and mask;   partial (B, blocks): sums of lightness
extern "C" __global__ void __launch_bounds__(256)
    photo_frame(const unsigned char* __restrict__ photos, const unsigned char* __restrict__ masks, const Frame* __restrict__ frames,
                uchar4* __restrict__ canvas, unsigned* __restrict__ partial, int size, const Colours colours) {
  __shared__ unsigned sums[8];
  const int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 8 + threadIdx.y, person = blockIdx.z;
  unsigned sum = 0;
  if (x < size && y < size) {
    const Frame& frame = frames[person];
    const unsigned char *photo = photos + frame.photo, *mask = masks + frame.mask;
    const long long u = frame.start_x + x * frame.step_x, v = frame.start_y + y * frame.step_y;
    const float4 value = frame.cubic ? cubic(photo, mask, frame, u, v) : averaged(photo, mask, frame, u, v);
    const uchar4 pixel = make_uchar4(to_byte(value.x), to_byte(value.y), to_byte(value.z), to_byte(value.w));
    canvas[((long long)person * size + y) * size + x] = pixel;
    int rgb[3];
    cut_out(pixel, colours, rgb);
    apply_factors(colours, -1, rgb);
    sum = lightness(rgb);
  }
  for (int offset = 16; offset; offset /= 2) sum += __shfl_down_sync(FULL_WARP, sum, offset);
  if (threadIdx.x == 0) sums[threadIdx.y] = sum;
  __syncthreads();
  if (threadIdx.x == 0 && threadIdx.y == 0) {
    for (int i = 1; i < 8; ++i) sum += sums[i];
    partial[((long long)person * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x] = sum;
  }
}

// Block 256; grid (persons).   mean (B): the canvas's mean lightness, rounded
extern "C" __global__ void __launch_bounds__(256)
    photo_mean(const unsigned* __restrict__ partial, int* __restrict__ mean, int blocks, long long pixels) {
  __shared__ unsigned long long sums[8];
  const unsigned* mine = partial + (long long)blockIdx.x * blocks;
  unsigned long long sum = 0;
  for (int i = threadIdx.x; i < blocks; i += blockDim.x) sum += mine[i];
  for (int offset = 16; offset; offset /= 2) sum += __shfl_down_sync(FULL_WARP, sum, offset);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int i = 1; i < 8; ++i) sum += sums[i];
    mean[blockIdx.x] = (int)((double)sum / (double)pixels + 0.5);
  }
}

__device__ __forceinline__ uchar4 coloured(uchar4 pixel, const Colours& colours, int mean) {
  int rgb[3];
  cut_out(pixel, colours, rgb);
  apply_factors(colours, mean, rgb);
  return make_uchar4(rgb[0], rgb[1], rgb[2], colours.keep_alpha ? share_of(pixel, colours) : 255);
}

// Block 256; grid (N * N / 256, persons).
//   canvas   (B, N, N, 4), of photo_frame;   mean (B)
//   picture  (B, N, N, 4): R, G, B and the share over the background, as warp_parts_u8 takes it
//   low      (B, 3, n, n), normalised to [-1, 1], mean of the four pixels around each cell's centre; N / n even
extern "C" __global__ void __launch_bounds__(256)
    photo_colour(const uchar4* __restrict__ canvas, const int* __restrict__ mean, uchar4* __restrict__ picture,
                 void* __restrict__ low, int low_is_half, int size, int low_size, float background, const Colours colours) {
  const long long pixels = (long long)size * size, low_pixels = (long long)low_size * low_size;
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  const int person = blockIdx.y, grey = mean[person];
  const uchar4* mine = canvas + person * pixels;
  if (i < pixels) picture[person * pixels + i] = coloured(mine[i], colours, grey);
  if (i >= low_pixels) return;
  const int factor = size / low_size;
  const long long x = i % low_size * factor + factor / 2 - 1, y = i / low_size * factor + factor / 2 - 1;
  float sums[3] = {0.f, 0.f, 0.f};
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const uchar4 v = coloured(mine[(y + k / 2) * size + x + k % 2], colours, grey);
    const float share = (float)v.w * (1.f / 255.f);
    const unsigned char bytes[3] = {v.x, v.y, v.z};
#pragma unroll
    for (int c = 0; c < 3; ++c) sums[c] += background + share * ((float)bytes[c] * (2.f / 255.f) - 1.f - background);
  }
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const long long at = (person * 3LL + c) * low_pixels + i;
    if (low_is_half) store(static_cast<half_t*>(low) + at, 0.25f * sums[c]);
    else store(static_cast<float*>(low) + at, 0.25f * sums[c]);
  }
}
