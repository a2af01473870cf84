// The closed grid mesh of two depth maps; twin: h2k_rt.surface.grid_mesh. The same vertices and faces in the same order.
//
//   mesh_cells     cells of the pixel grid as bits, and those that touch another at a corner only
//   mesh_open      removes the upper cell of such pairs, until there are none
//   mesh_unite     joins cells to pieces
//   mesh_count     counts their cells
//   mesh_places    drops small pieces, and counts pixels, cells and border edges before each 32-pixel word
//   mesh_vertices  positions, normals and colours
//   mesh_faces     triangles
//
// All memory is given. What a launch needs of an earlier one lies in `Scratch`; per photo nothing but the arrays changes.

#include "lift.cuh"
#include "scan.cuh"
#include "silhouette.cuh"

// What is counted before each word.
enum Stream { CELLS, PIXELS, BORDER, TOP, BOTTOM, WEST, EAST, STREAMS };

struct Scratch {
  unsigned *cells, *kept, *used, *border;  // (B, H, words) bits: all cells, those of large pieces, their pixels, border pixels
  unsigned* before;                        // (B, STREAMS, H, words): counts before the word within its block of words
  unsigned* totals;                        // (B, STREAMS, blocks): counts before each block of words
  int* parent;                             // (B, H, W)
  unsigned* area;                          // (B, H, W)
  int *first_list, *second_list;           // (B, H, W): cells to remove
  int* pairs;                              // (B, blocks of mesh_cells): number of them
  unsigned* state;                         // (B, 2 + STREAMS): largest area, blocks done, sums
};

// The maps: rows and columns, words in a row, blocks of words, blocks of mesh_cells across and down.
struct Maps {
  int height, width, words, blocks, cell_blocks_x, cell_blocks_y;
};

#define STATE_LARGEST 0
#define STATE_TICKET 1
#define STATE_SUMS 2
#define STATE_SIZE (STATE_SUMS + STREAMS)

#define CELL_ROWS 4                     // rows of words that a warp of mesh_cells makes
#define CELL_BLOCK_ROWS (8 * CELL_ROWS) // a block: 32 columns and so many rows
#define CELL_BLOCK_PIXELS (32 * CELL_BLOCK_ROWS)

__device__ __forceinline__ Scratch of_person(Scratch scratch, const Maps& maps, int person) {
  const long long pixels = (long long)maps.height * maps.width, words = (long long)maps.height * maps.words;
  scratch.cells += person * words;
  scratch.kept += person * words;
  scratch.used += person * words;
  scratch.border += person * words;
  scratch.before += person * words * STREAMS;
  scratch.totals += (long long)person * STREAMS * maps.blocks;
  scratch.parent += person * pixels;
  scratch.area += person * pixels;
  scratch.first_list += (long long)person * maps.cell_blocks_x * maps.cell_blocks_y * CELL_BLOCK_PIXELS;
  scratch.second_list += person * pixels;
  scratch.pairs += (long long)person * maps.cell_blocks_x * maps.cell_blocks_y;
  scratch.state += person * STATE_SIZE;
  return scratch;
}

// ------------------------------------------------------------------------------------------------------------- which cells

// A cell is the square of the pixels (y, x) to (y + 1, x + 1); it has the place of its upper left pixel.
// Block (32, 8); grid (blocks across, blocks down, persons).   mask (B, H, W): 0 or not
extern "C" __global__ void __launch_bounds__(256) mesh_cells(const unsigned char* __restrict__ mask, const Maps maps, Scratch scratch) {
  __shared__ int pairs;
  scratch = of_person(scratch, maps, blockIdx.z);
  mask += (long long)blockIdx.z * maps.height * maps.width;
  const int lane = threadIdx.x, k = blockIdx.x, x = 32 * k + lane;
  const int top = (blockIdx.y * 8 + threadIdx.y) * CELL_ROWS, block = blockIdx.y * maps.cell_blocks_x + blockIdx.x;
  if (lane == 0 && threadIdx.y == 0) {
    pairs = 0;
    if (block == 0) scratch.state[STATE_LARGEST] = scratch.state[STATE_TICKET] = 0;
  }
  __syncthreads();

  // Of a row of the mask: bit set where the pixel and its right neighbour are. `next` is that of the first pixel of the next word.
  const auto neighbours = [&](int y, int column) {
    return y < maps.height && column + 1 < maps.width && mask[(long long)y * maps.width + column] &&
           mask[(long long)y * maps.width + column + 1];
  };
  unsigned pixels = __ballot_sync(FULL_WARP, neighbours(top, x)), below = __ballot_sync(FULL_WARP, neighbours(top + 1, x));
  bool next = neighbours(top, 32 * k + 32), next_below = neighbours(top + 1, 32 * k + 32);
  unsigned cells = pixels & below;
  bool next_cell = next && next_below;
  for (int y = top; y < min(top + CELL_ROWS, maps.height); ++y) {
    pixels = below;
    next = next_below;
    below = __ballot_sync(FULL_WARP, neighbours(y + 2, x));
    next_below = neighbours(y + 2, 32 * k + 32);
    const unsigned lower = pixels & below;
    const bool next_lower = next && next_below;
    const int at = y * maps.width + x;
    if (lane == 0) scratch.cells[(long long)y * maps.words + k] = cells;
    if (run_starts(cells) >> lane & 1) {
      scratch.parent[at] = at;
      scratch.area[at] = 0;
    }
    // Two cells that touch at a corner only: a falling pair (y, x), (y + 1, x + 1), or a rising one. The upper one goes.
    const unsigned right = cells >> 1 | (unsigned)next_cell << 31, lower_right = lower >> 1 | (unsigned)next_lower << 31;
    const unsigned falling = cells & lower_right & ~right & ~lower, rising = right & lower & ~cells & ~lower_right;
    int* list = scratch.first_list + (long long)block * CELL_BLOCK_PIXELS;
    if (falling >> lane & 1) list[atomicAdd(&pairs, 1)] = at;
    if (rising >> lane & 1) list[atomicAdd(&pairs, 1)] = at + 1;
    cells = lower;
    next_cell = next_lower;
  }
  __syncthreads();
  if (lane == 0 && threadIdx.y == 0) scratch.pairs[block] = pairs;
}

__device__ __forceinline__ bool has_cell(const Scratch& scratch, const Maps& maps, int y, int x) {
  if (x < 0 || x >= maps.width) return false;  // rows are within the maps
  const unsigned* word = scratch.cells + (long long)y * maps.words + (x >> 5);
  return (unsigned)load_relaxed(reinterpret_cast<const int*>(word)) >> (x & 31) & 1;
}

// Removes a cell; false if another thread has done so.
__device__ __forceinline__ bool remove_cell(const Scratch& scratch, const Maps& maps, int at) {
  const int y = at / maps.width, x = at % maps.width;
  const unsigned bit = 1u << (x & 31);
  if (!(atomicAnd(scratch.cells + (long long)y * maps.words + (x >> 5), ~bit) & bit)) return false;
  if ((x & 31) < 31 && x + 1 < maps.width) {  // the run that may go on to the right has a new start
    atomicExch(scratch.parent + at + 1, at + 1);
    atomicExch(scratch.area + at + 1, 0u);
  }
  return true;
}

// After the removal of a cell only pairs of the two cells above it with those beside it can be new.
__device__ __forceinline__ void list_new_pairs(const Scratch& scratch, const Maps& maps, int at, int* list, int* count) {
  const int y = at / maps.width, x = at % maps.width;
  if (y == 0) return;
  for (int left = x - 1; left <= x; ++left) {
    const bool a = has_cell(scratch, maps, y - 1, left), b = has_cell(scratch, maps, y - 1, left + 1);
    const bool c = has_cell(scratch, maps, y, left), d = has_cell(scratch, maps, y, left + 1);
    if (a && d && !b && !c) list[atomicAdd(count, 1)] = at - maps.width + left - x;
    if (b && c && !a && !d) list[atomicAdd(count, 1)] = at - maps.width + left - x + 1;
  }
}

// All pairs of a round are found before any cell of the round is removed, as in the twin.
// Block 512; grid (persons).
extern "C" __global__ void __launch_bounds__(512) mesh_open(const Maps maps, Scratch scratch) {
  __shared__ int counts[2];
  scratch = of_person(scratch, maps, blockIdx.x);
  const int blocks = maps.cell_blocks_x * maps.cell_blocks_y;
  if (threadIdx.x == 0) counts[0] = counts[1] = 0;
  __syncthreads();
  for (int b = threadIdx.x; b < blocks; b += blockDim.x) {
    int* list = scratch.first_list + (long long)b * CELL_BLOCK_PIXELS;
    for (int i = 0; i < scratch.pairs[b]; ++i)
      if (!remove_cell(scratch, maps, list[i])) list[i] = -1;
  }
  __syncthreads();
  for (int b = threadIdx.x; b < blocks; b += blockDim.x) {
    const int* list = scratch.first_list + (long long)b * CELL_BLOCK_PIXELS;
    for (int i = 0; i < scratch.pairs[b]; ++i)
      if (list[i] >= 0) list_new_pairs(scratch, maps, list[i], scratch.second_list, &counts[1]);
  }
  __syncthreads();
  int *list = scratch.second_list, *other = scratch.first_list;
  for (int now = 1; counts[now] > 0; now = 1 - now) {
    for (int i = threadIdx.x; i < counts[now]; i += blockDim.x)
      if (!remove_cell(scratch, maps, list[i])) list[i] = -1;
    __syncthreads();
    for (int i = threadIdx.x; i < counts[now]; i += blockDim.x)
      if (list[i] >= 0) list_new_pairs(scratch, maps, list[i], other, &counts[1 - now]);
    __syncthreads();
    if (threadIdx.x == 0) counts[now] = 0;
    __syncthreads();
    int* const t = list;
    list = other;
    other = t;
  }
}

// Block 256, one word per thread; grid (blocks of words, persons).
extern "C" __global__ void __launch_bounds__(SCAN_BLOCK) mesh_unite(const Maps maps, Scratch scratch) {
  scratch = of_person(scratch, maps, blockIdx.y);
  const long long index = (long long)blockIdx.x * SCAN_BLOCK + threadIdx.x;
  if (index >= (long long)maps.height * maps.words) return;
  unite_word(bit_mask(scratch.cells, maps.height, maps.width), (int)(index / maps.words), (int)(index % maps.words), false,
             scratch.parent);
}

// Block 256, one word per thread; grid (blocks of words, persons).
extern "C" __global__ void __launch_bounds__(SCAN_BLOCK) mesh_count(const Maps maps, Scratch scratch) {
  scratch = of_person(scratch, maps, blockIdx.y);
  const long long index = (long long)blockIdx.x * SCAN_BLOCK + threadIdx.x;
  const unsigned word = index < (long long)maps.height * maps.words ? scratch.cells[index] : 0u;
  const int base = (int)(index / maps.words) * maps.width + (int)(index % maps.words) * 32;
  count_word(word, base, scratch.parent, scratch.area, scratch.state + STATE_LARGEST);
}

// ----------------------------------------------------------------------------------------------------------------- places

// Block 256, one word per thread; grid (blocks of words, persons). Four blocks on a multiprocessor are enough: for sm_100 the compiler
// would otherwise aim at more and spill.
//   counts (B, 4): vertices, faces, pixels of one side, border pixels
extern "C" __global__ void __launch_bounds__(SCAN_BLOCK, 4)
    mesh_places(const Maps maps, Scratch scratch, double min_share, int rings, long long* __restrict__ counts) {
  __shared__ unsigned least, sums[STREAMS];
  scratch = of_person(scratch, maps, blockIdx.y);
  if (threadIdx.x == 0) least = least_area(scratch.state[STATE_LARGEST], min_share);
  __syncthreads();
  const long long words = (long long)maps.height * maps.words, index = (long long)blockIdx.x * SCAN_BLOCK + threadIdx.x;
  const int y = (int)(index / maps.words), k = (int)(index % maps.words);
  unsigned bits[STREAMS] = {};
  if (index < words) {
    const BitMask cells = bit_mask(scratch.cells, maps.height, maps.width);
    const auto kept = [&](int row, int column) {
      return large_runs(cells.word(row, column), row * maps.width + 32 * column, scratch.parent, scratch.area, least);
    };
    // Cells to the four corners of each pixel: own, left, above, above and left.
    const unsigned own = kept(y, k), left = own << 1 | kept(y, k - 1) >> 31;
    const unsigned above = kept(y - 1, k), above_left = above << 1 | kept(y - 1, k - 1) >> 31;
    bits[CELLS] = own;
    bits[PIXELS] = own | left | above | above_left;
    bits[BORDER] = bits[PIXELS] & ~(own & left & above & above_left);
    // Border edges from the pixel to the right (top, bottom) and downwards (west, east), named after the side of the cell.
    bits[TOP] = own & ~above;
    bits[BOTTOM] = above & ~own;
    bits[WEST] = own & ~left;
    bits[EAST] = left & ~own;
    scratch.kept[index] = own;
    scratch.used[index] = bits[PIXELS];
    scratch.border[index] = bits[BORDER];
  }
  unsigned count[STREAMS], before[STREAMS], total[STREAMS];
#pragma unroll
  for (int s = 0; s < STREAMS; ++s) count[s] = __popc(bits[s]);
  scan_block(count, before, total);
#pragma unroll
  for (int s = 0; s < STREAMS; ++s) {
    if (index < words) scratch.before[s * words + index] = before[s];
    if (threadIdx.x == 0) scratch.totals[(long long)s * maps.blocks + blockIdx.x] = total[s];
  }
  if (!is_last_block(scratch.state + STATE_TICKET)) return;
  scan_totals(scratch.totals, maps.blocks, sums);
  if (threadIdx.x < STREAMS) scratch.state[STATE_SUMS + threadIdx.x] = sums[threadIdx.x];
  if (threadIdx.x == 0) {
    const long long edges = (long long)sums[TOP] + sums[BOTTOM] + sums[WEST] + sums[EAST];
    long long* mine = counts + 4LL * blockIdx.y;
    mine[0] = 2LL * sums[PIXELS] + (long long)rings * sums[BORDER];
    mine[1] = 4LL * sums[CELLS] + 2 * (rings + 1) * edges;
    mine[2] = sums[PIXELS];
    mine[3] = sums[BORDER];
  }
}

// Number of things of a stream before word `index`.
__device__ __forceinline__ int place_of_word(const Scratch& scratch, const Maps& maps, int stream, long long index) {
  const long long words = (long long)maps.height * maps.words;
  return (int)(__ldg(scratch.before + stream * words + index) +
               __ldg(scratch.totals + (long long)stream * maps.blocks + index / SCAN_BLOCK));
}

// Whether a person's vertices and faces fit into the arrays given.
__device__ __forceinline__ bool fits(const long long* counts, int person, long long most_vertices, long long most_faces) {
  return counts[4 * person] <= most_vertices && counts[4 * person + 1] <= most_faces;
}

// --------------------------------------------------------------------------------------------------------------- vertices

struct Vertices {
  float* positions;        // (B, most, 3)
  float* normals;          // (B, most, 3)
  unsigned char* colours;  // (B, most, 3)
  long long most;
};

// Writes one value per lane of `lanes` for each of position, normal and colour, from vertex `first` on.
__device__ __forceinline__ void write_vertices(const Vertices& out, long long first, unsigned lanes, const float (&position)[3],
                                               const float (&normal)[3], const unsigned char (&colour)[3], float* stage) {
  write_packed(out.positions + 3 * first, lanes, position, stage);
  write_packed(out.normals + 3 * first, lanes, normal, stage);
  write_packed(out.colours + 3 * first, lanes, colour, reinterpret_cast<unsigned char*>(stage));
}

// Block 256, a warp makes the vertices of one word's pixels; grid (words / 8, persons).
//   depth (B, 2, H, W): front and back in nu;   tangents (N);   origin (B, 2) x, y of the maps on the canvas, or null
extern "C" __global__ void __launch_bounds__(256)
    mesh_vertices(const float* __restrict__ depth, const float* __restrict__ tangents, const int* __restrict__ origin,
                  const Colours colours, const Camera camera, const __grid_constant__ Outline outline, int rings, const Maps maps,
                  Scratch scratch, const long long* __restrict__ counts, Vertices out, long long most_faces) {
  __shared__ float stages[8][96];
  const int person = blockIdx.y, lane = threadIdx.x % 32;
  const long long index = (long long)blockIdx.x * 8 + threadIdx.x / 32, pixels = (long long)maps.height * maps.width;
  scratch = of_person(scratch, maps, person);
  if (index >= (long long)maps.height * maps.words || !fits(counts, person, out.most, most_faces)) return;
  const unsigned used_word = scratch.used[index];
  if (!used_word) return;
  const int y = (int)(index / maps.words), k = (int)(index % maps.words), x = 32 * k + lane;
  const BitMask used = bit_mask(scratch.used, maps.height, maps.width), kept = bit_mask(scratch.kept, maps.height, maps.width);
  const unsigned border = scratch.border[index];
  Rim rim = {0.f, 0.f, 0.f, 0.f};
  for (unsigned todo = border; todo; todo &= todo - 1) {
    const int i = __ffs((int)todo) - 1;
    const Rim found = find_rim(kept, used, outline, y, 32 * k + i);
    if (lane == i) rim = found;
  }

  // Lanes without a vertex take the first pixel's values, so that nothing is read outside of the maps.
  const bool mine = used_word >> lane & 1;
  const int own_x = mine ? x : 32 * k + __ffs((int)used_word) - 1;
  const int shift_x = origin ? origin[2 * person] : 0, shift_y = origin ? origin[2 * person + 1] : 0;
  const float tan_x = tangents[shift_x + own_x], tan_y = tangents[shift_y + y];
  const bool has_left = used.left_of(y, k) >> (own_x & 31) & 1, has_right = used.right_of(y, k) >> (own_x & 31) & 1;
  const bool has_above = used.word(y - 1, k) >> (own_x & 31) & 1, has_below = used.word(y + 1, k) >> (own_x & 31) & 1;
  const float own_length = ray_length(tan_x, tan_y);
  const float left_length = has_left ? ray_length(tangents[shift_x + own_x - 1], tan_y) : 1.f;
  const float right_length = has_right ? ray_length(tangents[shift_x + own_x + 1], tan_y) : 1.f;
  const float above_length = has_above ? ray_length(tan_x, tangents[shift_y + y - 1]) : 1.f;
  const float below_length = has_below ? ray_length(tan_x, tangents[shift_y + y + 1]) : 1.f;
  // On the smooth outline.
  const float grid_x = tan_x + rim.x * rim.shift * camera.step, grid_y = tan_y + rim.y * rim.shift * camera.step;

  float distance[2], position[3], normal[2][3];
  unsigned char colour[2][3];
  const long long vertices = counts[4 * person + 2], first = person * out.most + place_of_word(scratch, maps, PIXELS, index);
  float* const stage = stages[threadIdx.x / 32];
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    const float* p = depth + (2LL * person + side) * pixels + (long long)y * maps.width + own_x;
    distance[side] = distance_of(camera, *p);
    const float z = distance[side] / own_length;
    const float left = has_left ? distance_of(camera, p[-1]) / left_length : 0.f;
    const float right = has_right ? distance_of(camera, p[1]) / right_length : 0.f;
    const float above = has_above ? distance_of(camera, *(p - maps.width)) / above_length : 0.f;
    const float below = has_below ? distance_of(camera, p[maps.width]) / below_length : 0.f;
    grid_normal(camera, z, masked_difference(left, z, right, has_left, has_right),
                masked_difference(above, z, below, has_above, has_below), tan_x, tan_y, side ? -1.f : 1.f, normal[side]);
    lift_to_scan(camera, distance[side], grid_x, grid_y, position);
    const unsigned char* c = colour_at(colours, side, person, y, own_x, shift_y, shift_x);
#pragma unroll
    for (int i = 0; i < 3; ++i) colour[side][i] = c[i];
    float turned[3] = {normal[side][0], normal[side][1], normal[side][2]};
    if (border >> lane & 1) {
      turned[0] += rim.x;
      turned[1] -= rim.y;
      to_unit(turned);
    }
    write_vertices(out, first + side * vertices, used_word, position, turned, colour[side], stage);
  }
  if (!border) return;
  const long long border_count = counts[4 * person + 3];
  const long long first_border = person * out.most + 2 * vertices + place_of_word(scratch, maps, BORDER, index);
  for (int ring = 0; ring < rings; ++ring) {
    const float t = (float)(ring + 1) / (float)(rings + 1), lean = 2.f * t - 1.f;  // -1 at the front, 1 at the back
    const float bulge = camera.step * __fsqrt_rn(1.f - lean * lean) * rim.bulge;
    lift_to_scan(camera, distance[0] + t * (distance[1] - distance[0]), grid_x + bulge * rim.x, grid_y + bulge * rim.y, position);
    const float to_front = fmaxf(-lean, 0.f), to_back = fmaxf(lean, 0.f);
    float turned[3] = {rim.x, -rim.y, 0.f};
    unsigned char mixed[3];
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      turned[i] += to_front * normal[0][i] + to_back * normal[1][i];
      mixed[i] = (unsigned char)__float2int_rn((float)colour[0][i] * (1.f - t) + (float)colour[1][i] * t);
    }
    to_unit(turned);
    write_vertices(out, first_border + ring * border_count, border, position, turned, mixed, stage);
  }
}

// ------------------------------------------------------------------------------------------------------------------ faces

// Numbers of pixels among those counted by a stream.
struct Numbers {
  const Scratch& scratch;
  const Maps& maps;
  const unsigned* bits;
  int stream;

  __device__ __forceinline__ int of(int y, int x) const {
    const long long index = (long long)y * maps.words + (x >> 5);
    return place_of_word(scratch, maps, stream, index) + __popc(__ldg(bits + index) & bits_below(x & 31));
  }
};

__device__ __forceinline__ void write_face(int* faces, long long at, int a, int b, int c) {
  faces[3 * at] = a;
  faces[3 * at + 1] = b;
  faces[3 * at + 2] = c;
}

// The strip of 2 (rings + 1) faces between the front's and the back's edge.
__device__ __forceinline__ void write_strip(int* faces, long long first, long long edges, int start, int end, int start_border,
                                            int end_border, int vertices, int border_count, int rings) {
  int upper_start = start, upper_end = end;
  for (int level = 0; level <= rings; ++level) {
    const int ring = 2 * vertices + level * border_count;
    const int lower_start = level < rings ? ring + start_border : start + vertices;
    const int lower_end = level < rings ? ring + end_border : end + vertices;
    write_face(faces, first + 2 * level * edges, upper_end, upper_start, lower_end);
    write_face(faces, first + (2 * level + 1) * edges, upper_start, lower_start, lower_end);
    upper_start = lower_start;
    upper_end = lower_end;
  }
}

// Block 256, a warp makes the faces of one word's cells and border edges; grid (words / 8, persons).
//   faces (B, most, 3): two per cell in front and back, then the silhouette strip, level by level
extern "C" __global__ void __launch_bounds__(256)
    mesh_faces(const float* __restrict__ depth, const Camera camera, int rings, const Maps maps, Scratch scratch,
               const long long* __restrict__ counts, long long most_vertices, int* __restrict__ faces, long long most_faces) {
  __shared__ int stages[8][96];
  const int person = blockIdx.y, lane = threadIdx.x % 32;
  const long long index = (long long)blockIdx.x * 8 + threadIdx.x / 32, pixels = (long long)maps.height * maps.width;
  scratch = of_person(scratch, maps, person);
  if (index >= (long long)maps.height * maps.words || !fits(counts, person, most_vertices, most_faces)) return;
  const int y = (int)(index / maps.words), k = (int)(index % maps.words), x = 32 * k + lane;
  const BitMask kept = bit_mask(scratch.kept, maps.height, maps.width);
  const unsigned own = kept.word(y, k), left = kept.left_of(y, k), above = kept.word(y - 1, k);
  if (!(own | left | above)) return;
  faces += 3 * person * most_faces;
  const int vertices = (int)counts[4 * person + 2], border_count = (int)counts[4 * person + 3];
  const long long cells = scratch.state[STATE_SUMS + CELLS];
  const Numbers number = {scratch, maps, scratch.used, PIXELS}, on_border = {scratch, maps, scratch.border, BORDER};

  if (own) {
    const bool mine = own >> lane & 1;
    const int cell_x = mine ? x : 32 * k + __ffs((int)own) - 1;  // the others read what is there, and write nothing
    const int a = number.of(y, cell_x), b = number.of(y, cell_x + 1), c = number.of(y + 1, cell_x), d = number.of(y + 1, cell_x + 1);
    const long long place = place_of_word(scratch, maps, CELLS, index);
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      const float* p = depth + (2LL * person + side) * pixels + (long long)y * maps.width + cell_x;
      const float da = distance_of(camera, p[0]), db = distance_of(camera, p[1]);
      const float dc = distance_of(camera, p[maps.width]), dd = distance_of(camera, p[maps.width + 1]);
      // Split along the flatter diagonal: a-d, or b-c. The back is seen from the other side.
      const bool falling = fabsf(__fsub_rn(da, dd)) <= fabsf(__fsub_rn(db, dc));
      const int base = side * vertices;
      int first[3] = {a + base, c + base, (falling ? d : b) + base};
      int second[3] = {(falling ? a : b) + base, (falling ? d : c) + base, (falling ? b : d) + base};
      if (side) {
        const int t = first[1], u = second[1];
        first[1] = first[2], first[2] = t;
        second[1] = second[2], second[2] = u;
      }
      write_packed(faces + 3 * (2 * side * cells + place), own, first, stages[threadIdx.x / 32]);
      write_packed(faces + 3 * ((2 * side + 1) * cells + place), own, second, stages[threadIdx.x / 32]);
    }
  }

  // The cell lies to the left of start -> end, as the camera sees it.
  const unsigned sides[4] = {own & ~above, above & ~own, own & ~left, left & ~own};  // top, bottom, west, east
  long long edges = 0, before = 0;
#pragma unroll
  for (int s = 0; s < 4; ++s) edges += scratch.state[STATE_SUMS + TOP + s];
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    if (sides[s] >> lane & 1) {
      const bool forward = s == 1 || s == 2;  // from the pixel itself to the next one
      const int other_y = s < 2 ? y : y + 1, other_x = s < 2 ? x + 1 : x;
      const int own_number = number.of(y, x), other_number = number.of(other_y, other_x);
      const int own_border = on_border.of(y, x), other_border = on_border.of(other_y, other_x);
      const long long place = before + place_of_word(scratch, maps, TOP + s, index) + __popc(sides[s] & bits_below(lane));
      write_strip(faces, 4 * cells + place, edges, forward ? own_number : other_number, forward ? other_number : own_number,
                  forward ? own_border : other_border, forward ? other_border : own_border, vertices, border_count, rings);
    }
    before += scratch.state[STATE_SUMS + TOP + s];
  }
}
