// The relief of normals laid on depth maps by multigrid; twin: integrate_normals.py, which says what is solved.
//
//   relief_start      beyond every pixel
//   relief_bounds     the first row and the first column with a pixel of the person: there the grids begin
//   relief_equations  the finest grid's equations, a cell for 2 x 2 pixels
//   relief_coarsen    those of the next coarser grid
//   relief_down       a pair of Jacobi steps, and what they leave over as the coarser grid's right side
//   relief_coarsest   pairs of Jacobi steps on the coarsest grid
//   relief_up         the coarser grid's correction, and a pair of Jacobi steps
//   relief_apply      the finest grid's values added to the depth
//
// Cells are 0 in all values where their screening is 0: nothing of the person lies in them. Links beyond the grid are 0.

#include "common.cuh"

#define FRONT_AND_BACK 2
#define TILE_WIDTH 32
#define TILE_HEIGHT 16
#define THREADS 256

// Depth (B, 2, H, W) and encoded normals (B, 6, H, W), and the numbers of integrate_normals.py.
struct Maps {
  void* depth;
  const void* normals;
  int2* start;  // (B,): first column and row of the person
  int height, width;
  int depth_is_half, normals_are_half;
  float normal_z;   // z of a normal before normalisation, nu
  float steepness;  // by which a slope in nu is one of TRUSTED_SLOPE
  float screening;  // of a whole cell
  float least_z, slope_z, least_gap;
};

// One grid: (persons * 2, height, width) each.
struct Grid {
  float *right, *down;       // weights of the links to the right and downward
  float* screen;             // screening; 0: no cell
  float* wanted;             // right side
  float *values, *smoothed;  // after a cycle, and in its middle
  int height, width;
};

// What a Jacobi step multiplies its correction by, for the two steps of a pair.
struct Factors {
  float first, second;
};

__device__ __forceinline__ float load(const void* data, int is_half, long long at) {
  return is_half ? load(static_cast<const half_t*>(data) + at) : load(static_cast<const float*>(data) + at);
}

__device__ __forceinline__ void store(void* data, int is_half, long long at, float value) {
  if (is_half) store(static_cast<half_t*>(data) + at, value);
  else store(static_cast<float*>(data) + at, value);
}

// First pixel of a channel of the depth (2 channels) or of the normals (6).
__device__ __forceinline__ long long plane(const Maps& maps, long long index) { return index * maps.height * maps.width; }

// The arrays of one side of one person.
__device__ __forceinline__ Grid side_of(Grid grid, int side) {
  const long long start = (long long)side * grid.height * grid.width;
  grid.right += start, grid.down += start, grid.screen += start;
  grid.wanted += start, grid.values += start, grid.smoothed += start;
  return grid;
}

// ------------------------------------------------------------------------------------------------------ where grids begin

// Block 256, one person per thread; grid persons / 256.
extern "C" __global__ void __launch_bounds__(THREADS) relief_start(const __grid_constant__ Maps maps, int persons) {
  const int person = blockIdx.x * THREADS + threadIdx.x;
  if (person < persons) maps.start[person] = make_int2(maps.width, maps.height);
}

#define BOUND_ROWS 8  // of each warp

// Block (32, 8); grid (W / 32, H / 64, persons).
extern "C" __global__ void __launch_bounds__(THREADS) relief_bounds(const __grid_constant__ Maps maps) {
  const int x = blockIdx.x * 32 + threadIdx.x, first = (blockIdx.y * 8 + threadIdx.y) * BOUND_ROWS;
  const long long front = plane(maps, 2ll * blockIdx.z), back = plane(maps, 2ll * blockIdx.z + 1);
  unsigned columns = 0;
  int top = maps.height;
  for (int y = min(first + BOUND_ROWS, maps.height) - 1; y >= first; --y) {
    const long long at = (long long)y * maps.width + x;
    const auto depth = [&](long long side) { return load(maps.depth, maps.depth_is_half, side + at); };
    const unsigned set = __ballot_sync(FULL_WARP, x < maps.width && depth(front) < depth(back));
    columns |= set;
    if (set) top = y;
  }
  if (threadIdx.x || !columns) return;
  atomicMin(&maps.start[blockIdx.z].x, (int)(blockIdx.x * 32) + __ffs((int)columns) - 1);
  atomicMin(&maps.start[blockIdx.z].y, top);
}

// --------------------------------------------------------------------------------------------------------- the finest grid

#define CELLS_X 32
#define CELLS_Y 8
#define AROUND 2  // pixels around a block's own that its links depend on

// A block's pixels. Depth is OFF where the side has nothing to say; slopes are those of the normals, nu.
#define OFF 3.0e38f
struct Pixels {
  float depth[2 * CELLS_Y + 2 * AROUND][2 * CELLS_X + 2 * AROUND];
  float right[2 * CELLS_Y + 2 * AROUND][2 * CELLS_X + 2 * AROUND];
  float down[2 * CELLS_Y + 2 * AROUND][2 * CELLS_X + 2 * AROUND];
};

// Share of a cell's four pixels that are on; (y, x) is its first one.
__device__ __forceinline__ float share_of(const Pixels& pixels, int y, int x) {
  int on = 0;
#pragma unroll
  for (int k = 0; k < 4; ++k) on += pixels.depth[y + k / 2][x + k % 2] != OFF;
  return 0.25f * (float)on;
}

// Weight of the link between two neighbouring pixels, and weight times the difference wanted beyond the actual one.
__device__ __forceinline__ float2 pixel_link(const Maps& maps, float depth, float next, float slope) {
  if (depth == OFF || next == OFF) return make_float2(0.f, 0.f);
  const float actual = depth - next, steepest = fmaxf(fabsf(slope), fabsf(actual)) * maps.steepness;
  const float weight = 1.f / (1.f + steepest * steepest);
  return make_float2(weight, weight * (slope - actual));
}

// The link of the cell at pixel (y, x) to the next one, to the right (dx 1) or downward (dx 0): weight, and weight times the
// difference wanted. From middle to middle lie half a pixel link, a whole one, and another half, in two rows.
__device__ __forceinline__ float2 cell_link(const Maps& maps, const Pixels& pixels, int y, int x, int dx) {
  const int dy = 1 - dx;
  float2 sum = make_float2(0.f, 0.f);
  if (share_of(pixels, y, x) == 0.f || share_of(pixels, y + 2 * dy, x + 2 * dx) == 0.f) return sum;
#pragma unroll
  for (int k = 0; k < 6; ++k) {
    const int row = y + (dx ? k / 3 : k % 3), column = x + (dx ? k % 3 : k / 3);
    const float slope = dx ? pixels.right[row][column] : pixels.down[row][column], part = k % 3 == 1 ? 1.f : 0.5f;
    const float2 link = pixel_link(maps, pixels.depth[row][column], pixels.depth[row + dy][column + dx], slope);
    sum.x += part * link.x;
    sum.y += part * link.y;
  }
  return make_float2(0.25f * sum.x, 0.5f * sum.y);  // the mean weight of four halves, twice the mean difference
}

// Block 256, one cell per thread; grid (w / 32, h / 8, persons * 2).
extern "C" __global__ void __launch_bounds__(THREADS)
    relief_equations(const __grid_constant__ Maps maps, const __grid_constant__ Grid finest) {
  __shared__ Pixels pixels;
  constexpr int width = 2 * CELLS_X + 2 * AROUND, height = 2 * CELLS_Y + 2 * AROUND;
  const int side = blockIdx.z % FRONT_AND_BACK, person = blockIdx.z / FRONT_AND_BACK;
  const int2 start = maps.start[person];
  const int top = start.y + 2 * CELLS_Y * (int)blockIdx.y - AROUND, left = start.x + 2 * CELLS_X * (int)blockIdx.x - AROUND;
  const long long front = plane(maps, 2ll * person), back = plane(maps, 2ll * person + 1);
  const long long normal = plane(maps, 6ll * person + 3 * side);
  for (int i = threadIdx.x; i < width * height; i += THREADS) {
    const int row = i / width, column = i % width, y = top + row, x = left + column;
    float depth = OFF, right = 0.f, down = 0.f;
    if (y >= start.y && y < maps.height && x >= start.x && x < maps.width) {
      const long long at = (long long)y * maps.width + x;
      const float near = load(maps.depth, maps.depth_is_half, front + at), far = load(maps.depth, maps.depth_is_half, back + at);
      const float z = load(maps.normals, maps.normals_are_half, normal + plane(maps, 2) + at);
      if (near < far && z > maps.least_z) {
        const float scale = maps.normal_z / fmaxf(2.f * z - 1.f, maps.slope_z);
        depth = side ? far : near;
        right = (2.f * load(maps.normals, maps.normals_are_half, normal + at) - 1.f) * scale;
        down = (2.f * load(maps.normals, maps.normals_are_half, normal + plane(maps, 1) + at) - 1.f) * scale;
      }
    }
    pixels.depth[row][column] = depth;
    pixels.right[row][column] = right;
    pixels.down[row][column] = down;
  }
  __syncthreads();

  const int cell_x = threadIdx.x % CELLS_X, cell_y = threadIdx.x / CELLS_X;
  const int x = blockIdx.x * CELLS_X + cell_x, y = blockIdx.y * CELLS_Y + cell_y;
  if (x >= finest.width || y >= finest.height) return;
  const int column = 2 * cell_x + AROUND, row = 2 * cell_y + AROUND;
  const float2 to_right = cell_link(maps, pixels, row, column, 1), to_left = cell_link(maps, pixels, row, column - 2, 1);
  const float2 downward = cell_link(maps, pixels, row, column, 0), upward = cell_link(maps, pixels, row - 2, column, 0);
  const Grid out = side_of(finest, blockIdx.z);
  const long long at = (long long)y * finest.width + x;
  out.right[at] = to_right.x;
  out.down[at] = downward.x;
  out.screen[at] = share_of(pixels, row, column) * maps.screening;
  out.wanted[at] = to_right.y + downward.y - to_left.y - upward.y;
}

// ------------------------------------------------------------------------------------------------------------ coarser grids

// A number of a grid, 0 beyond it.
__device__ __forceinline__ float at_or_zero(const float* values, const Grid& grid, int y, int x) {
  return y < grid.height && x < grid.width ? __ldg(values + (long long)y * grid.width + x) : 0.f;
}

// Block 256, one coarse cell per thread; grid (w / 32, h / 8, persons * 2). A step of two cells is half as steep: half the sum of
// the links between two blocks.
extern "C" __global__ void __launch_bounds__(THREADS)
    relief_coarsen(const __grid_constant__ Grid fine, const __grid_constant__ Grid coarse) {
  const int x = blockIdx.x * CELLS_X + threadIdx.x % CELLS_X, y = blockIdx.y * CELLS_Y + threadIdx.x / CELLS_X;
  if (x >= coarse.width || y >= coarse.height) return;
  const Grid from = side_of(fine, blockIdx.z), to = side_of(coarse, blockIdx.z);
  const auto part = [&](const float* values, int dy, int dx) { return at_or_zero(values, from, 2 * y + dy, 2 * x + dx); };
  const long long at = (long long)y * coarse.width + x;
  to.right[at] = 0.5f * (part(from.right, 0, 1) + part(from.right, 1, 1));
  to.down[at] = 0.5f * (part(from.down, 1, 0) + part(from.down, 1, 1));
  to.screen[at] = part(from.screen, 0, 0) + part(from.screen, 1, 0) + part(from.screen, 0, 1) + part(from.screen, 1, 1);
}

// ---------------------------------------------------------------------------------------------------------------- smoothing

// The equation of one cell.
struct Equation {
  float right, left, down, up, screen, wanted;

  __device__ __forceinline__ float rest(float own, float at_right, float at_left, float below, float above) const {
    return wanted - screen * own + right * (at_right - own) + left * (at_left - own) + down * (below - own) + up * (above - own);
  }
  __device__ __forceinline__ float diagonal() const { return fmaxf(screen + right + left + down + up, 1e-20f); }
};

// All 0 where there is no cell.
__device__ __forceinline__ Equation equation_of(const Grid& grid, int y, int x) {
  Equation e = {0.f, 0.f, 0.f, 0.f, 0.f, 0.f};
  if (y < 0 || y >= grid.height || x < 0 || x >= grid.width) return e;
  const long long at = (long long)y * grid.width + x;
  e.screen = __ldg(grid.screen + at);
  if (e.screen > 0.f) {
    e.right = __ldg(grid.right + at);
    e.down = __ldg(grid.down + at);
    if (x) e.left = __ldg(grid.right + at - 1);
    if (y) e.up = __ldg(grid.down + at - grid.width);
    e.wanted = __ldg(grid.wanted + at);
  }
  return e;
}

// Values of a block's tile of a grid with HALO cells around it.
template <int HALO>
using Tile = float[TILE_HEIGHT + 2 * HALO][TILE_WIDTH + 2 * HALO];

// Calls use(row, column, y, x) for the tile's cells and RING cells around them: place in the tile with its halo, place in the grid.
template <int HALO, int RING, class Use>
__device__ __forceinline__ void for_cells(const Use& use) {
  constexpr int width = TILE_WIDTH + 2 * RING, count = width * (TILE_HEIGHT + 2 * RING);
  const int top = (int)blockIdx.y * TILE_HEIGHT - RING, left = (int)blockIdx.x * TILE_WIDTH - RING;
  for (int i = threadIdx.x; i < count; i += THREADS) {
    const int row = i / width, column = i % width;
    use(row + HALO - RING, column + HALO - RING, top + row, left + column);
  }
}

template <int HALO>
__device__ __forceinline__ float rest_in(const Tile<HALO>& tile, const Equation& e, int row, int column) {
  return e.rest(tile[row][column], tile[row][column + 1], tile[row][column - 1], tile[row + 1][column], tile[row - 1][column]);
}

// A Jacobi step of the tile and a ring around it.
template <int HALO, int RING>
__device__ __forceinline__ void step(const Grid& grid, const Tile<HALO>& from, Tile<HALO>& to, float factor) {
  for_cells<HALO, RING>([&](int row, int column, int y, int x) {
    const Equation e = equation_of(grid, y, x);
    to[row][column] = e.screen > 0.f ? from[row][column] + rest_in<HALO>(from, e, row, column) / e.diagonal() * factor : 0.f;
  });
}

// Whether the block's tile has any cell.
__device__ __forceinline__ bool tile_is_empty(const Grid& grid) {
  __shared__ int cells;
  if (threadIdx.x == 0) cells = 0;
  __syncthreads();
  bool found = false;
  for_cells<0, 0>([&](int, int, int y, int x) { found = found || at_or_zero(grid.screen, grid, y, x) > 0.f; });
  if (__any_sync(FULL_WARP, found) && threadIdx.x % 32 == 0) atomicOr(&cells, 1);
  __syncthreads();
  return cells == 0;
}

// Writes a tile's values, 0 for all of them where `tile` is null.
template <int HALO>
__device__ __forceinline__ void write_tile(const Grid& grid, float* values, const Tile<HALO>* tile) {
  for_cells<HALO, 0>([&](int row, int column, int y, int x) {
    if (y < grid.height && x < grid.width) values[(long long)y * grid.width + x] = tile ? (*tile)[row][column] : 0.f;
  });
}

// Block 256, one tile; grid (w / 32, h / 16, persons * 2). Makes fine.smoothed of fine.values, or of zeros if `fresh`, and
// coarse.wanted of the rest.
extern "C" __global__ void __launch_bounds__(THREADS)
    relief_down(const __grid_constant__ Grid all_fine, const __grid_constant__ Grid all_coarse, const Factors factors, int fresh) {
  constexpr int HALO = 3;
  __shared__ Tile<HALO> one, two;
  const Grid fine = side_of(all_fine, blockIdx.z), coarse = side_of(all_coarse, blockIdx.z);
  const bool empty = tile_is_empty(fine);
  if (empty) {
    write_tile<HALO>(fine, fine.smoothed, nullptr);
  } else {
    for_cells<HALO, HALO>([&](int row, int column, int y, int x) {
      const bool inside = y >= 0 && y < fine.height && x >= 0 && x < fine.width;
      one[row][column] = inside && !fresh ? fine.values[(long long)y * fine.width + x] : 0.f;
    });
    __syncthreads();
    step<HALO, 2>(fine, one, two, factors.first);
    __syncthreads();
    step<HALO, 1>(fine, two, one, factors.second);
    __syncthreads();
    write_tile<HALO>(fine, fine.smoothed, &one);
    for_cells<HALO, 0>([&](int row, int column, int y, int x) {
      two[row][column] = rest_in<HALO>(one, equation_of(fine, y, x), row, column);
    });
    __syncthreads();
  }
  const int column = threadIdx.x % (TILE_WIDTH / 2), row = threadIdx.x / (TILE_WIDTH / 2);
  const int x = blockIdx.x * (TILE_WIDTH / 2) + column, y = blockIdx.y * (TILE_HEIGHT / 2) + row;
  if (row >= TILE_HEIGHT / 2 || x >= coarse.width || y >= coarse.height) return;
  const float *above = &two[HALO + 2 * row][HALO + 2 * column], *below = &two[HALO + 2 * row + 1][HALO + 2 * column];
  coarse.wanted[(long long)y * coarse.width + x] = empty ? 0.f : above[0] + below[0] + above[1] + below[1];
}

// Block 256, all of the grid; grid (1, 1, persons * 2). Makes grid.values of zeros by `pairs` pairs of steps.
extern "C" __global__ void __launch_bounds__(THREADS)
    relief_coarsest(const __grid_constant__ Grid all, const Factors factors, int pairs) {
  const Grid grid = side_of(all, blockIdx.z);
  const long long cells = (long long)grid.height * grid.width;
  for (int number = 0; number < 2 * pairs; ++number) {
    const float *from = number % 2 ? grid.smoothed : grid.values, factor = number % 2 ? factors.second : factors.first;
    float* to = number % 2 ? grid.values : grid.smoothed;
    for (long long at = threadIdx.x; at < cells; at += THREADS) {
      const int y = (int)(at / grid.width), x = (int)(at % grid.width);
      const Equation e = equation_of(grid, y, x);
      const auto value = [&](bool inside, long long place) { return number && inside ? from[place] : 0.f; };
      const float own = value(true, at);
      const float rest = e.rest(own, value(x + 1 < grid.width, at + 1), value(x > 0, at - 1),
                                value(y + 1 < grid.height, at + grid.width), value(y > 0, at - grid.width));
      to[at] = e.screen > 0.f ? own + rest / e.diagonal() * factor : 0.f;
    }
    __syncthreads();
  }
}

// A grid's values at place (y, x) of one that is twice as fine: bilinear between the middles of cells, without those that are none.
__device__ __forceinline__ float interpolated(const Grid& grid, int y, int x) {
  float sum = 0.f, total = 0.f;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int row = y / 2 + (k / 2 ? 2 * (y % 2) - 1 : 0), column = x / 2 + (k % 2 ? 2 * (x % 2) - 1 : 0);
    if (row < 0 || row >= grid.height || column < 0 || column >= grid.width) continue;
    const long long at = (long long)row * grid.width + column;
    if (__ldg(grid.screen + at) > 0.f) {
      const float weight = (k / 2 ? 0.25f : 0.75f) * (k % 2 ? 0.25f : 0.75f);
      sum += weight * __ldg(grid.values + at);
      total += weight;
    }
  }
  return sum / fmaxf(total, 1e-6f);
}

// Block 256, one tile; grid (w / 32, h / 16, persons * 2). Makes fine.values of fine.smoothed and coarse.values.
extern "C" __global__ void __launch_bounds__(THREADS)
    relief_up(const __grid_constant__ Grid all_fine, const __grid_constant__ Grid all_coarse, const Factors factors) {
  constexpr int HALO = 2;
  __shared__ Tile<HALO> one, two;
  const Grid fine = side_of(all_fine, blockIdx.z), coarse = side_of(all_coarse, blockIdx.z);
  if (tile_is_empty(fine)) {
    write_tile<HALO>(fine, fine.values, nullptr);
    return;
  }
  for_cells<HALO, HALO>([&](int row, int column, int y, int x) {
    const bool is_cell = y >= 0 && x >= 0 && at_or_zero(fine.screen, fine, y, x) > 0.f;
    one[row][column] = is_cell ? __ldg(fine.smoothed + (long long)y * fine.width + x) + interpolated(coarse, y, x) : 0.f;
  });
  __syncthreads();
  step<HALO, 1>(fine, one, two, factors.first);
  __syncthreads();
  step<HALO, 0>(fine, two, one, factors.second);
  __syncthreads();
  write_tile<HALO>(fine, fine.values, &one);
}

// Block (32, 8), one pixel per thread; grid (W / 32, H / 8, persons). In place.
extern "C" __global__ void __launch_bounds__(THREADS)
    relief_apply(const __grid_constant__ Maps maps, const __grid_constant__ Grid finest) {
  const int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 8 + threadIdx.y;
  if (x >= maps.width || y >= maps.height) return;
  const long long pixel = (long long)y * maps.width + x;
  const long long front_at = plane(maps, 2ll * blockIdx.z) + pixel, back_at = plane(maps, 2ll * blockIdx.z + 1) + pixel;
  // Not by __ldg: the same memory is written below.
  const auto depth_at = [&](long long at) {
    return maps.depth_is_half ? to_float(static_cast<const half_t*>(maps.depth)[at]) : static_cast<const float*>(maps.depth)[at];
  };
  float sides[FRONT_AND_BACK] = {depth_at(front_at), depth_at(back_at)};
  if (!(sides[0] < sides[1])) return;
  const int2 start = maps.start[blockIdx.z];
#pragma unroll
  for (int side = 0; side < FRONT_AND_BACK; ++side) {
    const float z = load(maps.normals, maps.normals_are_half, plane(maps, 6ll * blockIdx.z + 3 * side + 2) + pixel);
    const Grid own = side_of(finest, FRONT_AND_BACK * blockIdx.z + side);
    if (z > maps.least_z) sides[side] += interpolated(own, y - start.y, x - start.x);
  }
  if (sides[0] > sides[1] - maps.least_gap) {
    const float middle = (sides[0] + sides[1]) / 2.f;
    sides[0] = middle - maps.least_gap / 2.f;
    sides[1] = middle + maps.least_gap / 2.f;
  }
  store(maps.depth, maps.depth_is_half, front_at, sides[0]);
  store(maps.depth, maps.depth_is_half, back_at, sides[1]);
}
