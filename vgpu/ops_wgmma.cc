// wgmma: products of a warpgroup, 64 x N, of f16, bf16, tf32, s8 and u8, with B and perhaps A in shared memory behind
// matrix descriptors. Layouts of the PTX ISA 9.0, 9.7.15.5; each warp computes its 16 rows.
#include <fmt/format.h>

#include <algorithm>

#include "vgpu/access.h"
#include "vgpu/async.h"
#include "vgpu/decoder.h"
#include "vgpu/half.h"
#include "vgpu/wgmma.h"

namespace vgpu {
namespace {

constexpr int rows = 16, most_columns = 256, most_depth = 32;
constexpr u32 unit = 16;  // bytes; what swizzles move

enum WgmmaFlags : u16 {
  a_in_registers = 1,
  a_transposed = 2,
  b_transposed = 4,
  a_negated = 8,
  b_negated = 16,
  half_result = 32,
  saturate = 64,
  a_signed = 128,
  b_signed = 256,
  reversed = 512
};

enum class Input { f16, bf16, tf32, byte };

constexpr int element_bytes(Input i) { return i == Input::byte ? 1 : i == Input::tf32 ? 4 : 2; }
constexpr int depth_of(Input i) { return 32 / element_bytes(i); }

// A matrix in shared memory: `mn` counts rows of A or columns of B, in K-major layouts one after another, in the other
// eight of them a unit.
struct Matrix {
  u32 start = 0, leading = 0, stride = 0;  // bytes
  u32 base_offset = 0, swizzle = 0;        // 0, 32, 64 or 128 bytes
  bool mn_major = false;

  // Byte address of a unit. K-major: 16 bytes of row `mn`, the `k`-th; else eight 2-byte elements from 8 mn on, row
  // `k`.
  u32 address(u32 mn, u32 k) const {
    u32 at = start;
    if (!mn_major) {
      at += mn / 8 * stride + mn % 8 * (swizzle ? swizzle : unit) + (swizzle ? k * unit : k * leading);
    } else if (swizzle) {
      const u32 across = swizzle / unit;
      at += mn % across * unit + mn / across * leading + k % 8 * swizzle + k / 8 * stride;
    } else {
      at += mn * stride + k % 8 * unit + k / 8 * leading;
    }
    return swizzle ? at ^ (((at >> 7) - base_offset) << 4 & (swizzle - 16) & 0x70) : at;
  }
};

Matrix read_descriptor(const Warp& w, const Inst& in, u64 d, bool mn_major) {
  constexpr u64 reserved = 0x3ff1c000c000c000;  // bits 14-15, 30-31, 46-48, 52-61
  if (d & reserved)
    fault(w, in, -1, "wgmma", fmt::format("the matrix descriptor {:#x} has bits that the PTX ISA does not define", d));
  constexpr u32 swizzles[] = {0, 128, 64, 32};
  Matrix m;
  m.start = static_cast<u32>(d & 0x3fff) << 4;
  m.leading = static_cast<u32>(d >> 16 & 0x3fff) << 4;
  m.stride = static_cast<u32>(d >> 32 & 0x3fff) << 4;
  m.base_offset = static_cast<u32>(d >> 49 & 7);
  m.swizzle = swizzles[d >> 62];
  m.mn_major = mn_major;
  return m;
}

// Units in the order of their addresses as far as neighbours go, as runs of bytes.
class Runs {
 public:
  void add(u32 address) {
    if (!runs_.empty() && runs_.back().address + runs_.back().bytes == address) {
      runs_.back().bytes += unit;
    } else if (!runs_.empty() && address + unit == runs_.back().address) {
      runs_.back() = {address, runs_.back().bytes + unit};
    } else {
      runs_.push_back({address, unit});
    }
  }
  std::vector<SharedRun> take() { return std::move(runs_); }

 private:
  std::vector<SharedRun> runs_;
};

template <Input I, class T>
T element(const u8* p, bool is_signed) {
  if constexpr (I == Input::byte) {
    return is_signed ? T{static_cast<i8>(*p)} : T{*p};
  } else if constexpr (I == Input::tf32) {
    u32 word;
    std::memcpy(&word, p, 4);
    return f32(word & ~0x1fffu);  // the low 13 bits are not looked at
  } else {
    u16 half;
    std::memcpy(&half, p, 2);
    return I == Input::bf16 ? from_bf16(half) : from_f16(half);
  }
}

// Elements [from, from + count) of a matrix as to[k][i]; `mine`: of which part the reads are recorded as this warp's.
template <Input I, class T>
void load_matrix(Warp& w, const Inst& in, const Matrix& x, u32 from, u32 count, u32 mine, u32 mine_count, T* to,
                 u32 pitch, bool is_signed, Runs& runs) {
  constexpr u32 bytes = element_bytes(I), elements = unit / bytes;
  const u8* shared = w.block->shared;
  const auto place = [&](u32 mn, u32 k, bool record) {
    const u32 at = x.address(mn, k);
    if (u64{at} + unit > w.block->shared_bytes)
      fault(w, in, -1, "out of bounds",
            fmt::format("a matrix of wgmma reaches {}", describe_address(w, at, Space::shared)));
    if (record) runs.add(at);
    return shared + at;
  };
  if (!x.mn_major) {
    for (u32 i = 0; i < count; i++)
      for (u32 k = 0; k < 2; k++) {
        const u8* p = place(from + i, k, i >= mine && i < mine + mine_count);
        for (u32 e = 0; e < elements; e++) to[(k * elements + e) * pitch + i] = element<I, T>(p + e * bytes, is_signed);
      }
    return;
  }
  for (u32 k = 0; k < 16; k++)
    for (u32 i = 0; i < count; i += 8) {
      const u8* p = place((from + i) / 8, k, i >= mine && i < mine + mine_count);
      for (u32 e = 0; e < 8; e++) to[k * pitch + i + e] = element<I, T>(p + e * bytes, is_signed);
    }
}

// Fragments of A as in mma.m16n8: register r holds row g + 8 (r % 2) and 4 bytes from byte 4q + 16 (r / 2) of it.
template <Input I, class T>
void load_fragments(Warp& w, const u32* registers, T* to, bool is_signed) {
  constexpr u32 bytes = element_bytes(I), elements = 4 / bytes;
  for (u32 r = 0; r < 4; r++) {
    const u32* v = w.lanes<u32>(registers[r]);
    for (u32 l = 0; l < warp_size; l++)
      for (u32 e = 0; e < elements; e++)
        to[((l % 4) * elements + 4 * elements * (r / 2) + e) * rows + l / 4 + 8 * (r % 2)] =
            element<I, T>(reinterpret_cast<const u8*>(v + l) + e * bytes, is_signed);
  }
}

// Register 4j + r of an f32 or s32 result: row g + 8 (r / 2), column 8j + 2q + r % 2; of an f16 result both columns lie
// in register 2j + r.
template <class T>
void load_sums(Warp& w, const u32* registers, u32 columns, bool half, T (*sums)[rows]) {
  for (u32 i = 0; i < columns / (half ? 4 : 2); i++) {
    const u32* v = w.lanes<u32>(registers[i]);
    for (u32 l = 0; l < warp_size; l++) {
      if (half) {
        for (u32 e = 0; e < 2; e++)
          sums[i / 2 * 8 + 2 * (l % 4) + e][l / 4 + 8 * (i % 2)] =
              static_cast<T>(from_f16(static_cast<u16>(v[l] >> (16 * e))));
      } else {
        std::memcpy(&sums[i / 4 * 8 + 2 * (l % 4) + i % 2][l / 4 + 8 * (i % 4 / 2)], v + l, 4);
      }
    }
  }
}

template <class T>
void store_sums(Warp& w, const u32* registers, u32 columns, bool half, T (*sums)[rows]) {
  for (u32 i = 0; i < columns / (half ? 4 : 2); i++) {
    u32* v = w.lanes<u32>(registers[i]);
    for (u32 l = 0; l < warp_size; l++) {
      if (half) {
        v[l] = to_f16(static_cast<float>(sums[i / 2 * 8 + 2 * (l % 4)][l / 4 + 8 * (i % 2)])) |
               static_cast<u32>(to_f16(static_cast<float>(sums[i / 2 * 8 + 2 * (l % 4) + 1][l / 4 + 8 * (i % 2)])))
                   << 16;
        continue;
      }
      const T x = sums[i / 4 * 8 + 2 * (l % 4) + i % 2][l / 4 + 8 * (i % 4 / 2)];
      std::memcpy(v + l, &x, 4);
      if (x != x) v[l] = 0x7fffffff;
    }
  }
}

// Sums are rounded one by one in order of k: a GPU's order and rounding are not documented.
void multiply(const float* a, const float* b, u32 columns, int depth, u32 flags, float (*sums)[rows]) {
  const float sign = (flags & a_negated ? -1.f : 1.f) * (flags & b_negated ? -1.f : 1.f);
  constexpr u32 together = 8;  // columns: sums that do not wait for each other
  for (u32 n = 0; n < columns; n += together)
    for (int i = 0; i < depth; i++) {
      const int k = flags & reversed ? depth - 1 - i : i;
      for (u32 j = 0; j < together; j++) {
        const float y = sign * b[static_cast<u32>(k) * most_columns + n + j];
        for (int m = 0; m < rows; m++) sums[n + j][m] = __builtin_fmaf(a[k * rows + m], y, sums[n + j][m]);
      }
    }
}

void multiply(const i32* a, const i32* b, u32 columns, int depth, u32 flags, i32 (*sums)[rows]) {
  for (u32 n = 0; n < columns; n++)
    for (int m = 0; m < rows; m++) {
      i64 sum = sums[n][m];
      for (int k = 0; k < depth; k++) sum += i64{a[k * rows + m]} * b[static_cast<u32>(k) * most_columns + n];
      sums[n][m] = static_cast<i32>(flags & saturate ? std::clamp<i64>(sum, INT32_MIN, INT32_MAX) : sum);
    }
}

u64 uniform_descriptor(Warp& w, const Inst& in, u32 reg) {
  const u64* d = w.lanes<u64>(reg);
  if (std::any_of(d, d + warp_size, [&](u64 x) { return x != d[0]; }))
    fault(w, in, -1, "wgmma", "the lanes of a warp give different matrix descriptors");
  return d[0];
}

// in.list: D, the same registers as C, fragments of A; in.a, in.b descriptors; in.e scale-d; in.offset N.
template <Input I>
void mma_async(Warp& w, const Inst& in, u32 m) {
  using T = std::conditional_t<I == Input::byte, i32, float>;
  if (m != full_mask) fault(w, in, -1, "wgmma", "not all lanes of the warp take part");
  const u32 columns = static_cast<u32>(in.offset), share = w.index % 4, flags = in.sub;
  const u32 count = columns / (flags & half_result ? 4 : 2);
  const u64 a = flags & a_in_registers ? 0 : uniform_descriptor(w, in, in.a), b = uniform_descriptor(w, in, in.b);
  const u32 scale = predicate(w, in.e);
  if (scale != 0 && scale != full_mask)
    fault(w, in, -1, "wgmma", "the lanes of a warp give different values of scale-d");
  WarpgroupState& state = w.block->async->wgmma;
  state.begin(w, in, a, b, scale != 0);

  alignas(64) T left[most_depth * rows], right[most_depth * most_columns], sums[most_columns][rows] = {};
  Runs runs;
  if (flags & a_in_registers) {
    load_fragments<I>(w, in.list + 2 * count, left, flags & a_signed);
  } else {
    const Matrix x = read_descriptor(w, in, a, flags & a_transposed);
    load_matrix<I>(w, in, x, share * rows, rows, 0, rows, left, rows, flags & a_signed, runs);
  }
  // Every warp needs all of B; each one's order is checked for a quarter of it.
  const u32 groups = columns / 8, from = groups * share / 4 * 8, to = groups * (share + 1) / 4 * 8;
  load_matrix<I>(w, in, read_descriptor(w, in, b, flags & b_transposed), 0, columns, from, to - from, right,
                 most_columns, flags & b_signed, runs);
  if (scale) load_sums(w, in.list + count, columns, flags & half_result, sums);
  multiply(left, right, columns, depth_of(I), flags, sums);
  const std::vector<SharedRun> reads = runs.take();
  if (w.block->counts) {
    u32 bytes = 0;
    for (const SharedRun& r : reads) bytes += r.bytes;
    count_bulk(w.block->counts[inst_index(w, in)], bytes);
  }
  state.issue(w, in, reads);
  store_sums(w, in.list, columns, flags & half_result, sums);
}

void fence(Warp& w, const Inst&, u32) { w.block->async->wgmma.fence(w); }
void commit_group(Warp& w, const Inst&, u32) { w.block->async->wgmma.commit_group(w); }
void wait_group(Warp& w, const Inst& in, u32) { w.block->async->wgmma.wait_group(w, static_cast<u32>(in.offset)); }

bool sign_of(Decoder& d, const Operand& o) {
  const i64 v = static_cast<i64>(d.immediate(o));
  if (v != 1 && v != -1) d.refuse("imm-scale is 1 or -1");
  return v == -1;
}

bool flag_of(Decoder& d, const Operand& o) {
  const u64 v = d.immediate(o);
  if (v > 1) d.refuse("imm-trans is 0 or 1");
  return v;
}

// The shape's N, of 8 to 256; "m64n128k16".
u32 take_columns(Decoder& d, int depth) {
  for (u32 n = 8; n <= most_columns; n += 8)
    if (d.take(fmt::format("m64n{}k{}", n, depth))) return n;
  d.refuse(fmt::format("a shape m64nNk{} with N a multiple of 8 up to 256 is expected", depth));
}

void decode_mma_async(Decoder& d) {
  Inst& in = d.inst;
  const bool saturated = d.take("satfinite");
  const Type to = d.take_type(), a = d.take_type(), b = d.take_type();
  Input input;
  if (a == b && a == Type::bf16 && to == Type::f32) {
    input = Input::bf16, in.run = mma_async<Input::bf16>;
  } else if (a == b && a == Type::f16 && (to == Type::f32 || to == Type::f16)) {
    input = Input::f16, in.run = mma_async<Input::f16>;
  } else if (a == b && a == Type::tf32 && to == Type::f32) {
    input = Input::tf32, in.run = mma_async<Input::tf32>;
  } else if ((a == Type::s8 || a == Type::u8) && (b == Type::s8 || b == Type::u8) && to == Type::s32) {
    input = Input::byte, in.run = mma_async<Input::byte>;
  } else {
    d.refuse("these types are not supported");
  }
  const bool bytes = input == Input::byte, halves = element_bytes(input) == 2;
  if (saturated && !bytes) d.refuse("satfinite is of integers");
  const u32 columns = take_columns(d, depth_of(input));
  if (bytes && columns > 32 && columns % 16) d.refuse("this N is not defined for integers");
  in.offset = columns;
  in.flop_class = FlopClass::mma;
  in.flops = 2 * rows * columns * static_cast<u32>(depth_of(input));
  const size_t results = columns / (to == Type::f16 ? 4 : 2);
  const bool in_registers = d.size() > 1 && d.operand(1).kind == Operand::Kind::list;
  const size_t tail = bytes ? 0 : halves ? (in_registers ? 3 : 4) : 2;
  d.expect(4 + tail);
  if (d.operand(0).kind != Operand::Kind::list || d.operand(0).items.size() != results)
    d.refuse(fmt::format("{} registers of results are expected", results));
  if (in_registers && d.operand(1).items.size() != 4) d.refuse("4 registers of A are expected");
  d.begin_list(2 * results + (in_registers ? 4 : 0));
  d.dest_list(d.operand(0), 4);
  d.source_list(d.operand(0), Type::b32, false);
  if (in_registers) {
    d.source_list(d.operand(1), Type::b32, false);
  } else {
    d.source(&Inst::a, d.operand(1), Type::b64);
  }
  d.source(&Inst::b, d.operand(2), Type::b64);
  d.source_predicate(&Inst::e, d.operand(3));
  u32 flags = (in_registers ? a_in_registers : 0) | (to == Type::f16 ? half_result : 0) | (saturated ? saturate : 0) |
              (a == Type::s8 ? a_signed : 0) | (b == Type::s8 ? b_signed : 0) | (d.perturb() ? reversed : 0);
  if (tail) flags |= (sign_of(d, d.operand(4)) ? a_negated : 0) | (sign_of(d, d.operand(5)) ? b_negated : 0);
  if (halves && !in_registers) flags |= flag_of(d, d.operand(6)) ? a_transposed : 0;
  if (halves) flags |= flag_of(d, d.operand(3 + tail)) ? b_transposed : 0;
  in.sub = static_cast<u16>(flags);
  in.tracking = Inst::Tracking::own;
}

void decode_wgmma(Decoder& d) {
  const std::string_view what = d.require_one({"mma_async", "fence", "commit_group", "wait_group"});
  if (!d.take("sync") || !d.take("aligned")) d.refuse("wgmma.sync.aligned is expected");
  d.inst.async = d.inst.wgmma = true;
  d.inst.control = Control::converge;
  d.inst.all_lanes = true;
  if (what == "mma_async") return decode_mma_async(d);
  d.expect(what == "wait_group" ? 1 : 0);
  if (what == "wait_group") d.inst.offset = static_cast<i64>(d.immediate(d.operand(0)));
  if (what == "wait_group") d.inst.control = Control::gather;
  d.inst.run = what == "fence" ? fence : what == "commit_group" ? commit_group : wait_group;
}

}  // namespace

const OpcodeList wgmma_opcodes = {{"wgmma", decode_wgmma}};

}  // namespace vgpu
