// A CUDA driver without a GPU, for tests: the calls of libcuda.so.1 that PyCUDA and this package make, on host memory.
//
// "Device" memory is the host's, filled with 0xcd when it is allocated and with 0xdd when it is freed. Every address that a copy
// or a fill touches must lie in one living allocation. Work is run at once, in the order in which it is put into streams, except
// inside a capture, where it is recorded and run by cuGraphLaunch. A module's image is the path of a shared library with, for each
// kernel, `<name>__host(dims, params)`, `<name>__describe(sizes)` (see tests/cuda_host) and `<name>__align(alignments)`. Environment:
//   FAKE_CUDA_DEVICES     how many devices there are (1)
//   FAKE_CUDA_CAPABILITY  theirs, as 10 * major + minor (90)
//   FAKE_CUDA_FAIL        name of a call that fails with "unknown error"
//   FAKE_CUDA_MEMORY      bytes of memory of the device (1 GiB)
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

using CUresult = int;
using Pointer = unsigned long long;

enum : CUresult {
  OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, CAPTURE_UNSUPPORTED = 900, UNKNOWN = 999
};

namespace {

struct Function {
  std::string name;
  void (*run)(const unsigned*, void**);
  std::vector<int> sizes, alignments;
};
struct Module { void* library; std::map<std::string, std::unique_ptr<Function>> functions; };
struct Launch { Function* function; unsigned dims[6]; unsigned shared; std::vector<std::vector<uint64_t>> values; };
struct Node { std::function<CUresult()> work; std::unique_ptr<Launch> launch; };
struct Graph { std::vector<std::unique_ptr<Node>> nodes; };
struct Executable { Graph* graph; std::map<Node*, std::unique_ptr<Launch>> changed; };
struct Stream { Graph* recording = nullptr; };
struct Event { Graph* recording = nullptr; };

bool initialised = false;
int contexts = 0;
std::map<Pointer, size_t> device_memory, host_memory;
size_t in_use = 0;
long calls_of_malloc = 0;
thread_local std::vector<void*> current;
Stream default_stream;
char the_context;

const char* setting(const char* name, const char* otherwise) { const char* v = std::getenv(name); return v && *v ? v : otherwise; }
size_t total_memory() { return std::strtoull(setting("FAKE_CUDA_MEMORY", "1073741824"), nullptr, 10); }
bool fails(const char* name) { return std::strcmp(setting("FAKE_CUDA_FAIL", ""), name) == 0; }

#define CALL(name) \
  if (fails(#name)) return UNKNOWN; \
  if (!initialised) return NOT_INITIALIZED
#define CONTEXT(name) \
  CALL(name); \
  if (current.empty()) return INVALID_CONTEXT

// Whether the bytes lie in one allocation.
bool inside(Pointer p, size_t n) {
  auto next = device_memory.upper_bound(p);
  if (next == device_memory.begin()) return false;
  --next;
  return p + n <= next->first + next->second;
}

Stream& stream_of(void* handle) { return handle ? *static_cast<Stream*>(handle) : default_stream; }

CUresult submit(void* handle, std::function<CUresult()> work) {
  Stream& stream = stream_of(handle);
  if (!stream.recording) return work();
  auto node = std::make_unique<Node>();
  node->work = std::move(work);
  stream.recording->nodes.push_back(std::move(node));
  return OK;
}

CUresult execute(const Launch& launch) {
  std::vector<void*> params;
  for (const auto& value : launch.values) params.push_back(const_cast<uint64_t*>(value.data()));
  launch.function->run(launch.dims, params.data());
  return OK;
}

// The parameters, from an array of addresses or from one block laid out as CUDA lays it out.
CUresult read_values(Launch& launch, void** params, void** extra) {
  const char* block = nullptr;
  size_t length = 0;
  if (extra)
    for (int i = 0; extra[i]; i += 2) {
      if (extra[i] == reinterpret_cast<void*>(1)) block = static_cast<const char*>(extra[i + 1]);
      if (extra[i] == reinterpret_cast<void*>(2)) length = *static_cast<size_t*>(extra[i + 1]);
    }
  size_t at = 0;
  for (size_t i = 0; i < launch.function->sizes.size(); ++i) {
    const int described = launch.function->sizes[i];
    const size_t size = described < 0 ? -described : described, alignment = launch.function->alignments[i];
    std::vector<uint64_t> value((size + 7) / 8);
    if (block) {
      at = (at + alignment - 1) / alignment * alignment;
      if (at + size > length) return INVALID_VALUE;
      std::memcpy(value.data(), block + at, size);
      at += size;
    } else {
      std::memcpy(value.data(), params[i], size);
    }
    launch.values.push_back(std::move(value));
  }
  return block && at != length ? INVALID_VALUE : OK;
}

CUresult check_dims(const unsigned* dims) {
  for (int i = 0; i < 6; ++i) if (dims[i] == 0) return INVALID_VALUE;
  return dims[3] * dims[4] * dims[5] > 1024 || dims[1] > 65535 || dims[2] > 65535 ? INVALID_VALUE : OK;
}

}  // namespace

extern "C" {

long fake_allocations() { return (long)device_memory.size(); }
long fake_mallocs() { return calls_of_malloc; }

CUresult cuInit(unsigned) { if (fails("cuInit")) return UNKNOWN; if (!std::atoi(setting("FAKE_CUDA_DEVICES", "1"))) return NO_DEVICE; initialised = true; return OK; }
CUresult cuDriverGetVersion(int* v) { *v = 13000; return OK; }
CUresult cuGetErrorString(CUresult e, const char** text) {
  static const std::map<CUresult, const char*> texts = {
      {OK, "no error"}, {INVALID_VALUE, "invalid argument"}, {OUT_OF_MEMORY, "out of memory"}, {NOT_INITIALIZED, "initialization error"},
      {NO_DEVICE, "no CUDA-capable device is detected"}, {INVALID_DEVICE, "invalid device ordinal"},
      {INVALID_IMAGE, "device kernel image is invalid"}, {INVALID_CONTEXT, "invalid device context"},
      {INVALID_HANDLE, "invalid resource handle"}, {NOT_FOUND, "named symbol not found"},
      {ILLEGAL_ADDRESS, "an illegal memory access was encountered"},
      {CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing"}, {UNKNOWN, "unknown error"}};
  auto found = texts.find(e);
  *text = found == texts.end() ? "unrecognized error code" : found->second;
  return OK;
}
CUresult cuDeviceGetCount(int* n) { CALL(cuDeviceGetCount); *n = std::atoi(setting("FAKE_CUDA_DEVICES", "1")); return OK; }
CUresult cuDeviceGet(int* d, int i) { CALL(cuDeviceGet); if (i < 0 || i >= std::atoi(setting("FAKE_CUDA_DEVICES", "1"))) return INVALID_DEVICE; *d = i; return OK; }
CUresult cuDeviceGetName(char* name, int n, int) { CALL(cuDeviceGetName); std::snprintf(name, n, "Fake GPU"); return OK; }
CUresult cuDeviceComputeCapability(int* a, int* b, int) { CALL(cuDeviceComputeCapability); int c = std::atoi(setting("FAKE_CUDA_CAPABILITY", "90")); *a = c / 10; *b = c % 10; return OK; }
CUresult cuDeviceTotalMem_v2(size_t* n, int) { CALL(cuDeviceTotalMem_v2); *n = total_memory(); return OK; }
CUresult cuDeviceGetAttribute(int* v, int, int) { CALL(cuDeviceGetAttribute); *v = 132; return OK; }
CUresult cuDevicePrimaryCtxRetain(void** c, int) { CALL(cuDevicePrimaryCtxRetain); *c = &the_context; ++contexts; return OK; }
CUresult cuDevicePrimaryCtxRelease_v2(int) { CALL(cuDevicePrimaryCtxRelease_v2); --contexts; return OK; }
CUresult cuCtxPushCurrent_v2(void* c) { CALL(cuCtxPushCurrent_v2); current.push_back(c); return OK; }
CUresult cuCtxPopCurrent_v2(void** c) { CALL(cuCtxPopCurrent_v2); if (current.empty()) return INVALID_CONTEXT; *c = current.back(); current.pop_back(); return OK; }
CUresult cuCtxGetDevice(int* d) { CONTEXT(cuCtxGetDevice); *d = 0; return OK; }
CUresult cuCtxSynchronize() { CONTEXT(cuCtxSynchronize); return OK; }
CUresult cuMemGetInfo_v2(size_t* f, size_t* t) { CONTEXT(cuMemGetInfo_v2); *t = total_memory(); *f = *t - in_use; return OK; }

CUresult cuMemAlloc_v2(Pointer* p, size_t n) {
  CONTEXT(cuMemAlloc_v2);
  if (in_use + n > total_memory()) return OUT_OF_MEMORY;
  void* memory = std::aligned_alloc(256, (n + 255) / 256 * 256);
  std::memset(memory, 0xcd, n);
  *p = reinterpret_cast<Pointer>(memory);
  device_memory[*p] = n;
  in_use += n;
  ++calls_of_malloc;
  return OK;
}
CUresult cuMemFree_v2(Pointer p) {
  CONTEXT(cuMemFree_v2);
  auto found = device_memory.find(p);
  if (found == device_memory.end()) return INVALID_VALUE;
  std::memset(reinterpret_cast<void*>(p), 0xdd, found->second);
  in_use -= found->second;
  device_memory.erase(found);
  std::free(reinterpret_cast<void*>(p));
  return OK;
}
CUresult cuMemHostAlloc(void** p, size_t n, unsigned) { CONTEXT(cuMemHostAlloc); *p = std::malloc(n ? n : 1); host_memory[(Pointer)*p] = n; ++calls_of_malloc; return OK; }
CUresult cuMemFreeHost(void* p) { CALL(cuMemFreeHost); host_memory.erase((Pointer)p); std::free(p); return OK; }
CUresult cuMemcpyHtoDAsync_v2(Pointer d, const void* s, size_t n, void* stream) {
  CONTEXT(cuMemcpyHtoDAsync_v2);
  return submit(stream, [=] { if (!inside(d, n)) return ILLEGAL_ADDRESS; std::memcpy((void*)d, s, n); return OK; });
}
CUresult cuMemcpyDtoHAsync_v2(void* d, Pointer s, size_t n, void* stream) {
  CONTEXT(cuMemcpyDtoHAsync_v2);
  return submit(stream, [=] { if (!inside(s, n)) return ILLEGAL_ADDRESS; std::memcpy(d, (void*)s, n); return OK; });
}
CUresult cuMemcpyDtoDAsync_v2(Pointer d, Pointer s, size_t n, void* stream) {
  CONTEXT(cuMemcpyDtoDAsync_v2);
  return submit(stream, [=] { if (!inside(d, n) || !inside(s, n)) return ILLEGAL_ADDRESS; std::memmove((void*)d, (void*)s, n); return OK; });
}
CUresult cuMemsetD8Async(Pointer d, unsigned char v, size_t n, void* stream) {
  CONTEXT(cuMemsetD8Async);
  return submit(stream, [=] { if (!inside(d, n)) return ILLEGAL_ADDRESS; std::memset((void*)d, v, n); return OK; });
}

CUresult cuStreamCreate(void** s, unsigned) { CONTEXT(cuStreamCreate); *s = new Stream; return OK; }
CUresult cuStreamDestroy_v2(void* s) { CONTEXT(cuStreamDestroy_v2); delete static_cast<Stream*>(s); return OK; }
CUresult cuStreamQuery(void*) { return OK; }
CUresult cuStreamSynchronize(void* s) { CONTEXT(cuStreamSynchronize); return stream_of(s).recording ? CAPTURE_UNSUPPORTED : OK; }
CUresult cuStreamWaitEvent(void* s, void* e, unsigned) {
  CONTEXT(cuStreamWaitEvent);
  if (static_cast<Event*>(e)->recording) stream_of(s).recording = static_cast<Event*>(e)->recording;  // joins the capture
  return OK;
}
CUresult cuEventCreate(void** e, unsigned) { CONTEXT(cuEventCreate); *e = new Event; return OK; }
CUresult cuEventDestroy_v2(void* e) { CONTEXT(cuEventDestroy_v2); delete static_cast<Event*>(e); return OK; }
CUresult cuEventRecord(void* e, void* s) { CONTEXT(cuEventRecord); static_cast<Event*>(e)->recording = stream_of(s).recording; return OK; }
CUresult cuEventSynchronize(void*) { return OK; }
CUresult cuEventQuery(void*) { return OK; }
CUresult cuEventElapsedTime_v2(float* ms, void*, void*) { *ms = 0.5f; return OK; }

CUresult cuModuleLoadDataEx(void** m, const void* image, unsigned, void*, void*) {
  CONTEXT(cuModuleLoadDataEx);
  void* library = std::strncmp(static_cast<const char*>(image), "/", 1) ? nullptr : dlopen(static_cast<const char*>(image), RTLD_NOW);
  if (!library) return INVALID_IMAGE;
  *m = new Module{library, {}};
  return OK;
}
CUresult cuModuleLoadData(void** m, const void* image) { return cuModuleLoadDataEx(m, image, 0, nullptr, nullptr); }
CUresult cuModuleUnload(void* m) { CONTEXT(cuModuleUnload); delete static_cast<Module*>(m); return OK; }
CUresult cuModuleGetFunction(void** f, void* m, const char* name) {
  CONTEXT(cuModuleGetFunction);
  auto& module = *static_cast<Module*>(m);
  auto run = reinterpret_cast<void (*)(const unsigned*, void**)>(dlsym(module.library, (std::string(name) + "__host").c_str()));
  auto describe = reinterpret_cast<int (*)(int*)>(dlsym(module.library, (std::string(name) + "__describe").c_str()));
  auto align = reinterpret_cast<void (*)(int*)>(dlsym(module.library, (std::string(name) + "__align").c_str()));
  if (!run || !describe || !align) return NOT_FOUND;
  std::vector<int> sizes(describe(nullptr) + 1), alignments(sizes.size());
  describe(sizes.data());
  align(alignments.data());
  sizes.pop_back();
  auto& slot = module.functions[name];
  slot = std::make_unique<Function>(Function{name, run, sizes, alignments});
  *f = slot.get();
  return OK;
}
CUresult cuFuncGetAttribute(int* v, int, void*) { *v = 32; return OK; }
CUresult cuFuncSetAttribute(void*, int, int) { return fails("cuFuncSetAttribute") ? UNKNOWN : OK; }
CUresult cuFuncSetBlockShape(void*, int, int, int) { return OK; }
CUresult cuLaunchKernel(void* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void* stream,
                        void** params, void** extra) {
  CONTEXT(cuLaunchKernel);
  auto launch = std::make_unique<Launch>(Launch{static_cast<Function*>(f), {gx, gy, gz, bx, by, bz}, shared, {}});
  if (CUresult bad = check_dims(launch->dims)) return bad;
  if (CUresult bad = read_values(*launch, params, extra)) return bad;
  Stream& into = stream_of(stream);
  if (!into.recording) return execute(*launch);
  auto node = std::make_unique<Node>();
  node->launch = std::move(launch);
  into.recording->nodes.push_back(std::move(node));
  return OK;
}

CUresult cuStreamBeginCapture_v2(void* s, int) { CONTEXT(cuStreamBeginCapture_v2); if (stream_of(s).recording) return INVALID_VALUE; stream_of(s).recording = new Graph; return OK; }
CUresult cuStreamEndCapture(void* s, void** g) { CONTEXT(cuStreamEndCapture); *g = stream_of(s).recording; stream_of(s).recording = nullptr; return *g ? OK : INVALID_VALUE; }
CUresult cuStreamGetCaptureInfo_v2(void* s, int* status, uint64_t* id, void** g, void* const** nodes, size_t* n) {
  static thread_local void* last;
  Graph* graph = stream_of(s).recording;
  *status = graph ? 1 : 0; *id = 1; *g = graph; *n = 0;
  if (graph && !graph->nodes.empty()) { last = graph->nodes.back().get(); *nodes = &last; *n = 1; }
  return OK;
}
CUresult cuGraphGetNodes(void* g, void**, size_t* n) { *n = static_cast<Graph*>(g)->nodes.size(); return OK; }
CUresult cuGraphInstantiateWithFlags(void** e, void* g, unsigned long long) { CONTEXT(cuGraphInstantiateWithFlags); *e = new Executable{static_cast<Graph*>(g), {}}; return OK; }
CUresult cuGraphExecDestroy(void* e) { delete static_cast<Executable*>(e); return OK; }
CUresult cuGraphDestroy(void* g) { delete static_cast<Graph*>(g); return OK; }
CUresult cuGraphLaunch(void* e, void*) {
  CONTEXT(cuGraphLaunch);
  auto& executable = *static_cast<Executable*>(e);
  for (auto& node : executable.graph->nodes) {
    auto found = executable.changed.find(node.get());
    const Launch* launch = found == executable.changed.end() ? node->launch.get() : found->second.get();
    if (CUresult bad = launch ? execute(*launch) : node->work()) return bad;
  }
  return OK;
}

struct KernelNode { void* function; unsigned dims[6]; unsigned shared; void** params; void** extra; void* kernel; void* context; };
CUresult cuGraphKernelNodeGetParams_v2(void* n, KernelNode* p) {
  auto& node = *static_cast<Node*>(n);
  if (!node.launch) return INVALID_VALUE;
  *p = KernelNode{node.launch->function, {}, 0, nullptr, nullptr, nullptr, nullptr};
  return OK;
}
CUresult cuGraphExecKernelNodeSetParams_v2(void* e, void* n, const KernelNode* p) {
  CONTEXT(cuGraphExecKernelNodeSetParams_v2);
  auto& node = *static_cast<Node*>(n);
  if (!node.launch || p->function != node.launch->function) return INVALID_VALUE;
  auto launch = std::make_unique<Launch>(Launch{static_cast<Function*>(p->function), {}, p->shared, {}});
  std::memcpy(launch->dims, p->dims, sizeof p->dims);
  if (CUresult bad = check_dims(launch->dims)) return bad;
  if (CUresult bad = read_values(*launch, p->params, p->extra)) return bad;
  static_cast<Executable*>(e)->changed[&node] = std::move(launch);
  return OK;
}
}
