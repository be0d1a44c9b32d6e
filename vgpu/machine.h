// The virtual GPU's core: runs PTX on the CPU, a warp at a time, and checks what it runs.
// A device address is a host address; generic addresses of shared and local memory lie in windows that no host pointer
// reaches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace vgpu {

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t{x} * y * z; }
};

// What is checked while a kernel runs. Bounds, alignment, barriers and shuffle masks are always checked.
enum Check : unsigned {
  check_race = 1,    // conflicting accesses that no barrier, __syncwarp or atomic orders
  check_uninit = 2,  // reads of shared or global bytes that nothing wrote
  check_all = 3,
};

// "all", "none" or a comma-separated list of "race" and "uninit" ("bounds", "align", "barrier", "shuffle" and "leak"
// are accepted: the first four are always on, the last is the runtime's). Throws std::invalid_argument on any other
// word.
unsigned parse_checks(std::string_view list);

struct Options {
  unsigned checks = check_all;
  bool count = true;      // count per instruction (Machine::counts)
  uint64_t schedule = 0;  // 0: blocks and warps in order; otherwise the seed of a random order
  bool perturb =
      false;  // moves the results of approximate instructions within their documented error, by the schedule's seed
  int threads = 0;  // cores that blocks are spread over; 0: all
  uint32_t sm_count = 132,
           max_shared_per_block = 227 * 1024;  // of the GPU that is stood in for (%nsmid; the launch's limit)
  uint64_t max_warp_instructions =
      0;  // a warp that executes more of them in one launch is reported as stuck; 0: no limit
};

// One finding. `text` is the whole report, several lines, the first being "vgpu: KIND: ...".
struct Report {
  std::string
      kind;  // "data race", "out of bounds", "use after free", "misaligned access", "uninitialised read", "barrier",
             // "shuffle mask", "cp.async", "assert", "trap", "unsupported instruction", "launch", "stuck"
  std::string text;
};

// Thrown by parsing and launching when no handler ends the program (see Machine::on_fault).
struct Fault : std::runtime_error {
  explicit Fault(Report r) : std::runtime_error(r.text), report(std::move(r)) {}
  Report report;
};

// The allocations that kernels may touch. Thread-safe; nothing here may be called while a launch runs.
enum class MemoryKind { device, managed, host, symbol };

struct Allocation {
  uint64_t address = 0;
  size_t bytes = 0;
  MemoryKind kind = MemoryKind::device;
  std::string name;  // what reports call it, with where it was allocated: "cudaMalloc #3 of 4096 bytes"
};

class Memory {
 public:
  Memory();
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  // The caller owns the bytes. `initialised`: reads before any write are fine (host memory).
  void add(const void* address, size_t bytes, MemoryKind kind, std::string name, bool initialised = false);
  // Later accesses are reported as use after free, with `where`, until an allocation covers the range again. The caller
  // should keep the bytes from being handed out again for as long as it can. False: no allocation begins there.
  bool remove(const void* address, std::string where = "");
  // The live allocation that holds [address, address + bytes) entirely.
  std::optional<Allocation> find(const void* address, size_t bytes = 1) const;
  std::vector<Allocation> live() const;
  size_t live_bytes(MemoryKind kind) const;

  // Host side of the uninitialised-read check: bytes written by a copy or a memset; a copy from device memory carries
  // over what of its source was initialised. Ranges outside of allocations are ignored.
  void written(const void* address, size_t bytes);
  void copied(const void* to, const void* from, size_t bytes);
  // Offset of the first byte that nothing wrote; none if all were written.
  std::optional<size_t> first_uninitialised(const void* address, size_t bytes) const;

  struct Impl;
  Impl& impl() const { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

struct Parameter {
  uint32_t offset = 0, bytes = 0;
};

struct Program;  // what runs (code.h)

// A kernel as the runtime sees it. Pointers stay valid as long as the module.
struct Kernel {
  std::string name;                   // as in the PTX, mangled
  std::vector<Parameter> parameters;  // where each lies in the parameter block
  uint32_t parameter_bytes = 0;
  uint32_t static_shared = 0;   // bytes, without the launch's dynamic ones
  uint32_t local_bytes = 0;     // per thread
  uint32_t max_threads = 1024;  // .maxntid, .reqntid
  const Program* code = nullptr;
};

struct Counts {
  uint64_t instructions = 0;                       // warp instructions issued
  uint64_t lanes = 0;                              // sum of active lanes over them
  uint64_t flop_fma = 0;                           // add, mul (1) and fma (2) of f16, bf16, f32, f64
  uint64_t flop_mufu = 0;                          // results of rcp, rsqrt, sqrt, ex2, lg2, sin, cos, tanh
  uint64_t flop_mma = 0;                           // 2 m n k per tensor instruction
  uint64_t global_requests = 0, global_bytes = 0;  // loads, stores and atomics of lanes that were active
  uint64_t global_sectors = 0,
           global_sectors_min = 0;  // 32-byte sectors touched per request; what the distinct bytes need at least
  uint64_t shared_requests = 0, shared_bytes = 0;
  uint64_t shared_wavefronts = 0, shared_wavefronts_min = 0;  // their difference are the bank conflicts
  uint64_t local_bytes = 0;                                   // spills and arrays in local memory
  uint64_t atomics = 0;                                       // lanes
  uint64_t barriers = 0;                                      // warps that arrived
  uint64_t branches = 0, divergent = 0;                       // warp branches; those where lanes parted

  Counts& operator+=(const Counts& other);
};

struct InstructionCounts {
  std::string text;  // the PTX
  int ptx_line = 0;
  std::string file;  // source of -lineinfo, where the code was inlined to; empty without it
  int line = 0;
  Counts counts;
};

// Summed over the launches since the last reset.
struct KernelCounts {
  std::string name;
  uint64_t launches = 0, blocks = 0, threads = 0;
  uint64_t unique_read_bytes = 0,
           unique_written_bytes = 0;  // distinct 32-byte sectors of global memory, times 32, per launch
  Counts total;
  std::vector<InstructionCounts> instructions;
};

// The PTX of one fat binary. Parsed at the first question; throws or reports "unsupported instruction" when a kernel is
// launched that holds one (a kernel that is never launched may hold anything).
class Module {
 public:
  ~Module();
  const Kernel* find_kernel(std::string_view name);
  std::vector<std::string> kernel_names();
  // Address and bytes of a __device__ or __constant__ variable; address 0: none of that name.
  struct Symbol {
    void* address = nullptr;
    size_t bytes = 0;
  };
  Symbol find_symbol(std::string_view name);

  struct Impl;
  Impl& impl() const { return *impl_; }

 private:
  friend class Machine;
  explicit Module(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

struct Launch {
  const Kernel* kernel = nullptr;
  Dim3 grid, block;
  size_t dynamic_shared = 0;
  const void* parameters = nullptr;  // kernel->parameter_bytes, laid out as kernel->parameters say
  std::string label;                 // shown in reports, such as "stream 2"; may be empty
};

class Machine {
 public:
  explicit Machine(Options options = {});
  ~Machine();

  const Options& options() const;
  Memory& memory();

  // `ptx` is one translation unit's text. The module lives as long as the machine, or until unload.
  Module& load(std::string ptx);
  void unload(Module& module);

  // Runs to the end before it returns. Same inputs, options and program: the same bytes, whatever the number of
  // threads.
  void launch(const Launch& launch);

  // A fault ends the launch; the handler is called on the launching thread. The default prints the report on stderr and
  // ends the program with exit code 1; if a handler returns, Fault is thrown. Faults while parsing take the same way.
  void on_fault(std::function<void(const Report&)> handler);
  // Findings that are not errors (kinds "same-value write" and "ordered by a shuffle only"): once per pair of source
  // places. The default prints them on stderr.
  void on_warning(std::function<void(const Report&)> handler);
  // Output of device printf, in block order, when the launch ends. The default writes to stdout.
  void on_print(std::function<void(std::string_view)> handler);

  std::vector<KernelCounts> counts() const;  // of kernels launched since the last reset, in order of first launch
  void reset_counts();

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace vgpu
