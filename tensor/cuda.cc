#include "tensor/cuda.h"

#include <cuda_runtime_api.h>
#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define WEFT_HAS_NVTX
#endif

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string_view>
#include <vector>

#include "tensor/caching_allocator.h"
#include "tensor/check.h"
#include "tensor/cuda_graph.h"

namespace weft::cuda {

namespace {

bool environment_says(const char* name, std::string_view value) {
  const char* found = std::getenv(name);
  return found && found == value;
}

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

void check_driver(cudaError_t code) {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  check_input(
      driver != 0 || code == cudaSuccess,
      "cuda: no NVIDIA driver was found; --device cpu needs none, and scripts/vgpu runs the cuda device on the CPU");
  check_input(code != cudaErrorInsufficientDriver,
              "cuda: the NVIDIA driver is too old: it is for CUDA {} but weft was built with CUDA {}",
              version_text(driver), version_text(runtime));
  check_input(
      code != cudaErrorNoDevice,
      "cuda: no NVIDIA GPU was found; --device cpu needs none, and scripts/vgpu runs the cuda device on the CPU");
  check_cuda(code, "looking for a GPU");
}

Properties start() {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  check_driver(code == cudaSuccess && count == 0 ? cudaErrorNoDevice : code);
  check_cuda(cudaSetDevice(0), "choosing the first GPU");
  cudaDeviceProp found{};
  check_cuda(cudaGetDeviceProperties(&found, 0), "asking for the GPU's properties");
  const Properties p{found.name,
                     found.major,
                     found.minor,
                     found.multiProcessorCount,
                     static_cast<int64_t>(found.totalGlobalMem),
                     static_cast<int64_t>(found.sharedMemPerBlockOptin)};
  check_input(
      10 * p.major + p.minor >= WEFT_CUDA_ARCH,
      "cuda: {} has compute capability {}.{}, but this build has code for {}.{} and above only; build with -DWEFT_CUDA_ARCH={}{}",
      p.name, p.major, p.minor, WEFT_CUDA_ARCH / 10, WEFT_CUDA_ARCH % 10, p.major, p.minor);
  return p;
}

class CudaAllocator : public CachingAllocator {
  void* from_system(int64_t size) override {
    void* block = nullptr;
    const cudaError_t code = cudaMalloc(&block, size);
    if (code == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // forgotten, since the caller tries again
      return nullptr;
    }
    check_cuda(code, "allocating memory");
    return block;
  }

  // cudaFree waits for the kernels that still use the block. Errors at exit, when CUDA may be gone, have nobody to
  // tell.
  void to_system(void* block, int64_t) override { cudaFree(block); }

  void out_of_memory(int64_t size, const MemoryStats& held) override {
    size_t unused = 0, whole = 0;
    cudaMemGetInfo(&unused, &whole);
    fail("cuda: out of memory: {} bytes were asked for; tensors hold {}, and {} of the GPU's {} are free", size,
         held.live_bytes, unused, whole);
  }

  int64_t size_class(int64_t bytes) const override {
    return keeps_ ? std::max<int64_t>(512, CachingAllocator::size_class(bytes)) : bytes;
  }
  bool keeps_blocks() const override { return keeps_; }

  const bool keeps_ = !environment_says("WEFT_CUDA_CACHE", "off");
};

// Pinned buffers in turn, so that the host fills one while the GPU reads others.
class PinnedRing {
 public:
  struct Buffer {
    char* data = nullptr;
    Event used;  // by the copy that was last started
  };

  PinnedRing(size_t count, int64_t bytes) : bytes_each(bytes), buffers_(count) {
    check_cuda(cudaMallocHost(&all_, count * bytes), "allocating pinned memory");
    for (size_t i = 0; i < count; ++i) buffers_[i].data = static_cast<char*>(all_) + i * bytes;
  }
  ~PinnedRing() { cudaFreeHost(all_); }
  PinnedRing(const PinnedRing&) = delete;

  /// Waits until the GPU is done with what it held.
  Buffer& next() {
    Buffer& b = buffers_[turn_++ % buffers_.size()];
    b.used.wait();
    return b;
  }

  const int64_t bytes_each;

 private:
  void* all_ = nullptr;
  std::vector<Buffer> buffers_;
  size_t turn_ = 0;
};

class Staging {
 public:
  void to_device(char* to, const char* from, int64_t bytes) {
    const std::lock_guard lock(mutex_);
    refuse_in_graph();
    PinnedRing& ring = bytes <= small_.bytes_each ? small_ : large_;
    for (int64_t at = 0; at < bytes; at += ring.bytes_each) {
      PinnedRing::Buffer& b = ring.next();
      const int64_t n = std::min(ring.bytes_each, bytes - at);
      std::memcpy(b.data, from + at, n);
      check_cuda(cudaMemcpyAsync(to + at, b.data, n, cudaMemcpyHostToDevice, stream()), "copying to the GPU");
      b.used.record();
    }
  }

  void to_host(char* to, const char* from, int64_t bytes) {
    const std::lock_guard lock(mutex_);
    refuse_in_graph();
    const int64_t piece = large_.bytes_each;
    PinnedRing::Buffer* before = nullptr;
    const auto finish = [&](PinnedRing::Buffer& b, int64_t at) {
      b.used.wait();
      std::memcpy(to + at, b.data, std::min(piece, bytes - at));
    };
    for (int64_t at = 0; at < bytes; at += piece) {
      PinnedRing::Buffer& b = large_.next();
      check_cuda(cudaMemcpyAsync(b.data, from + at, std::min(piece, bytes - at), cudaMemcpyDeviceToHost, stream()),
                 "copying from the GPU");
      b.used.record();
      if (before) finish(*before, at - piece);
      before = &b;
    }
    if (before) finish(*before, (bytes - 1) / piece * piece);
  }

 private:
  // Run again, such a copy would find whatever the buffers hold then.
  static void refuse_in_graph() {
    check(!recording(), "[cuda graph] what is recorded cannot copy between host and device; do it before or after");
  }

  std::mutex mutex_;
  PinnedRing large_{2, 4 << 20};
  // A training step sends some dozens of short lists; the host waits for none of them.
  PinnedRing small_{64, 16 << 10};
};

Staging& staging() {
  static Staging buffers;
  return buffers;
}

}  // namespace

void check_cuda(int code, const char* what) {
  if (code == cudaSuccess) return;
  const auto error = static_cast<cudaError_t>(code);
  fail("cuda: {}: {} ({})", what, cudaGetErrorString(error), cudaGetErrorName(error));
}

const Properties& properties() {
  static const Properties found = start();
  return found;
}

CUstream_st* stream() {
  static cudaStream_t only = [] {
    properties();
    cudaStream_t s = nullptr;
    check_cuda(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "creating a stream");
    return s;
  }();
  return only;
}

void synchronize() { check_cuda(cudaStreamSynchronize(stream()), "waiting for the GPU"); }

CachingAllocator& allocator() {
  // Never destroyed, since tensors with static lifetime may outlive any other static object; what is cached goes back
  // at exit.
  static CachingAllocator* only = [] {
    stream();
    auto* allocator = new CudaAllocator;
    std::atexit([] { cuda::allocator().release_all(); });
    return allocator;
  }();
  return *only;
}

void copy_to_device(void* to, const void* from, int64_t bytes) {
  if (bytes > 0) staging().to_device(static_cast<char*>(to), static_cast<const char*>(from), bytes);
}

void copy_to_host(void* to, const void* from, int64_t bytes) {
  if (bytes > 0) staging().to_host(static_cast<char*>(to), static_cast<const char*>(from), bytes);
}

void copy_on_device(void* to, const void* from, int64_t bytes) {
  if (bytes > 0) check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream()), "copying on the GPU");
}

void zero(void* to, int64_t bytes) {
  if (bytes > 0) check_cuda(cudaMemsetAsync(to, 0, bytes, stream()), "filling with zeros");
}

Event::Event() {
  properties();
  check_cuda(cudaEventCreate(&event_), "creating an event");
}
Event::~Event() { cudaEventDestroy(event_); }
void Event::record() { check_cuda(cudaEventRecord(event_, stream()), "recording an event"); }
void Event::wait() const { check_cuda(cudaEventSynchronize(event_), "waiting for an event"); }

double Event::milliseconds_since(const Event& begin) const {
  wait();
  float milliseconds = 0;
  check_cuda(cudaEventElapsedTime(&milliseconds, begin.event_, event_), "measuring a time");
  return milliseconds;
}

LaunchScope::LaunchScope(const char* kernel) : kernel_(kernel) {
#ifdef WEFT_HAS_NVTX
  nvtxRangePushA(kernel);
#endif
}

LaunchScope::~LaunchScope() {
#ifdef WEFT_HAS_NVTX
  nvtxRangePop();
#endif
}

void LaunchScope::success() {
  static const bool wait = environment_says("WEFT_CUDA_SYNC", "1");
  check_cuda(cudaGetLastError(), kernel_);
  if (wait && !recording()) check_cuda(cudaStreamSynchronize(stream()), kernel_);
}

}  // namespace weft::cuda
