// cvt between integers, floats and halves, with every rounding, saturation and ftz; packed conversions to pairs of
// halves.
#include <cfenv>
#include <cmath>
#include <limits>
#include <type_traits>

#include "vgpu/float.h"

namespace vgpu {
namespace {

// Rounding of the source, as in the names: n nearest even, z towards zero, m down, p up; i: to an integer; rna:
// nearest, ties away.
enum class Round : u16 { none, rn, rz, rm, rp, rni, rzi, rmi, rpi, rna };
enum ConvertFlags : u16 { convert_ftz = 1, convert_sat = 2, convert_relu = 4, convert_satfinite = 8 };

Round round_of(const Inst& in) { return static_cast<Round>(in.sub & 0xff); }
u16 flags_of(const Inst& in) { return in.sub >> 8; }

// Registers hold a value in 2, 4 or 8 bytes, of which the type's are the low ones.
template <class T>
void read_lanes(const Warp& w, u32 offset, u8 width, T* out) {
  using Raw = std::conditional_t<sizeof(T) == 1, u8,
                                 std::conditional_t<sizeof(T) == 2, u16, std::conditional_t<sizeof(T) == 4, u32, u64>>>;
  const auto copy = [&](const auto* r) {
    for (int l = 0; l < warp_size; l++) out[l] = std::bit_cast<T>(static_cast<Raw>(r[l]));
  };
  if (width == 2) copy(w.lanes<u16>(offset));
  if (width == 4) copy(w.lanes<u32>(offset));
  if (width == 8) copy(w.lanes<u64>(offset));
}

// Signed integers are extended to the register's width.
template <class T>
void write_lanes(Warp& w, u32 offset, u8 width, u32 m, const T* v) {
  const auto store = [&]<class R>(R* r) {
    if constexpr (std::is_floating_point_v<T>) {
      if constexpr (sizeof(R) == sizeof(T)) each_lane(m, [&](int l) { r[l] = std::bit_cast<R>(v[l]); });
    } else {
      each_lane(m, [&](int l) { r[l] = static_cast<R>(v[l]); });
    }
  };
  if (width == 2) store(w.lanes<u16>(offset));
  if (width == 4) store(w.lanes<u32>(offset));
  if (width == 8) store(w.lanes<u64>(offset));
}

template <class D, class S, class F>
void convert_lanes(Warp& w, const Inst& in, u32 m, F f) {
  alignas(64) S s[warp_size];
  alignas(64) D d[warp_size];
  read_lanes(w, in.a, in.bytes, s);
  each_lane(full_mask, [&](int l) { d[l] = f(s[l]); });
  write_lanes(w, in.d, in.width, m, d);
}

template <class D, class S, bool Sat>
void int_to_int(Warp& w, const Inst& in, u32 m) {
  convert_lanes<D, S>(w, in, m, [](S v) {
    if constexpr (Sat) {
      using Limit = std::numeric_limits<D>;
      if constexpr (std::is_signed_v<S>) {
        if (v < 0 && (!std::is_signed_v<D> || static_cast<i64>(v) < static_cast<i64>(Limit::min())))
          return Limit::min();
      }
      if (v > 0 && static_cast<u64>(v) > static_cast<u64>(Limit::max())) return Limit::max();
    }
    return static_cast<D>(v);
  });
}

template <class T>
T round_to_integer(T v, Round r) {
  switch (r) {
    case Round::rzi: return std::trunc(v);
    case Round::rmi: return std::floor(v);
    case Round::rpi: return std::ceil(v);
    default: return std::nearbyint(v);
  }
}

// Out of range values become the nearest limit; NaN becomes 0, or the top bit where source or destination has 64 bits.
template <class D, class S, Round R>
void float_to_int(Warp& w, const Inst& in, u32 m) {
  const bool ftz = flags_of(in) & convert_ftz;
  convert_lanes<D, S>(w, in, m, [ftz](S v) -> D {
    using Limit = std::numeric_limits<D>;
    if (v != v) {
      constexpr bool top = sizeof(S) == 8 || sizeof(D) == 8;
      return top ? static_cast<D>(std::make_unsigned_t<D>{1} << (8 * sizeof(D) - 1)) : D{0};
    }
    if constexpr (sizeof(S) == 4) v = ftz ? flush(v) : v;
    const double r = static_cast<double>(round_to_integer(v, R));
    // 2^63 and 2^64 are floats; the limits themselves may not be.
    constexpr double past =
        std::is_signed_v<D> ? static_cast<double>(u64{1} << (8 * sizeof(D) - 1))
                            : 0x1p0 * (sizeof(D) == 8 ? 0x1p64 : static_cast<double>(u64{1} << (8 * sizeof(D) % 64)));
    if (r >= past) return Limit::max();
    if (r <= static_cast<double>(Limit::min())) return Limit::min();
    return static_cast<D>(r);
  });
}

template <class D, class S>
Handler pick_float_to_int(Round r) {
  switch (r) {
    case Round::rni: return float_to_int<D, S, Round::rni>;
    case Round::rzi: return float_to_int<D, S, Round::rzi>;
    case Round::rmi: return float_to_int<D, S, Round::rmi>;
    case Round::rpi: return float_to_int<D, S, Round::rpi>;
    default: return nullptr;
  }
}

int direction(Round r) {
  switch (r) {
    case Round::rz: return FE_TOWARDZERO;
    case Round::rm: return FE_DOWNWARD;
    case Round::rp: return FE_UPWARD;
    default: return FE_TONEAREST;
  }
}

// Runs with the rounding direction of the instruction; see in_direction of ops_float.cc.
template <Handler H>
void directed(Warp& w, const Inst& in, u32 m) {
  std::fesetround(direction(round_of(in)));
  asm volatile("" ::: "memory");
  H(w, in, m);
  asm volatile("" ::: "memory");
  std::fesetround(FE_TONEAREST);
}

template <class D>
D limit01(D v) {
  return v > 0 ? (v < 1 ? v : D{1}) : D{0};
}

template <class D, class S>
void int_to_float(Warp& w, const Inst& in, u32 m) {
  const bool sat = flags_of(in) & convert_sat;
  convert_lanes<D, S>(w, in, m, [sat](S v) {
    const D r = static_cast<D>(v);
    return sat ? limit01(r) : r;
  });
}

template <class D, class S>
void float_to_float(Warp& w, const Inst& in, u32 m) {
  const u16 flags = flags_of(in);
  convert_lanes<D, S>(w, in, m, [flags](S v) {
    if constexpr (sizeof(S) == 4) v = flags & convert_ftz ? flush(v) : v;
    D r = static_cast<D>(v);
    if constexpr (sizeof(D) == 4) r = canonical(flags & convert_ftz ? flush(r) : r);
    return flags & convert_sat ? limit01(r) : r;
  });
}

// f32 to f32 and f64 to f64 with rounding to an integer.
template <class T>
void round_float(Warp& w, const Inst& in, u32 m) {
  const u16 flags = flags_of(in);
  const Round r = round_of(in);
  T* d = w.lanes<T>(in.d);
  const T* a = w.lanes<T>(in.a);
  each_lane(m, [&](int l) {
    T v = a[l];
    if constexpr (sizeof(T) == 4) v = flags & convert_ftz ? flush(v) : v;
    if (r != Round::none) v = round_to_integer(v, r);
    d[l] = flags & convert_sat ? limit01(v) : canonical(v);
  });
}

// Narrowing to a half: nearest even or towards zero.
template <bool Bf>
u16 narrow(float v, bool towards_zero) {
  const u16 r = Bf ? to_bf16(v) : to_f16(v);
  if (!towards_zero || v != v) return r;
  const float back = Bf ? from_bf16(r) : from_f16(r);
  return std::fabs(back) > std::fabs(v) ? static_cast<u16>(r - 1) : r;
}

template <bool Bf>
u16 narrow_with(float v, Round r, u16 flags) {
  if (flags & convert_ftz) v = flush(v);
  if (flags & convert_relu) v = v != v ? v : v > 0 ? v : 0.f;
  if (flags & convert_sat) v = limit01(v);
  u16 h = narrow<Bf>(v, r == Round::rz);
  constexpr u16 infinity = Bf ? 0x7f80 : 0x7c00;
  if (flags & convert_satfinite && (h & 0x7fff) == infinity) h--;  // the largest finite number
  return h;
}

template <bool Bf>
void float_to_half(Warp& w, const Inst& in, u32 m) {
  u16* d = w.lanes<u16>(in.d);
  const float* a = w.lanes<float>(in.a);
  const Round r = round_of(in);
  const u16 flags = flags_of(in);
  if (r == Round::rn && flags == 0) {
    each_lane(m, [&](int l) { d[l] = Bf ? to_bf16(a[l]) : to_f16(a[l]); });
  } else {
    each_lane(m, [&](int l) { d[l] = narrow_with<Bf>(a[l], r, flags); });
  }
}

// cvt.f16x2.f32 d, a, b: a above b.
template <bool Bf>
void floats_to_pair(Warp& w, const Inst& in, u32 m) {
  u32* d = w.lanes<u32>(in.d);
  const float *a = w.lanes<float>(in.a), *b = w.lanes<float>(in.b);
  const Round r = round_of(in);
  const u16 flags = flags_of(in);
  each_lane(m, [&](int l) {
    d[l] = static_cast<u32>(narrow_with<Bf>(a[l], r, flags)) << 16 | narrow_with<Bf>(b[l], r, flags);
  });
}

template <bool Bf>
void half_to_float(Warp& w, const Inst& in, u32 m) {
  float* d = w.lanes<float>(in.d);
  const u16* a = w.lanes<u16>(in.a);
  const u16 flags = flags_of(in);
  each_lane(m, [&](int l) {
    float v = canonical(Bf ? from_bf16(a[l]) : from_f16(a[l]));
    if (flags & convert_ftz) v = flush(v);
    d[l] = flags & convert_sat ? limit01(v) : v;
  });
}

// Half to integer, half to half and the like go through double or float, which hold halves exactly.
template <class D, bool Bf>
void half_to_int(Warp& w, const Inst& in, u32 m) {
  const Round r = round_of(in);
  convert_lanes<D, u16>(w, in, m, [r](u16 h) -> D {
    using Limit = std::numeric_limits<D>;
    const double v = Bf ? from_bf16(h) : from_f16(h);
    if (v != v) return sizeof(D) == 8 ? static_cast<D>(std::make_unsigned_t<D>{1} << 63 % (8 * sizeof(D))) : D{0};
    const double x = round_to_integer(v, r);
    if (x >= static_cast<double>(Limit::max())) return Limit::max();
    if (x <= static_cast<double>(Limit::min())) return Limit::min();
    return static_cast<D>(x);
  });
}

// An integer of up to 64 bits to a half: rounded to odd in double on the way.
template <class S, bool Bf>
void int_to_half(Warp& w, const Inst& in, u32 m) {
  const bool towards_zero = round_of(in) == Round::rz;
  convert_lanes<u16, S>(w, in, m, [towards_zero](S v) {
    double x = static_cast<double>(v);
    if constexpr (sizeof(S) == 8) {
      const __int128 back = static_cast<__int128>(x), exact = v;
      if (back != exact) {
        u64 u = std::bit_cast<u64>(x);
        if ((back > exact) == (exact > 0)) u--;
        x = std::bit_cast<double>(u | 1);
      }
    }
    return narrow<Bf>(to_f32_odd(x), towards_zero);
  });
}

template <bool Bf>
void double_to_half(Warp& w, const Inst& in, u32 m) {
  const bool towards_zero = round_of(in) == Round::rz;
  convert_lanes<u16, double>(w, in, m, [towards_zero](double v) { return narrow<Bf>(to_f32_odd(v), towards_zero); });
}
template <bool Bf>
void half_to_double(Warp& w, const Inst& in, u32 m) {
  convert_lanes<double, u16>(w, in, m, [](u16 v) { return static_cast<double>(Bf ? from_bf16(v) : from_f16(v)); });
}
template <bool ToBf>
void half_to_half(Warp& w, const Inst& in, u32 m) {
  const Round r = round_of(in);
  convert_lanes<u16, u16>(w, in, m,
                          [r](u16 v) { return narrow<ToBf>(ToBf ? from_f16(v) : from_bf16(v), r == Round::rz); });
}
template <bool Bf>
void round_half(Warp& w, const Inst& in, u32 m) {
  const Round r = round_of(in);
  const u16 flags = flags_of(in);
  convert_lanes<u16, u16>(w, in, m, [r, flags](u16 v) {
    float x = Bf ? from_bf16(v) : from_f16(v);
    if (r != Round::none) x = round_to_integer(x, r);
    return narrow_with<Bf>(x, Round::rn, flags);
  });
}

// tf32 is an f32 whose low 13 bits are zero. rna: nearest, ties away from zero.
template <bool Away>
void to_tf32(Warp& w, const Inst& in, u32 m) {
  u32* d = w.lanes<u32>(in.d);
  const float* a = w.lanes<float>(in.a);
  const bool relu = flags_of(in) & convert_relu, zero = round_of(in) == Round::rz;
  each_lane(m, [&](int l) {
    const float v = relu && a[l] <= 0 ? 0.f : a[l];
    const u32 u = bits(v);
    if (v != v) {
      d[l] = 0x7fffffff;
    } else if ((u & 0x7f800000) == 0x7f800000) {
      d[l] = u;
    } else {
      const u32 up = zero ? 0 : Away ? 0x1000 : 0xfff + (u >> 13 & 1);
      d[l] = (u + up) & ~0x1fffu;
    }
  });
}

template <class F>
Handler with_any_integer(Decoder& d, Type t, F f) {
  if (t == Type::s8) return f(i8{});
  if (t == Type::u8 || t == Type::b8) return f(u8{});
  return with_integer(d, t, f);
}

Handler pick_integer_source(Decoder& d, Type to, Type from, Round r, u16 flags) {
  const bool sat = flags & convert_sat;
  if (is_integer(to)) {
    if (r != Round::none) d.refuse("rounding from integer to integer");
    return with_any_integer(d, to, [&]<class D>(D) {
      return with_any_integer(
          d, from, [&]<class S>(S) -> Handler { return sat ? int_to_int<D, S, true> : int_to_int<D, S, false>; });
    });
  }
  if (r < Round::rn || r > Round::rp) d.refuse("rounding rn, rz, rm or rp is expected");
  return with_any_integer(d, from, [&]<class S>(S) -> Handler {
    switch (to) {
      case Type::f32: return directed<int_to_float<float, S>>;
      case Type::f64: return directed<int_to_float<double, S>>;
      case Type::f16: return r > Round::rz || sat ? nullptr : Handler{int_to_half<S, false>};
      case Type::bf16: return r > Round::rz || sat ? nullptr : Handler{int_to_half<S, true>};
      default: return nullptr;
    }
  });
}

Handler pick_to_integer(Decoder& d, Type to, Type from, Round r) {
  if (r < Round::rni || r > Round::rpi) d.refuse("rounding rni, rzi, rmi or rpi is expected");
  return with_any_integer(d, to, [&]<class D>(D) -> Handler {
    switch (from) {
      case Type::f32: return pick_float_to_int<D, float>(r);
      case Type::f64: return pick_float_to_int<D, double>(r);
      case Type::f16: return half_to_int<D, false>;
      case Type::bf16: return half_to_int<D, true>;
      default: return nullptr;
    }
  });
}

Handler pick_float(Type to, Type from, Round r) {
  const bool to_integer = r >= Round::rni && r <= Round::rpi, half_rounding = r == Round::rn || r == Round::rz;
  if (to == from && (to_integer || r == Round::none)) {
    switch (to) {
      case Type::f32: return round_float<float>;
      case Type::f64: return round_float<double>;
      case Type::f16: return round_half<false>;
      case Type::bf16: return round_half<true>;
      default: return nullptr;
    }
  }
  if (to_integer) return nullptr;
  if (to == Type::tf32 && from == Type::f32) {
    if (r == Round::rna) return to_tf32<true>;
    return half_rounding ? to_tf32<false> : nullptr;
  }
  if (r == Round::rna) return nullptr;
  if (to == Type::f64 && from == Type::f32) return r == Round::none ? float_to_float<double, float> : nullptr;
  if (to == Type::f32 && from == Type::f64) return r == Round::none ? nullptr : directed<float_to_float<float, double>>;
  if (to == Type::f32 && (from == Type::f16 || from == Type::bf16))
    return r != Round::none    ? nullptr
           : from == Type::f16 ? Handler{half_to_float<false>}
                               : Handler{half_to_float<true>};
  if (to == Type::f64 && (from == Type::f16 || from == Type::bf16))
    return r != Round::none    ? nullptr
           : from == Type::f16 ? Handler{half_to_double<false>}
                               : Handler{half_to_double<true>};
  if (!half_rounding) return nullptr;
  if (from == Type::f32 && to == Type::f16) return float_to_half<false>;
  if (from == Type::f32 && to == Type::bf16) return float_to_half<true>;
  if (from == Type::f64 && to == Type::f16) return double_to_half<false>;
  if (from == Type::f64 && to == Type::bf16) return double_to_half<true>;
  if (from == Type::f16 && to == Type::bf16) return half_to_half<true>;
  if (from == Type::bf16 && to == Type::f16) return half_to_half<false>;
  return nullptr;
}

Round take_round(Decoder& d) {
  const std::string_view names[] = {"", "rn", "rz", "rm", "rp", "rni", "rzi", "rmi", "rpi", "rna"};
  const std::string_view name = d.take_one({"rn", "rz", "rm", "rp", "rni", "rzi", "rmi", "rpi", "rna"});
  for (u16 i = 0; i < 10; i++)
    if (names[i] == name) return static_cast<Round>(i);
  return Round::none;
}

void decode_cvt(Decoder& d) {
  const Round r = take_round(d);
  u16 flags = 0;
  if (d.take("ftz")) flags |= convert_ftz;
  if (d.take("sat")) flags |= convert_sat;
  if (d.take("relu")) flags |= convert_relu;
  if (d.take("satfinite")) flags |= convert_satfinite;
  const Type to = d.take_type(), from = d.take_type();
  d.inst.sub = static_cast<u16>(static_cast<u16>(r) | flags << 8);
  const bool to_half = to == Type::f16 || to == Type::bf16 || to == Type::f16x2 || to == Type::bf16x2;
  if (flags & (convert_relu | convert_satfinite) &&
      !(from == Type::f32 && (to_half || (to == Type::tf32 && flags == convert_relu))))
    d.refuse("relu and satfinite of this conversion are not supported");
  if (to == Type::f16x2 || to == Type::bf16x2) {
    if (from != Type::f32 || (r != Round::rn && r != Round::rz)) d.refuse("this packed conversion is not supported");
    d.inst.run = to == Type::f16x2 ? floats_to_pair<false> : floats_to_pair<true>;
    d.expect(3);
    d.dest(&Inst::d, d.operand(0), 4);
    d.source(&Inst::a, d.operand(1), Type::f32);
    d.source(&Inst::b, d.operand(2), Type::f32);
    return;
  }
  if (is_integer(from)) {
    d.inst.run = pick_integer_source(d, to, from, r, flags);
  } else {
    d.inst.run = is_integer(to) ? pick_to_integer(d, to, from, r) : pick_float(to, from, r);
  }
  if (!d.inst.run) d.refuse("this conversion or its rounding is not supported");
  const bool ftz_ok = from == Type::f32 || to == Type::f32;
  if (flags & convert_ftz && !ftz_ok) d.refuse("ftz of this conversion is not supported");
  if (flags & convert_sat && is_integer(from) && is_integer(to) == false && to_half)
    d.refuse("sat of this conversion is not supported");
  if (flags & convert_sat && to_half && is_float(from) && from != Type::f32)
    d.refuse("sat of this conversion is not supported");
  d.expect(2);
  d.inst.width = static_cast<u8>(d.dest_any(&Inst::d, d.operand(0)));
  d.inst.bytes = static_cast<u8>(d.source_any(&Inst::a, d.operand(1), from));
  const int to_bytes = type_bytes(to), from_bytes = type_bytes(from);
  const bool widths_ok = (is_integer(to) ? d.inst.width >= to_bytes : d.inst.width == to_bytes) &&
                         (is_integer(from) ? d.inst.bytes >= from_bytes : d.inst.bytes == from_bytes);
  if (!widths_ok || d.inst.width > 8 || d.inst.bytes > 8) d.refuse("a register of this conversion has the wrong width");
}

}  // namespace

const OpcodeList convert_opcodes = {{"cvt", decode_cvt}};

}  // namespace vgpu
