// Kernels for the tests of the runtime.
struct Pair {
  double scale;
  int shift;
};

// out[i] = scale * in[i] + shift + bias, with parameters of every alignment between the pointers.
extern "C" __global__ void scale_and_shift(unsigned char on, const float* in, short bias, float* out, Pair pair, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) out[i] = on ? (float)(pair.scale * in[i] + pair.shift + bias) : 0.f;
}

extern "C" __global__ void increment(int* counter) { atomicAdd(counter, 1); }

extern "C" __global__ void nothing() {}
