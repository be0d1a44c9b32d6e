// The instructions that C++ has no name for: asynchronous copies into shared memory and the tensor cores of sm_80 and
// later. All inline PTX of the kernels is here. Semantics and fragment layouts: PTX ISA 8.0, sections "Data movement:
// cp.async", "ldmatrix" and "Matrix fragments for mma.m16n8k16 / mma.m16n8k8".
//
// Names used below: lane = threadIdx % 32, g = lane / 4 ("group"), q = lane % 4 ("place in the quad").
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace weft {

/// The 32-bit address of shared memory that the instructions below take.
__device__ __forceinline__ uint32_t shared_address(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

/// Starts a copy of Bytes (4, 8 or 16) from global to shared memory; both addresses are multiples of Bytes. Where
/// `inside` is false nothing is read (the global address must still be some valid one) and zeros are written.
/// 16 bytes pass the first-level cache by, smaller ones go through it.
template <int Bytes> __device__ __forceinline__ void copy_async(uint32_t shared, const void* global, bool inside) {
  static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16);
  const int bytes = inside ? Bytes : 0;
  if constexpr (Bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared), "l"(global),
                 "r"(bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;\n" ::"r"(shared), "l"(global),
                 "n"(Bytes), "r"(bytes)
                 : "memory");
  }
}

/// Closes this thread's group of copies started since the last call; an empty group is a group too.
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }

/// Waits until at most Pending of this thread's latest groups are under way. Other threads see the data after the next
/// barrier.
template <int Pending> __device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(Pending) : "memory");
}

/// Four 8x8 matrices of 16-bit elements from shared memory. Lane 8 i + r holds the address of row r (16 bytes, 16-byte
/// aligned) of matrix i; afterwards to[i] holds elements (g, 2 q) in its low and (g, 2 q + 1) in its high half.
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}

/// The same, each matrix transposed: to[i] holds elements (2 q, g) and (2 q + 1, g) of what lies in memory.
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&to)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}

/// d [16, 8] += a [16, 16] b [16, 8], bf16 factors and f32 sums.
/// As (row, column):
///
/// - a[0] holds (g, 2 q) and (g, 2 q + 1), a[1] the same 8 rows below, a[2] 8 columns to the right, a[3] both;
/// - b0 holds (2 q, g) and (2 q + 1, g), b1 the same 8 rows below;
/// - d[0], d[1] are (g, 2 q) and (g, 2 q + 1), d[2], d[3] the same 8 rows below.
__device__ __forceinline__ void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Two floats as bf16 in one word, rounded to nearest even, `low` in the low half: one piece of a fragment above.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}

/// The floats of such a word.
__device__ __forceinline__ float2 unpack_bf16(uint32_t pair) {
  return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u)};
}

}  // namespace weft
