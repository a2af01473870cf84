// Copy a window of each plane of a picture; twin: copy_window.py.
//
// The window's place is read from device memory, so that a recorded graph can be replayed for another one.

template <class T>
__device__ __forceinline__ void copy(const T* __restrict__ source, T* __restrict__ target, const int* __restrict__ origin, int divisor,
                                     int channels, int source_height, int source_width, int height, int width) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y, person = blockIdx.z;
  if (x >= width || y >= height) return;
  // Held inside: a wrong origin reads wrong pixels, but no foreign memory.
  const int from_x = min(max(__ldg(origin + 2 * person) / divisor, 0), source_width - width) + x;
  const int from_y = min(max(__ldg(origin + 2 * person + 1) / divisor, 0), source_height - height) + y;
  for (int channel = 0; channel < channels; ++channel) {
    const long long plane = (long long)person * channels + channel;
    target[(plane * height + y) * width + x] = __ldg(source + (plane * source_height + from_y) * source_width + from_x);
  }
}

// Block (32, 8); grid (width / 32, height / 8, persons). Elements of 4 and of 2 bytes.
//   source (B, C, H, W);   target (B, C, height, width);   origin (B, 2): x, y in pixels of a `divisor` times finer picture
extern "C" __global__ void __launch_bounds__(256)
    copy_window_4(const unsigned* __restrict__ source, unsigned* __restrict__ target, const int* __restrict__ origin, int divisor,
                  int channels, int source_height, int source_width, int height, int width) {
  copy(source, target, origin, divisor, channels, source_height, source_width, height, width);
}
extern "C" __global__ void __launch_bounds__(256)
    copy_window_2(const unsigned short* __restrict__ source, unsigned short* __restrict__ target, const int* __restrict__ origin,
                  int divisor, int channels, int source_height, int source_width, int height, int width) {
  copy(source, target, origin, divisor, channels, source_height, source_width, height, width);
}
