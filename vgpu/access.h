// Memory instructions: where the lanes' bytes lie, and everything that is checked before they are touched.
#pragma once

#include "vgpu/warp.h"

namespace vgpu {

enum class AccessKind : u8 { read, write, atomic };

struct Access {
  alignas(64) u64 address[warp_size];  // generic or of the space; after prepare() offsets from the base. Idle lanes
                                       // repeat an active one
  u32 mask = 0;
  u32 bytes = 0;  // per lane
  Space space = Space::generic;
  bool contiguous = false;     // the full warp, one lane after another
  const u8* values = nullptr;  // what is to be written, 32 times `bytes`; null: the instruction's mover knows
};

// The lanes' addresses: register operand `reg` plus the instruction's offset.
void gather_addresses(const Warp& w, const Inst& in, u32 reg, u32 mask, Access& access);

// Lanes of the access that lie in the same space as its first; sets the space where the instruction's is generic.
u32 split_by_space(const Inst& in, Access& access);

// Checks bounds, alignment, initialisation and races, counts, marks what is written. Lane l's bytes then lie at the
// returned base plus address[l].
u8* prepare(Warp& w, const Inst& in, Access& access, AccessKind kind);

// Bounds only: a host pointer for `bytes` at a generic or global address (printf's arguments and the like).
u8* resolve(Warp& w, const Inst& in, int lane, u64 address, u32 bytes, Space space);

// The same for bytes in a row of global memory that an asynchronous copy reads or writes for one lane; nothing moves.
void touch_global(Warp& w, const Inst& in, int lane, u64 address, u32 bytes, AccessKind kind);

// Bytes in a row of shared memory that a bulk copy or wgmma touches: 128 of them a wavefront.
inline void count_bulk(Counts& c, u32 bytes) {
  c.shared_requests++;
  c.shared_bytes += bytes;
  c.shared_wavefronts += (bytes + 127) / 128;
  c.shared_wavefronts_min += (bytes + 127) / 128;
}
void count_shared(Counts& c, const u64* address, u32 mask, u32 bytes);
void count_global(Counts& c, const u64* address, u32 mask, u32 bytes, bool contiguous);

// "0x7f.. = cudaMalloc #3 of 4096 bytes + 128"
std::string describe_address(const Warp& w, u64 address, Space space);

}  // namespace vgpu
