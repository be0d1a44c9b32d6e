// The CUDA runtime as weft sees it: one GPU, one stream in which all work on tensors is ordered. Host C++ without CUDA's headers;
// only builds with WEFT_HAS_CUDA have it. Every failure is a std::runtime_error that says what was being done.
#pragma once

#include <cstdint>
#include <string>

// CUDA's own names of its handles: a cudaStream_t is a CUstream_st*, a cudaEvent_t a CUevent_st*.
struct CUstream_st;
struct CUevent_st;

namespace weft {

class CachingAllocator;

namespace cuda {

struct Properties {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  int64_t memory_bytes = 0;
  int64_t shared_bytes_per_block = 0;  // the most that a kernel may ask for
};

/// Of the GPU in use, the first one that CUDA lists (CUDA_VISIBLE_DEVICES chooses). The first call to anything here starts CUDA; if
/// there is no driver, an old one, no GPU, or one for which this build has no code, the error says so and what helps.
const Properties& properties();

/// The stream of all kernels and copies.
CUstream_st* stream();
/// Waits until everything in the stream is done. An error of an earlier kernel shows here at the latest.
void synchronize();

/// Blocks are reused as soon as they are freed, which the stream's order makes safe. With WEFT_CUDA_CACHE=off in the environment
/// each has exactly the bytes asked for and goes back at once, so that a checker sees every access outside of it.
CachingAllocator& allocator();

/// Copies, in the stream's order. Host memory may be changed or freed on return; it goes through pinned memory, which is what lets
/// a GPU copy while it computes. copy_to_host waits for the result.
void copy_to_device(void* to, const void* from, int64_t bytes);
void copy_to_host(void* to, const void* from, int64_t bytes);
void copy_on_device(void* to, const void* from, int64_t bytes);
void zero(void* to, int64_t bytes);

/// A point in the stream.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  void record();
  void wait() const;  // the host waits until the stream has passed it
  /// The GPU's time from `begin` to this, in milliseconds. Waits for both.
  double milliseconds_since(const Event& begin) const;

 private:
  CUevent_st* event_ = nullptr;
};

/// Throws unless `code`, a cudaError_t, is success: "cuda: `what`: CUDA's name and words".
void check_cuda(int code, const char* what);

/// Around one kernel's start: an NVTX range of its name for profilers; on success() the launch itself is checked. With
/// WEFT_CUDA_SYNC=1 in the environment success() also waits, so that an error while running names its kernel.
class LaunchScope {
 public:
  explicit LaunchScope(const char* kernel);
  ~LaunchScope();
  LaunchScope(const LaunchScope&) = delete;
  void success();

 private:
  const char* kernel_;
};

}  // namespace cuda

}  // namespace weft
