#include "vgpu/runtime/errors.h"

extern "C" [[noreturn]] void vgpu_refuse_call(const char* name) {
  vgpu::refuse(std::string(name) + ": the virtual GPU lacks this call");
}
