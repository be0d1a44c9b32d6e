// wgmma in the test programs: 64 x 16 results of bf16 operands with 128-byte swizzles, a K-major, b N-major.
#pragma once

#include "hopper.h"

// `stride` bytes from eight lines of 128 bytes to the next.
__device__ inline uint64_t descriptor(const void* p, uint64_t stride) {
  return (shared_address(p) & 0x3ffff) >> 4 | uint64_t{1} << 16 | stride >> 4 << 32 | uint64_t{1} << 62;
}
__device__ inline void fence_registers() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int Left> __device__ inline void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Left) : "memory");
}
__device__ inline void multiply(float (&d)[8], uint64_t a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7}, %8, %9, 1, 1, 1, 0, 1;"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7])
      : "l"(a), "l"(b));
}
