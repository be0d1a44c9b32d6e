#pragma once

#include <map>
#include <string>
#include <string_view>

namespace vgpu {

/// What ptxas gave a kernel, as its SASS executable (cubin) records it; the figures that `ptxas -v` prints.
struct Resources {
  int sm = 0;            ///< the architecture that ptxas compiled for; 0: unknown
  int registers = 0;     ///< per thread
  int stack_bytes = 0;   ///< per thread: arrays in local memory and spilled registers
  int shared_bytes = 0;  ///< static, per block
};

/// Resources by mangled kernel name. Throws std::runtime_error on a damaged file.
/// Layout: an ELF file; attributes 0x2f (registers) and 0x11 (frame) of section .nv.info, measured against `ptxas -v`.
std::map<std::string, Resources> read_cubin(std::string_view elf, int sm);

}  // namespace vgpu
