// Launches that a number in device memory switches off: a recorded graph holds them, whether they are needed or not.
#pragma once

__device__ __forceinline__ bool is_off(const int* guard, int stride, int person) {
  return guard && !__ldg(guard + (long long)person * stride);
}
