// Float opcodes and conversions of the virtual GPU against results worked out by hand.
#include "vgpu/machine.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tests/vgpu_ops.h"

using namespace vgpu_test;

TEST_CASE("f32") {
  const float tiny = 1e-40f, small = std::numeric_limits<float>::min();
  check({
      {"add.f32 %d, %a, %b;", "d", f(1.5f), f(2.25f), 0, f(3.75f)},
      {"add.f32 %d, %a, %b;", "d", inf32, minus_inf32, 0, nan32},
      {"add.rn.f32 %d, %a, %b;", "d", f(1.f), f(0x1p-24f), 0, f(1.f)},
      {"add.rp.f32 %d, %a, %b;", "d", f(1.f), f(0x1p-24f), 0, f(0x1.000002p0f)},
      {"add.rm.f32 %d, %a, %b;", "d", f(1.f), f(-0x1p-30f), 0, f(0x1.fffffep-1f)},
      {"add.rz.f32 %d, %a, %b;", "d", f(-1.f), f(0x1p-30f), 0, f(-0x1.fffffep-1f)},
      {"add.ftz.f32 %d, %a, %b;", "d", f(tiny), f(tiny), 0, 0},
      {"add.f32 %d, %a, %b;", "d", f(tiny), f(tiny), 0, f(tiny + tiny)},
      {"add.sat.f32 %d, %a, %b;", "d", f(3.f), f(2.f), 0, f(1.f)},
      {"add.sat.f32 %d, %a, %b;", "d", nan32, f(2.f), 0, 0},
      {"sub.f32 %d, %a, 0f3F800000;", "d", f(3.f), 0, 0, f(2.f)},
      {"mul.f32 %d, %a, %b;", "d", f(3.f), f(-2.f), 0, f(-6.f)},
      {"mul.ftz.f32 %d, %a, %b;", "d", f(-small), f(0.5f), 0, 0x80000000},
      {"mul.rz.f32 %d, %a, %b;", "d", f(0x1.000002p0f), f(0x1.fffffep0f), 0, f(0x1p1f)},
      {"fma.rn.f32 %d, %a, %b, %c;", "d", f(0x1.000002p0f), f(0x1.000002p0f), f(-0x1.000004p0f), f(0x1p-46f)},
      {"fma.rm.f32 %d, %a, %b, %c;", "d", f(0x1.000002p0f), f(0x1.000002p0f), f(0.f), f(0x1.000004p0f)},
      {"fma.rp.f32 %d, %a, %b, %c;", "d", f(0x1.000002p0f), f(0x1.000002p0f), f(0.f), f(0x1.000006p0f)},
      {"fma.rz.f32 %d, %a, %b, %c;", "d", f(-0x1.000002p0f), f(0x1.000002p0f), f(0.f), f(-0x1.000004p0f)},
      {"fma.rn.sat.f32 %d, %a, %b, %c;", "d", f(2.f), f(-3.f), f(1.f), 0},
      {"mad.rn.f32 %d, %a, %b, %c;", "d", f(2.f), f(3.f), f(4.f), f(10.f)},
      {"div.rn.f32 %d, %a, %b;", "d", f(1.f), f(3.f), 0, f(1.f / 3.f)},
      {"div.rp.f32 %d, %a, %b;", "d", f(1.f), f(3.f), 0, 0x3eaaaaab},
      {"div.rz.f32 %d, %a, %b;", "d", f(1.f), f(3.f), 0, 0x3eaaaaaa},
      {"div.full.f32 %d, %a, %b;", "d", f(6.f), f(3.f), 0, f(2.f)},
      {"div.approx.f32 %d, %a, %b;", "d", f(6.f), f(3.f), 0, f(2.f)},
      {"rcp.rn.f32 %d, %a;", "d", f(4.f), 0, 0, f(0.25f)},
      {"rcp.rz.f32 %d, %a;", "d", f(3.f), 0, 0, 0x3eaaaaaa},
      {"sqrt.rn.f32 %d, %a;", "d", f(2.f), 0, 0, f(std::sqrt(2.f))},
      {"sqrt.rn.f32 %d, %a;", "d", f(-2.f), 0, 0, nan32},
      {"sqrt.rm.f32 %d, %a;", "d", f(2.f), 0, 0, 0x3fb504f3},
      {"sqrt.rp.f32 %d, %a;", "d", f(2.f), 0, 0, 0x3fb504f4},
      {"min.f32 %d, %a, %b;", "d", nan32, f(2.f), 0, f(2.f)},
      {"min.f32 %d, %a, %b;", "d", f(0.f), f(-0.f), 0, f(-0.f)},
      {"max.f32 %d, %a, %b;", "d", f(-0.f), f(0.f), 0, f(0.f)},
      {"max.f32 %d, %a, %b;", "d", 0x7fc00001, 0xffc00000, 0, nan32},
      {"max.NaN.f32 %d, %a, %b;", "d", nan32, f(2.f), 0, nan32},
      {"min.xorsign.abs.f32 %d, %a, %b;", "d", f(-2.f), f(3.f), 0, f(-2.f)},
      {"min.ftz.f32 %d, %a, %b;", "d", f(tiny), f(3.f), 0, 0},
      {"min.f32 %d, %a, %b, %c;", "d", f(3.f), f(1.f), f(2.f), f(1.f)},
      {"max.f32 %d, %a, %b, %c;", "d", f(3.f), nan32, f(4.f), f(4.f)},
      {"max.NaN.f32 %d, %a, %b, %c;", "d", f(3.f), nan32, f(4.f), nan32},
      {"neg.f32 %d, %a;", "d", f(2.f), 0, 0, f(-2.f)},
      {"neg.ftz.f32 %d, %a;", "d", f(tiny), 0, 0, 0x80000000},
      {"abs.f32 %d, %a;", "d", f(-2.f), 0, 0, f(2.f)},
      {"copysign.f32 %d, %a, %b;", "d", f(-1.f), f(2.f), 0, f(-2.f)},
      {"testp.finite.f32 %p, %a;", "p", inf32, 0, 0, 0},
      {"testp.infinite.f32 %p, %a;", "p", minus_inf32, 0, 0, 1},
      {"testp.number.f32 %p, %a;", "p", nan32, 0, 0, 0},
      {"testp.notanumber.f32 %p, %a;", "p", nan32, 0, 0, 1},
      {"testp.normal.f32 %p, %a;", "p", f(1.f), 0, 0, 1},
      {"testp.subnormal.f32 %p, %a;", "p", f(tiny), 0, 0, 1},
  });
}

TEST_CASE("approximations at points where they are exact") {
  check({
      {"rcp.approx.f32 %d, %a;", "d", f(0.f), 0, 0, inf32},
      {"rcp.approx.ftz.f32 %d, %a;", "d", f(-1e-40f), 0, 0, minus_inf32},
      {"rcp.approx.f32 %d, %a;", "d", f(-4.f), 0, 0, f(-0.25f)},
      {"sqrt.approx.f32 %d, %a;", "d", f(9.f), 0, 0, f(3.f)},
      {"rsqrt.approx.f32 %d, %a;", "d", f(4.f), 0, 0, f(0.5f)},
      {"rsqrt.approx.f32 %d, %a;", "d", f(-4.f), 0, 0, nan32},
      {"rsqrt.approx.f32 %d, %a;", "d", f(-0.f), 0, 0, minus_inf32},
      {"rsqrt.approx.f32 %d, %a;", "d", inf32, 0, 0, 0},
      {"ex2.approx.f32 %d, %a;", "d", f(10.f), 0, 0, f(1024.f)},
      {"ex2.approx.f32 %d, %a;", "d", f(-140.f), 0, 0, f(0x1p-140f)},
      {"ex2.approx.ftz.f32 %d, %a;", "d", f(-140.f), 0, 0, 0},
      {"ex2.approx.f32 %d, %a;", "d", f(200.f), 0, 0, inf32},
      {"ex2.approx.f32 %d, %a;", "d", minus_inf32, 0, 0, 0},
      {"ex2.approx.f32 %d, %a;", "d", nan32, 0, 0, nan32},
      {"lg2.approx.f32 %d, %a;", "d", f(8.f), 0, 0, f(3.f)},
      {"lg2.approx.f32 %d, %a;", "d", f(0x1p-140f), 0, 0, f(-140.f)},
      {"lg2.approx.ftz.f32 %d, %a;", "d", f(0x1p-140f), 0, 0, minus_inf32},
      {"lg2.approx.f32 %d, %a;", "d", f(-1.f), 0, 0, nan32},
      {"lg2.approx.f32 %d, %a;", "d", inf32, 0, 0, inf32},
      {"sin.approx.f32 %d, %a;", "d", 0, 0, 0, 0},
      {"cos.approx.f32 %d, %a;", "d", 0, 0, 0, f(1.f)},
      {"tanh.approx.f32 %d, %a;", "d", f(20.f), 0, 0, f(1.f)},
      {"ex2.approx.ftz.bf16 %hd, %ha;", "hd", 0x4040, 0, 0, 0x4100},  // 2^3 = 8
      {"ex2.approx.f16 %hd, %ha;", "hd", 0x4200, 0, 0, 0x4800},
      {"ex2.approx.f16x2 %d, %a;", "d", 0x42003c00, 0, 0, 0x48004000},
      {"tanh.approx.f16 %hd, %ha;", "hd", 0, 0, 0, 0},
      {"rcp.approx.ftz.f64 %D, %A;", "D", d(4.0), 0, 0, d(0.25)},
      {"rsqrt.approx.f64 %D, %A;", "D", d(4.0), 0, 0, d(0.5)},
  });
}

TEST_CASE("f64") {
  check({
      {"add.f64 %D, %A, %B;", "D", d(1.5), d(2.25), 0, d(3.75)},
      {"add.rz.f64 %D, %A, %B;", "D", d(1), d(-0x1p-80), 0, d(0x1.fffffffffffffp-1)},
      {"sub.f64 %D, %A, %B;", "D", d(1.5), d(2.25), 0, d(-0.75)},
      {"mul.f64 %D, %A, %B;", "D", d(1.5), d(2), 0, d(3)},
      {"fma.rn.f64 %D, %A, %B, %C;", "D", d(0x1.0000000000001p0), d(0x1.0000000000001p0), d(-0x1.0000000000002p0),
       d(0x1p-104)},
      {"fma.rp.f64 %D, %A, %B, %C;", "D", d(1), d(1), d(0x1p-80), d(0x1.0000000000001p0)},
      {"div.rn.f64 %D, %A, %B;", "D", d(1), d(3), 0, d(1.0 / 3)},
      {"rcp.rn.f64 %D, %A;", "D", d(4), 0, 0, d(0.25)},
      {"sqrt.rn.f64 %D, %A;", "D", d(2), 0, 0, d(std::sqrt(2.0))},
      {"min.f64 %D, %A, %B;", "D", d(2), d(1), 0, d(1)},
      {"max.f64 %D, %A, %B;", "D", d(NAN), d(1), 0, d(1)},
      {"neg.f64 %D, %A;", "D", d(2), 0, 0, d(-2)},
      {"abs.f64 %D, %A;", "D", d(-2), 0, 0, d(2)},
      {"copysign.f64 %D, %A, %B;", "D", d(-1), d(2), 0, d(-2)},
  });
}

TEST_CASE("f16 and bf16") {
  check({
      {"add.f16 %hd, %ha, %hb;", "hd", 0x3c00, 0x3c00, 0, 0x4000},
      {"add.rn.f16 %hd, %ha, %hb;", "hd", 0x6800, 0x3c00, 0, 0x6800},  // 2048 + 1: a tie goes to even
      {"add.rn.f16 %hd, %ha, %hb;", "hd", 0x6801, 0x3c00, 0, 0x6802},  // 2050 + 1
      {"sub.f16 %hd, %ha, %hb;", "hd", 0x3c00, 0x4000, 0, 0xbc00},
      {"mul.f16 %hd, %ha, %hb;", "hd", 0x4200, 0x3800, 0, 0x3e00},  // 3 * 0.5
      {"mul.sat.f16 %hd, %ha, %hb;", "hd", 0x4200, 0x4200, 0, 0x3c00},
      {"mul.f16 %hd, %ha, %hb;", "hd", 0x7bff, 0x7bff, 0, 0x7c00},               // overflow
      {"fma.rn.f16 %hd, %ha, %hb, %hc;", "hd", 0x3c01, 0x3c01, 0xbc02, 0x0010},  // 2^-20
      {"fma.rn.relu.f16 %hd, %ha, %hb, %hc;", "hd", 0x3c00, 0xc000, 0x3c00, 0},
      {"fma.rn.bf16 %hd, %ha, %hb, %hc;", "hd", 0x3f80, 0x4000, 0x4040, 0x40a0},  // 1 * 2 + 3
      {"fma.rn.bf16 %hd, %ha, %hb, %hc;", "hd", 0x3f81, 0x3f81, 0xbf82, 0x3880},  // (1 + 2^-7)^2 - (1 + 2^-6)
      {"add.bf16 %hd, %ha, %hb;", "hd", 0x3f80, 0x3f80, 0, 0x4000},
      {"add.rn.bf16 %hd, %ha, %hb;", "hd", 0x4380, 0x3f80, 0, 0x4380},  // 256 + 1: a tie to even
      {"mul.bf16 %hd, %ha, %hb;", "hd", 0x4040, 0x3f00, 0, 0x3fc0},
      {"sub.bf16x2 %d, %a, %b;", "d", 0x40403f80, 0x3f804000, 0, 0x4000bf80},
      {"fma.rn.bf16x2 %d, %a, %b, %c;", "d", 0x40003f80, 0x40403f80, 0x3f803f80, 0x40e04000},
      {"add.f16x2 %d, %a, %b;", "d", 0x3c004000, 0x3c003c00, 0, 0x40004200},
      {"min.f16 %hd, %ha, %hb;", "hd", 0x3c00, 0x4000, 0, 0x3c00},
      {"max.bf16 %hd, %ha, %hb;", "hd", 0x3f80, 0x4000, 0, 0x4000},
      {"max.f16 %hd, %ha, %hb;", "hd", 0x7e00, 0x4000, 0, 0x4000},
      {"max.NaN.f16 %hd, %ha, %hb;", "hd", 0x7e00, 0x4000, 0, 0x7fff},
      {"min.bf16x2 %d, %a, %b;", "d", 0x3f804000, 0x40003f80, 0, 0x3f803f80},
      {"neg.f16 %hd, %ha;", "hd", 0x3c00, 0, 0, 0xbc00},
      {"neg.bf16x2 %d, %a;", "d", 0x3f80bf80, 0, 0, 0xbf803f80},
      {"abs.bf16 %hd, %ha;", "hd", 0xbf80, 0, 0, 0x3f80},
      {"abs.f16x2 %d, %a;", "d", 0xbc003c00, 0, 0, 0x3c003c00},
  });
}

TEST_CASE("cvt between integers") {
  check({
      {"cvt.u32.u64 %d, %A;", "d", 0x123456789, 0, 0, 0x23456789},
      {"cvt.s64.s32 %D, %a;", "D", 0xfffffff6, 0, 0, all64 - 9},
      {"cvt.u64.u32 %D, %a;", "D", 0xfffffff6, 0, 0, 0xfffffff6},
      {"cvt.s32.s8 %d, %a;", "d", 0x1ff, 0, 0, all32},
      {"cvt.u32.u8 %d, %a;", "d", 0x1ff, 0, 0, 0xff},
      {"cvt.s16.s8 %hd, %ha;", "hd", 0x80, 0, 0, 0xff80},
      {"cvt.u32.u16 %d, %ha;", "d", 0xffff, 0, 0, 0xffff},
      {"cvt.s32.s16 %d, %ha;", "d", 0xffff, 0, 0, all32},
      {"cvt.u16.u32 %hd, %a;", "hd", 0x12345678, 0, 0, 0x5678},
      {"cvt.u8.u32 %d, %a;", "d", 0x1234, 0, 0, 0x34},
      {"cvt.s8.s32 %d, %a;", "d", 0x12f4, 0, 0, 0xfffffff4},
      {"cvt.sat.u8.s32 %d, %a;", "d", 300, 0, 0, 255},
      {"cvt.sat.u8.s32 %d, %a;", "d", all32, 0, 0, 0},
      {"cvt.sat.s8.s32 %d, %a;", "d", 0xffffff00, 0, 0, 0xffffff80},
      {"cvt.sat.s32.s64 %d, %A;", "d", 0x100000000, 0, 0, 0x7fffffff},
      {"cvt.sat.u32.s64 %d, %A;", "d", all64, 0, 0, 0},
  });
}

TEST_CASE("cvt between floats and integers") {
  check({
      {"cvt.rn.f32.s32 %d, %a;", "d", 0xfffffffe, 0, 0, f(-2.f)},
      {"cvt.rn.f32.u32 %d, %a;", "d", 0xffffffff, 0, 0, f(0x1p32f)},
      {"cvt.rz.f32.u32 %d, %a;", "d", 0xffffffff, 0, 0, f(0x1.fffffep31f)},
      {"cvt.rp.f32.s32 %d, %a;", "d", 0x1000001, 0, 0, f(0x1.000002p24f)},
      {"cvt.rm.f32.s32 %d, %a;", "d", 0x1000001, 0, 0, f(0x1p24f)},
      {"cvt.rn.f32.u64 %d, %A;", "d", all64, 0, 0, f(0x1p64f)},
      {"cvt.rn.f32.s64 %d, %A;", "d", all64, 0, 0, f(-1.f)},
      {"cvt.rn.f64.s32 %D, %a;", "D", 0xffffffff, 0, 0, d(-1)},
      {"cvt.rn.f64.u64 %D, %A;", "D", all64, 0, 0, d(0x1p64)},
      {"cvt.rz.f64.u64 %D, %A;", "D", all64, 0, 0, d(0x1.fffffffffffffp63)},
      {"cvt.rn.f32.u8 %d, %a;", "d", 0x1ff, 0, 0, f(255.f)},
      {"cvt.rn.f32.s8 %d, %a;", "d", 0x1ff, 0, 0, f(-1.f)},
      {"cvt.rn.f32.u16 %d, %ha;", "d", 65535, 0, 0, f(65535.f)},
      {"cvt.rzi.s32.f32 %d, %a;", "d", f(-2.7f), 0, 0, 0xfffffffe},
      {"cvt.rni.s32.f32 %d, %a;", "d", f(2.5f), 0, 0, 2},
      {"cvt.rmi.s32.f32 %d, %a;", "d", f(-2.1f), 0, 0, 0xfffffffd},
      {"cvt.rpi.s32.f32 %d, %a;", "d", f(2.1f), 0, 0, 3},
      {"cvt.rzi.s32.f32 %d, %a;", "d", f(3e9f), 0, 0, 0x7fffffff},
      {"cvt.rzi.s32.f32 %d, %a;", "d", f(-3e9f), 0, 0, 0x80000000},
      {"cvt.rzi.u32.f32 %d, %a;", "d", f(-3.f), 0, 0, 0},
      {"cvt.rzi.u32.f32 %d, %a;", "d", f(5e9f), 0, 0, all32},
      {"cvt.rzi.s32.f32 %d, %a;", "d", nan32, 0, 0, 0},
      {"cvt.rzi.s64.f32 %D, %a;", "D", nan32, 0, 0, 0x8000000000000000},
      {"cvt.rzi.s32.f64 %d, %A;", "d", d(NAN), 0, 0, 0x80000000},
      {"cvt.rzi.s64.f64 %D, %A;", "D", d(1e30), 0, 0, 0x7fffffffffffffff},
      {"cvt.rzi.u64.f32 %D, %a;", "D", f(0x1p63f), 0, 0, 0x8000000000000000},
      {"cvt.rzi.u64.f32 %D, %a;", "D", f(0x1p70f), 0, 0, all64},
      {"cvt.rzi.u8.f32 %d, %a;", "d", f(300.f), 0, 0, 255},
      {"cvt.rni.u16.f32 %hd, %a;", "hd", f(7.5f), 0, 0, 8},
      {"cvt.rzi.s32.f16 %d, %ha;", "d", 0xc100, 0, 0, 0xfffffffe},  // -2.5
      {"cvt.rn.f16.s32 %hd, %a;", "hd", 2049, 0, 0, 0x6800},
      {"cvt.rn.bf16.u32 %hd, %a;", "hd", 257, 0, 0, 0x4380},
  });
}

TEST_CASE("cvt between floats") {
  check({
      {"cvt.f64.f32 %D, %a;", "D", f(1.5f), 0, 0, d(1.5)},
      {"cvt.rn.f32.f64 %d, %A;", "d", d(1.0 / 3), 0, 0, f(1.f / 3)},
      {"cvt.rz.f32.f64 %d, %A;", "d", d(0x1.fffffffp0), 0, 0, f(0x1.fffffep0f)},
      {"cvt.rp.f32.f64 %d, %A;", "d", d(0x1.00000001p0), 0, 0, f(0x1.000002p0f)},
      {"cvt.rm.f32.f64 %d, %A;", "d", d(-0x1.00000001p0), 0, 0, f(-0x1.000002p0f)},
      {"cvt.f32.f16 %d, %ha;", "d", 0x3555, 0, 0, f(0.33325195f)},
      {"cvt.f32.f16 %d, %ha;", "d", 0x0001, 0, 0, f(0x1p-24f)},
      {"cvt.f32.bf16 %d, %ha;", "d", 0x3fc0, 0, 0, f(1.5f)},
      {"cvt.rn.f16.f32 %hd, %a;", "hd", f(1.f / 3), 0, 0, 0x3555},
      {"cvt.rz.f16.f32 %hd, %a;", "hd", f(2.f / 3), 0, 0, 0x3955},
      {"cvt.rn.f16.f32 %hd, %a;", "hd", f(70000.f), 0, 0, 0x7c00},
      {"cvt.rn.f16.f32 %hd, %a;", "hd", nan32, 0, 0, 0x7fff},
      {"cvt.rn.satfinite.f16.f32 %hd, %a;", "hd", f(70000.f), 0, 0, 0x7bff},
      {"cvt.rn.bf16.f32 %hd, %a;", "hd", 0x3f808000, 0, 0, 0x3f80},
      {"cvt.rn.bf16.f32 %hd, %a;", "hd", 0x3f818000, 0, 0, 0x3f82},
      {"cvt.rz.bf16.f32 %hd, %a;", "hd", 0x3f81ffff, 0, 0, 0x3f81},
      {"cvt.rn.relu.bf16.f32 %hd, %a;", "hd", f(-1.f), 0, 0, 0},
      {"cvt.rn.bf16x2.f32 %d, %a, %b;", "d", f(1.f), f(2.f), 0, 0x3f804000},
      {"cvt.rn.f16x2.f32 %d, %a, %b;", "d", f(1.f), f(2.f), 0, 0x3c004000},
      {"cvt.rn.relu.f16x2.f32 %d, %a, %b;", "d", f(-1.f), f(2.f), 0, 0x00004000},
      {"cvt.rn.f16.f64 %hd, %A;", "hd", d(1.0 / 3), 0, 0, 0x3555},
      {"cvt.f64.f16 %D, %ha;", "D", 0x3c00, 0, 0, d(1)},
      {"cvt.rni.f32.f32 %d, %a;", "d", f(2.5f), 0, 0, f(2.f)},
      {"cvt.rzi.f32.f32 %d, %a;", "d", f(-2.5f), 0, 0, f(-2.f)},
      {"cvt.rmi.f32.f32 %d, %a;", "d", f(-2.5f), 0, 0, f(-3.f)},
      {"cvt.rpi.f64.f64 %D, %A;", "D", d(2.1), 0, 0, d(3)},
      {"cvt.sat.f32.f32 %d, %a;", "d", f(2.5f), 0, 0, f(1.f)},
      {"cvt.ftz.f32.f32 %d, %a;", "d", 1, 0, 0, 0},
      {"cvt.rna.tf32.f32 %d, %a;", "d", 0x3f801000, 0, 0, 0x3f802000},
      {"cvt.rn.tf32.f32 %d, %a;", "d", 0x3f801000, 0, 0, 0x3f800000},
      {"cvt.rz.tf32.f32 %d, %a;", "d", 0x3f801fff, 0, 0, 0x3f800000},
  });
}
