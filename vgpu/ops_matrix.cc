// Tensor instructions of a warp: ldmatrix, stmatrix, movmatrix, and mma.sync of f16, bf16, tf32, s8, u8 and f64.
// Fragment layouts are those of the PTX ISA, 9.7.14; g is the lane's group (lane / 4), q its place in it (lane % 4).
#include <algorithm>

#include <fmt/format.h>

#include "vgpu/access.h"
#include "vgpu/decoder.h"
#include "vgpu/half.h"

namespace vgpu {
namespace {

// Row i of matrix x is the 16 bytes at the address of lane 8x + i.
void gather_rows(Warp& w, const Inst& in, Access& a) {
  const u32 lanes = in.count * 8;
  gather_addresses(w, in, in.a, lanes == 32 ? full_mask : (1u << lanes) - 1, a);
  a.bytes = 16;
  const u32 mask = a.mask;
  if (split_by_space(in, a) != mask || a.space != Space::shared)
    fault(w, in, 0, "out of bounds", "rows of matrices lie in shared memory");
}

// Lane 4g + q gets elements 2q and 2q + 1 of row g; transposed, of column g.
void ldmatrix(Warp& w, const Inst& in, u32) {
  Access a;
  gather_rows(w, in, a);
  const u8* base = prepare(w, in, a, AccessKind::read);
  for (u32 x = 0; x < in.count; x++) {
    u16 rows[8][8];
    for (u32 i = 0; i < 8; i++) std::memcpy(rows[i], base + a.address[8 * x + i], 16);
    u32* d = w.lanes<u32>(in.list[x]);
    for (u32 l = 0; l < warp_size; l++) {
      const u32 g = l / 4, q = l % 4;
      d[l] = in.sub ? rows[2 * q][g] | static_cast<u32>(rows[2 * q + 1][g]) << 16
                    : rows[g][2 * q] | static_cast<u32>(rows[g][2 * q + 1]) << 16;
    }
  }
}

void stmatrix(Warp& w, const Inst& in, u32) {
  Access a;
  gather_rows(w, in, a);
  u16 rows[32][8] = {};
  for (u32 x = 0; x < in.count; x++) {
    const u32* s = w.lanes<u32>(in.list[x]);
    for (u32 l = 0; l < warp_size; l++) {
      const u32 g = l / 4, q = l % 4;
      for (u32 e = 0; e < 2; e++) {
        const u16 v = static_cast<u16>(s[l] >> (16 * e));
        (in.sub ? rows[8 * x + 2 * q + e][g] : rows[8 * x + g][2 * q + e]) = v;
      }
    }
  }
  a.values = reinterpret_cast<const u8*>(rows);
  u8* base = prepare(w, in, a, AccessKind::write);
  for (u32 i = 0; i < in.count * 8u; i++) std::memcpy(base + a.address[i], rows[i], 16);
}

void decode_rows(Decoder& d) {
  if (!d.take("sync") || !d.take("aligned") || !d.take("m8n8")) d.refuse("sync.aligned.m8n8 is expected");
  const std::string_view n = d.require_one({"x1", "x2", "x4"});
  d.inst.count = static_cast<u8>(n[1] - '0');
  d.inst.sub = d.take("trans");
  if (!d.take_one({"shared", "shared::cta"}).empty()) d.inst.space = Space::shared;
  if (d.take_type() != Type::b16) d.refuse("matrices are of b16");
  d.expect(2);
  d.inst.control = Control::converge;
  d.inst.all_lanes = true;
  d.begin_list(d.inst.count);
  if (d.has_opcode("ldmatrix")) {
    d.inst.run = ldmatrix;
    d.dest_list(d.operand(0), 4);
    d.address(d.operand(1));
  } else {
    d.inst.run = stmatrix;
    d.source_list(d.operand(1), Type::b32, false);
    d.address(d.operand(0));
  }
}

void movmatrix(Warp& w, const Inst& in, u32) {
  u16 rows[8][8];
  const u32* a = w.lanes<u32>(in.a);
  for (u32 l = 0; l < warp_size; l++)
    for (u32 e = 0; e < 2; e++) rows[l / 4][2 * (l % 4) + e] = static_cast<u16>(a[l] >> (16 * e));
  u32* d = w.lanes<u32>(in.d);
  for (u32 l = 0; l < warp_size; l++)
    d[l] = rows[2 * (l % 4)][l / 4] | static_cast<u32>(rows[2 * (l % 4) + 1][l / 4]) << 16;
}

void decode_movmatrix(Decoder& d) {
  if (!d.take("sync") || !d.take("aligned") || !d.take("m8n8") || !d.take("trans"))
    d.refuse("sync.aligned.m8n8.trans is expected");
  if (d.take_type() != Type::b16) d.refuse("matrices are of b16");
  d.expect(2);
  d.inst.control = Control::converge;
  d.inst.all_lanes = true;
  d.inst.run = movmatrix;
  d.dest(&Inst::d, d.operand(0), 4);
  d.source(&Inst::a, d.operand(1), Type::b32);
}

// Fragments in arrays whose innermost index is the row of A and D, so that one column of D is a vector of 16 rows.
constexpr int rows = 16, columns = 8;
struct Fragments {
  alignas(64) float a[32][rows];  // [k][m]
  float b[32][columns];           // [k][n]
  alignas(64) float d[columns][rows];
};

enum MmaFlags : u16 { mma_half_result = 1, mma_saturate = 2, mma_a_signed = 4, mma_b_signed = 8, mma_reversed = 16 };

// in.list: D, A, B, C registers in this order; in.width: their numbers are in MmaShape.
struct MmaShape {
  int m, k, d, a, b;  // rows, depth, registers of D (and C), A, B
};

float widen_half(u32 word, int e, bool bf) {
  const u16 h = static_cast<u16>(word >> (16 * e));
  return bf ? from_bf16(h) : from_f16(h);
}

// A: register r holds row g + 8 (r % 2), columns 2q + 8 (r / 2) and the next. B: register r rows 2q + 8r and the next,
// column g.
template <bool Bf>
void load_halves(Warp& w, const u32* a, const u32* b, int k, Fragments& f) {
  for (int r = 0; r < k / 4; r++) {
    const u32* v = w.lanes<u32>(a[r]);
    for (int l = 0; l < warp_size; l++)
      for (int e = 0; e < 2; e++) f.a[2 * (l % 4) + 8 * (r / 2) + e][l / 4 + 8 * (r % 2)] = widen_half(v[l], e, Bf);
  }
  for (int r = 0; r < k / 8; r++) {
    const u32* v = w.lanes<u32>(b[r]);
    for (int l = 0; l < warp_size; l++)
      for (int e = 0; e < 2; e++) f.b[2 * (l % 4) + 8 * r + e][l / 4] = widen_half(v[l], e, Bf);
  }
}

// tf32: the low 13 bits of the registers are not looked at. A: row g + 8 (r % 2), column q + 4 (r / 2). B: row q + 4r,
// column g.
void load_tf32(Warp& w, const u32* a, const u32* b, int k, Fragments& f) {
  for (int r = 0; r < k / 2; r++) {
    const u32* v = w.lanes<u32>(a[r]);
    for (int l = 0; l < warp_size; l++) f.a[l % 4 + 4 * (r / 2)][l / 4 + 8 * (r % 2)] = f32(v[l] & ~0x1fffu);
  }
  for (int r = 0; r < k / 4; r++) {
    const u32* v = w.lanes<u32>(b[r]);
    for (int l = 0; l < warp_size; l++) f.b[l % 4 + 4 * r][l / 4] = f32(v[l] & ~0x1fffu);
  }
}

// C and D in f32: registers 0 and 1 are row g, columns 2q and 2q + 1; 2 and 3 row g + 8. In f16: both columns in one
// register.
void load_sum(Warp& w, const u32* c, bool half, Fragments& f) {
  for (int r = 0; r < (half ? 2 : 4); r++) {
    const u32* v = w.lanes<u32>(c[r]);
    for (int l = 0; l < warp_size; l++) {
      if (half) {
        for (int e = 0; e < 2; e++) f.d[2 * (l % 4) + e][l / 4 + 8 * r] = widen_half(v[l], e, false);
      } else {
        f.d[2 * (l % 4) + r % 2][l / 4 + 8 * (r / 2)] = f32(v[l]);
      }
    }
  }
}

void store_sum(Warp& w, const u32* d, bool half, const Fragments& f) {
  for (int r = 0; r < (half ? 2 : 4); r++) {
    u32* v = w.lanes<u32>(d[r]);
    for (int l = 0; l < warp_size; l++) {
      if (half) {
        v[l] = to_f16(f.d[2 * (l % 4)][l / 4 + 8 * r]) | static_cast<u32>(to_f16(f.d[2 * (l % 4) + 1][l / 4 + 8 * r]))
                                                             << 16;
      } else {
        const float x = f.d[2 * (l % 4) + r % 2][l / 4 + 8 * (r / 2)];
        v[l] = x != x ? 0x7fffffff : bits(x);
      }
    }
  }
}

// Products are exact in f32, sums are rounded one by one in order of k; a GPU's order and rounding of the sum are not
// documented.
void multiply(Fragments& f, int k, bool reversed) {
  for (int n = 0; n < columns; n++) {
    alignas(64) float sum[rows];
    std::copy(f.d[n], f.d[n] + rows, sum);
    for (int i = 0; i < k; i++) {
      const int at = reversed ? k - 1 - i : i;
      const float b = f.b[at][n];
      for (int m = 0; m < rows; m++) sum[m] = __builtin_fmaf(f.a[at][m], b, sum[m]);
    }
    std::copy(sum, sum + rows, f.d[n]);
  }
}

enum class MmaInput { f16, bf16, tf32 };

template <MmaInput Input, int K>
void mma_float(Warp& w, const Inst& in, u32) {
  constexpr bool tf32 = Input == MmaInput::tf32;
  const bool half = in.sub & mma_half_result;
  const int nd = half ? 2 : 4, na = tf32 ? K / 2 : K / 4, nb = tf32 ? K / 4 : K / 8;
  const u32 *d = in.list, *a = d + nd, *b = a + na, *c = b + nb;
  Fragments f;
  if constexpr (tf32) {
    load_tf32(w, a, b, K, f);
  } else {
    load_halves<Input == MmaInput::bf16>(w, a, b, K, f);
  }
  load_sum(w, c, half, f);
  multiply(f, K, in.sub & mma_reversed);
  store_sum(w, d, half, f);
}

// s8 and u8. A: register r holds row g + 8 (r % 2), columns 4q + 16 (r / 2) to the third next (with 8 rows: one
// register, row g).
template <int M, int K>
void mma_int(Warp& w, const Inst& in, u32) {
  constexpr int nd = M / 4, na = M * K / 128, nb = K / 16;
  const u32 *d = in.list, *a = d + nd, *b = a + na, *c = b + nb;
  i32 x[M][K], y[K][columns];
  const auto element = [](u32 word, int e, bool s) {
    return s ? i32{static_cast<i8>(word >> (8 * e))} : static_cast<i32>(word >> (8 * e) & 0xff);
  };
  for (int r = 0; r < na; r++)
    for (int l = 0; l < warp_size; l++)
      for (int e = 0; e < 4; e++) {
        const int row = M == 8 ? l / 4 : l / 4 + 8 * (r % 2), column = 4 * (l % 4) + e + (M == 8 ? 0 : 16 * (r / 2));
        x[row][column] = element(w.lanes<u32>(a[r])[l], e, in.sub & mma_a_signed);
      }
  for (int r = 0; r < nb; r++)
    for (int l = 0; l < warp_size; l++)
      for (int e = 0; e < 4; e++)
        y[4 * (l % 4) + e + 16 * r][l / 4] = element(w.lanes<u32>(b[r])[l], e, in.sub & mma_b_signed);
  i32 result[nd][warp_size];
  for (int r = 0; r < nd; r++)
    for (int l = 0; l < warp_size; l++) {
      const int row = l / 4 + 8 * (r / 2), column = 2 * (l % 4) + r % 2;
      i64 sum = w.lanes<i32>(c[r])[l];
      for (int k = 0; k < K; k++) sum += i64{x[row][k]} * y[k][column];
      if (in.sub & mma_saturate) sum = std::clamp<i64>(sum, INT32_MIN, INT32_MAX);
      result[r][l] = static_cast<i32>(sum);
    }
  for (int r = 0; r < nd; r++) std::copy(result[r], result[r] + warp_size, w.lanes<i32>(d[r]));
}

// f64 m8n8k4: A row g, column q; B row q, column g; D row g, columns 2q and 2q + 1.
void mma_double(Warp& w, const Inst& in, u32) {
  const u32 *d = in.list, *a = d + 2, *b = a + 1, *c = b + 1;
  const double *x = w.lanes<double>(a[0]), *y = w.lanes<double>(b[0]);
  double result[2][warp_size];
  for (int r = 0; r < 2; r++)
    for (int l = 0; l < warp_size; l++) {
      double sum = w.lanes<double>(c[r])[l];
      for (int k = 0; k < 4; k++) sum = __builtin_fma(x[l / 4 * 4 + k], y[(2 * (l % 4) + r) * 4 + k], sum);
      result[r][l] = sum;
    }
  for (int r = 0; r < 2; r++) std::copy(result[r], result[r] + warp_size, w.lanes<double>(d[r]));
}

void mma_operands(Decoder& d, const MmaShape& s, Type word) {
  d.expect(4);
  d.begin_list(static_cast<size_t>(2 * s.d + s.a + s.b));
  const int counts[] = {s.d, s.a, s.b, s.d};
  for (size_t i = 0; i < 4; i++) {
    const Operand& o = d.operand(i);
    const int have = o.kind == Operand::Kind::list ? static_cast<int>(o.items.size()) : 1;
    if (have != counts[i]) d.refuse(fmt::format("operand {} has {} registers, not {}", i, have, counts[i]));
    i == 0 ? d.dest_list(o, type_bytes(word)) : d.source_list(o, word, false);
  }
}

void decode_mma(Decoder& d) {
  if (!d.take("sync") || !d.take("aligned")) d.refuse("mma.sync.aligned is expected");
  const std::string_view shape = d.require_one({"m16n8k4", "m16n8k8", "m16n8k16", "m16n8k32", "m8n8k16", "m8n8k4"});
  if (!d.take("row") || !d.take("col")) d.refuse("layouts row.col are expected");
  const bool saturate = d.take("satfinite");
  const Type to = d.take_type(), a = d.take_type(), b = d.take_type(), c = d.take_type();
  if (to != c) d.refuse("results and sums of different types are not supported");
  Inst& in = d.inst;
  in.control = Control::converge;
  in.all_lanes = true;
  in.flop_class = FlopClass::mma;
  if (saturate) in.sub |= mma_saturate;
  if (d.perturb()) in.sub |= mma_reversed;
  const bool bytes = (a == Type::s8 || a == Type::u8) && (b == Type::s8 || b == Type::u8) && to == Type::s32;
  MmaShape s{};
  if (bytes) {
    in.sub |= static_cast<u16>((a == Type::s8 ? mma_a_signed : 0) | (b == Type::s8 ? mma_b_signed : 0));
    if (shape == "m16n8k32") in.run = mma_int<16, 32>, s = {16, 32, 4, 4, 2};
    if (shape == "m16n8k16") in.run = mma_int<16, 16>, s = {16, 16, 4, 2, 1};
    if (shape == "m8n8k16") in.run = mma_int<8, 16>, s = {8, 16, 2, 1, 1};
  } else if (saturate) {
    d.refuse("satfinite is of integers");
  } else if (a == b && (a == Type::f16 || a == Type::bf16) &&
             (to == Type::f32 || (to == Type::f16 && a == Type::f16))) {
    const bool bf = a == Type::bf16;
    if (to == Type::f16) in.sub |= mma_half_result;
    const int nd = to == Type::f16 ? 2 : 4;
    if (shape == "m16n8k16")
      in.run = bf ? mma_float<MmaInput::bf16, 16> : mma_float<MmaInput::f16, 16>, s = {16, 16, nd, 4, 2};
    if (shape == "m16n8k8")
      in.run = bf ? mma_float<MmaInput::bf16, 8> : mma_float<MmaInput::f16, 8>, s = {16, 8, nd, 2, 1};
  } else if (a == Type::tf32 && b == Type::tf32 && to == Type::f32) {
    if (shape == "m16n8k8") in.run = mma_float<MmaInput::tf32, 8>, s = {16, 8, 4, 4, 2};
    if (shape == "m16n8k4") in.run = mma_float<MmaInput::tf32, 4>, s = {16, 4, 4, 2, 1};
  } else if (a == Type::f64 && b == Type::f64 && to == Type::f64 && shape == "m8n8k4") {
    in.run = mma_double, s = {8, 4, 2, 1, 1};
  }
  if (!in.run) d.refuse("this shape and these types are not supported");
  in.flops = static_cast<u32>(2 * s.m * columns * s.k);
  mma_operands(d, s, a == Type::f64 ? Type::b64 : Type::b32);
}

}  // namespace

const OpcodeList matrix_opcodes = {
    {"ldmatrix", decode_rows}, {"stmatrix", decode_rows}, {"movmatrix", decode_movmatrix}, {"mma", decode_mma}};

}  // namespace vgpu
