// Integer, logic, memory and atomic opcodes of the virtual GPU against results worked out by hand (or by the PTX ISA's
// pseudocode).
#include "vgpu/machine.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tests/vgpu_ops.h"

using namespace vgpu_test;

TEST_CASE("integer sums and products") {
  check({
      {"add.s32 %d, %a, %b;", "d", 0x7fffffff, 1, 0, 0x80000000},
      {"add.u64 %D, %A, %B;", "D", all64, 2, 0, 1},
      {"add.s16 %hd, %ha, %hb;", "hd", 0xffff, 3, 0, 2},
      {"add.sat.s32 %d, %a, %b;", "d", 0x7fffffff, 1, 0, 0x7fffffff},
      {"sub.sat.s32 %d, %a, %b;", "d", 0x80000000, 1, 0, 0x80000000},
      {"add.u16x2 %d, %a, %b;", "d", 0x0001ffff, 0x00010001, 0, 0x00020000},
      {"sub.s32 %d, %a, %b;", "d", 3, 5, 0, 0xfffffffe},
      {"sub.u64 %D, %A, 1;", "D", 0, 0, 0, all64},
      {"mul.lo.s32 %d, %a, %b;", "d", 0x10001, 0x10001, 0, 0x20001},
      {"mul.lo.u16 %hd, %ha, %hb;", "hd", 0xffff, 0xffff, 0, 1},
      {"mul.hi.u32 %d, %a, %b;", "d", 0xffffffff, 0xffffffff, 0, 0xfffffffe},
      {"mul.hi.s32 %d, %a, %b;", "d", 0xffffffff, 0xffffffff, 0, 0},
      {"mul.hi.s32 %d, %a, %b;", "d", 0xffffffff, 5, 0, 0xffffffff},
      {"mul.hi.u64 %D, %A, %B;", "D", all64, all64, 0, 0xfffffffffffffffe},
      {"mul.hi.s64 %D, %A, %B;", "D", all64, 7, 0, all64},
      {"mul.hi.u16 %hd, %ha, %hb;", "hd", 0xffff, 0xffff, 0, 0xfffe},
      {"mul.lo.u64 %D, %A, %B;", "D", 0x100000001, 0x100000001, 0, 0x200000001},
      {"mul.wide.u32 %D, %a, %b;", "D", 0xffffffff, 0xffffffff, 0, 0xfffffffe00000001},
      {"mul.wide.s32 %D, %a, %b;", "D", 0xffffffff, 5, 0, 0xfffffffffffffffb},
      {"mul.wide.s16 %d, %ha, %hb;", "d", 0xffff, 2, 0, 0xfffffffe},
      {"mul.wide.u16 %d, %ha, %hb;", "d", 0xffff, 2, 0, 0x1fffe},
      {"mad.lo.s32 %d, %a, %b, %c;", "d", 7, 6, all32, 41},
      {"mad.hi.u32 %d, %a, %b, %c;", "d", 0x80000000, 4, 5, 7},
      {"mad.hi.sat.s32 %d, %a, %b, %c;", "d", 0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff},
      {"mad.wide.s32 %D, %a, %b, %C;", "D", 0xffffffff, 3, 10, 7},
      {"mad.wide.u16 %d, %ha, %hb, %c;", "d", 0xffff, 0xffff, 1, 0xfffe0002},
      {"mad.lo.u64 %D, %A, %B, %C;", "D", 3, 5, 7, 22},
      {"mul24.lo.u32 %d, %a, %b;", "d", 0xff000003, 5, 0, 15},
      {"mul24.lo.s32 %d, %a, %b;", "d", 0x00ffffff, 5, 0, 0xfffffffb},
      {"mul24.hi.u32 %d, %a, %b;", "d", 0x00ffffff, 0x00ffffff, 0, 0xfffffe00},
      {"mad24.lo.s32 %d, %a, %b, %c;", "d", 2, 3, 4, 10},
      {"sad.s32 %d, %a, %b, %c;", "d", 0xffffffff, 4, 10, 15},
      {"sad.u32 %d, %a, %b, %c;", "d", 3, 5, 10, 12},
      {"div.s32 %d, %a, %b;", "d", 0xfffffff9, 2, 0, 0xfffffffd},
      {"div.s32 %d, %a, %b;", "d", 0x80000000, 0xffffffff, 0, 0x80000000},
      {"div.u32 %d, %a, %b;", "d", 7, 0, 0, all32},
      {"div.u64 %D, %A, %B;", "D", all64, 10, 0, 0x1999999999999999},
      {"div.s64 %D, %A, %B;", "D", all64 - 6, 2, 0, all64 - 2},
      {"rem.s32 %d, %a, %b;", "d", 0xfffffff9, 2, 0, 0xffffffff},
      {"rem.s32 %d, %a, %b;", "d", 0x80000000, 0xffffffff, 0, 0},
      {"rem.u64 %D, %A, %B;", "D", 1000000007, 10, 0, 7},
      {"min.s32 %d, %a, %b;", "d", 0xffffffff, 1, 0, 0xffffffff},
      {"min.u32 %d, %a, %b;", "d", 0xffffffff, 1, 0, 1},
      {"max.s64 %D, %A, %B;", "D", all64, 1, 0, 1},
      {"max.u16 %hd, %ha, %hb;", "hd", 0xffff, 1, 0, 0xffff},
      {"max.s16x2 %d, %a, %b;", "d", 0xffff0001, 0x00010002, 0, 0x00010002},
      {"min.u16x2 %d, %a, %b;", "d", 0xffff0001, 0x00010002, 0, 0x00010001},
      {"max.relu.s32 %d, %a, %b;", "d", 0xffffffff, 0xfffffffe, 0, 0},
      {"abs.s32 %d, %a;", "d", 0xfffffff6, 0, 0, 10},
      {"abs.s64 %D, %A;", "D", all64, 0, 0, 1},
      {"neg.s32 %d, %a;", "d", 5, 0, 0, 0xfffffffb},
      {"neg.s64 %D, %A;", "D", 5, 0, 0, all64 - 4},
      {"neg.s16 %hd, %ha;", "hd", 1, 0, 0, 0xffff},
  });
}

TEST_CASE("carry chains") {
  check({
      {"add.cc.u32 %d, %a, %b; addc.u32 %d, %c, 0;", "d", 0xffffffff, 1, 5, 6},
      {"add.cc.u32 %d, %a, %b; addc.u32 %d, %c, 0;", "d", 0xfffffffe, 1, 5, 5},
      {"add.cc.u32 %d, %a, %b; addc.cc.u32 %d, %c, 0; addc.u32 %d, 0, 0;", "d", 0xffffffff, 1, 0xffffffff, 1},
      {"sub.cc.u32 %d, %a, %b; subc.u32 %d, %c, 0;", "d", 1, 2, 5, 4},
      {"sub.cc.u32 %d, %a, %b; subc.u32 %d, %c, 0;", "d", 2, 2, 5, 5},
      {"sub.cc.u32 %d, %a, %b; addc.u32 %d, 0, 0;", "d", 1, 2, 0, 0},  // borrowed: no carry
      {"sub.cc.u32 %d, %a, %b; addc.u32 %d, 0, 0;", "d", 2, 2, 0, 1},
      {"add.cc.u64 %D, %A, %B; addc.u64 %D, %C, 0;", "D", all64, 1, 5, 6},
      {"mad.lo.cc.u32 %d, %a, %b, %c; addc.u32 %d, 0, 0;", "d", 2, 3, 0xfffffffa, 1},
      {"mad.lo.cc.u32 %d, %a, %b, %c; madc.hi.u32 %d, %a, %b, 0;", "d", 0x10000, 0x10000, 1, 1},
      {"mad.hi.cc.u32 %d, %a, %b, %c; addc.u32 %d, 0, 0;", "d", 0x10000, 0x10000, 0xffffffff, 1},
  });
}

TEST_CASE("bits") {
  check({
      {"and.b32 %d, %a, %b;", "d", 0xff00ff00, 0x0ff00ff0, 0, 0x0f000f00},
      {"or.b64 %D, %A, %B;", "D", 0xf0, 0x0f, 0, 0xff},
      {"xor.b16 %hd, %ha, %hb;", "hd", 0xff00, 0x0ff0, 0, 0xf0f0},
      {"not.b32 %d, %a;", "d", 1, 0, 0, 0xfffffffe},
      {"not.b64 %D, %A;", "D", 1, 0, 0, all64 - 1},
      {"cnot.b32 %d, %a;", "d", 0, 0, 0, 1},
      {"cnot.b32 %d, %a;", "d", 7, 0, 0, 0},
      {"lop3.b32 %d, %a, %b, %c, 0x96;", "d", 0xf0, 0xcc, 0xaa, 0x96},       // a ^ b ^ c
      {"lop3.b32 %d, %a, %b, %c, 0xe8;", "d", 0xf0, 0xcc, 0xaa, 0xe8},       // majority
      {"lop3.b32 %d, %a, %b, %c, 0x1;", "d", 0xf0, 0xcc, 0xaa, 0xffffff01},  // none of them
      {"shl.b32 %d, %a, %b;", "d", 3, 31, 0, 0x80000000},
      {"shl.b32 %d, %a, %b;", "d", 3, 32, 0, 0},
      {"shl.b64 %D, %A, %b;", "D", 1, 63, 0, 0x8000000000000000},
      {"shl.b16 %hd, %ha, %b;", "hd", 0xffff, 8, 0, 0xff00},
      {"shr.u32 %d, %a, %b;", "d", 0x80000000, 31, 0, 1},
      {"shr.u32 %d, %a, %b;", "d", 0x80000000, 100, 0, 0},
      {"shr.s32 %d, %a, %b;", "d", 0x80000000, 100, 0, all32},
      {"shr.s64 %D, %A, %b;", "D", all64 - 7, 2, 0, all64 - 1},
      {"shr.b16 %hd, %ha, %b;", "hd", 0xff00, 8, 0, 0xff},
      {"shf.l.wrap.b32 %d, %a, %b, %c;", "d", 0x12345678, 0x9abcdef0, 8, 0xbcdef012},
      {"shf.l.wrap.b32 %d, %a, %b, %c;", "d", 0x12345678, 0x9abcdef0, 40, 0xbcdef012},
      {"shf.r.wrap.b32 %d, %a, %b, %c;", "d", 0x12345678, 0x9abcdef0, 8, 0xf0123456},
      {"shf.l.clamp.b32 %d, %a, %b, %c;", "d", 0x12345678, 0x9abcdef0, 40, 0x12345678},
      {"shf.r.clamp.b32 %d, %a, %b, %c;", "d", 0x12345678, 0x9abcdef0, 40, 0x9abcdef0},
      {"prmt.b32 %d, %a, %b, 0x3210;", "d", 0x33221100, 0x77665544, 0, 0x33221100},
      {"prmt.b32 %d, %a, %b, 0x7531;", "d", 0x33221100, 0x77665544, 0, 0x77553311},
      {"prmt.b32 %d, %a, %b, 0xc080;", "d", 0x00000081, 0x00000080, 0, 0xff81ff81},
      {"prmt.b32.f4e %d, %a, %b, %c;", "d", 0x33221100, 0x77665544, 1, 0x44332211},
      {"prmt.b32.rc8 %d, %a, %b, %c;", "d", 0x33221100, 0, 2, 0x22222222},
      {"prmt.b32.rc16 %d, %a, %b, %c;", "d", 0x33221100, 0, 1, 0x33223322},
      {"popc.b32 %d, %a;", "d", 0xf0f0f0f0, 0, 0, 16},
      {"popc.b64 %d, %A;", "d", all64, 0, 0, 64},
      {"clz.b32 %d, %a;", "d", 1, 0, 0, 31},
      {"clz.b32 %d, %a;", "d", 0, 0, 0, 32},
      {"clz.b64 %d, %A;", "d", 1, 0, 0, 63},
      {"brev.b32 %d, %a;", "d", 1, 0, 0, 0x80000000},
      {"brev.b64 %D, %A;", "D", 6, 0, 0, 0x6000000000000000},
      {"bfind.u32 %d, %a;", "d", 0x10, 0, 0, 4},
      {"bfind.s32 %d, %a;", "d", 0xfffffff0, 0, 0, 3},
      {"bfind.u32 %d, %a;", "d", 0, 0, 0, all32},
      {"bfind.shiftamt.u32 %d, %a;", "d", 0x10, 0, 0, 27},
      {"bfind.u64 %d, %A;", "d", 0x100000000, 0, 0, 32},
      {"bfe.u32 %d, %a, %b, %c;", "d", 0x12345678, 8, 8, 0x56},
      {"bfe.s32 %d, %a, %b, %c;", "d", 0x0000f000, 12, 4, all32},
      {"bfe.u32 %d, %a, %b, %c;", "d", 0x12345678, 8, 0, 0},
      {"bfe.s32 %d, %a, %b, %c;", "d", 0x80000000, 28, 8, 0xfffffff8},
      {"bfe.u32 %d, %a, %b, %c;", "d", 0x80000000, 28, 8, 8},
      {"bfe.s32 %d, %a, %b, %c;", "d", 0x80000000, 40, 8, all32},
      {"bfe.u64 %D, %A, %b, %c;", "D", 0x123456789abcdef0, 32, 16, 0x5678},
      {"bfi.b32 %d, %a, %b, %c, 8;", "d", 0xab, 0xffffffff, 8, 0xffffabff},
      {"bfi.b32 %d, %a, %b, %c, 8;", "d", 0xab, 0x12345678, 32, 0x12345678},
      {"bfi.b32 %d, %a, %b, %c, 8;", "d", 0xab, 0, 28, 0xb0000000},
      {"bfi.b32 %d, %a, %b, 0, 32;", "d", 0xab, 0xffffffff, 0, 0xab},
      {"bfi.b64 %D, %A, %B, %c, 16;", "D", 0xabcd, 0, 40, 0x00abcd0000000000},
      {"bmsk.clamp.b32 %d, %a, %b;", "d", 4, 8, 0, 0xff0},
      {"bmsk.clamp.b32 %d, %a, %b;", "d", 4, 40, 0, 0xfffffff0},
      {"szext.clamp.s32 %d, %a, %b;", "d", 0xf8, 4, 0, 0xfffffff8},
      {"szext.clamp.u32 %d, %a, %b;", "d", 0xf8, 4, 0, 8},
      {"dp4a.s32.s32 %d, %a, %b, %c;", "d", 0x01ff0203, 0x04050607, 100, 132},  // 4 - 5 + 12 + 21 + 100
      {"dp4a.u32.u32 %d, %a, %b, %c;", "d", 0x00ff0000, 0x00020000, 1, 511},
      {"dp2a.lo.s32.s32 %d, %a, %b, %c;", "d", 0xffff0002, 0x05060304, 10, 15},  // 2 * 4 - 3 + 10
      {"dp2a.hi.s32.s32 %d, %a, %b, %c;", "d", 0xffff0002, 0x05060304, 10, 17},  // 2 * 6 - 5 + 10
  });
}

TEST_CASE("comparisons and selection") {
  check({
      {"setp.lt.s32 %p, %a, %b;", "p", all32, 1, 0, 1},
      {"setp.lt.u32 %p, %a, %b;", "p", all32, 1, 0, 0},
      {"setp.lo.u32 %p, %a, %b;", "p", 0, 1, 0, 1},
      {"setp.hs.u64 %p, %A, %B;", "p", all64, 1, 0, 1},
      {"setp.ge.s64 %p, %A, %B;", "p", all64, 1, 0, 0},
      {"setp.eq.s16 %p, %ha, %hb;", "p", 0x10005, 5, 0, 1},
      {"setp.gt.s16 %p, %ha, 0;", "p", 0xffff, 0, 0, 0},
      {"setp.ne.b64 %p, %A, %B;", "p", 5, 5, 0, 0},
      {"setp.eq.f32 %p, %a, %b;", "p", nan32, nan32, 0, 0},
      {"setp.ne.f32 %p, %a, %b;", "p", nan32, nan32, 0, 0},
      {"setp.neu.f32 %p, %a, %b;", "p", nan32, nan32, 0, 1},
      {"setp.equ.f32 %p, %a, %b;", "p", nan32, f(1.f), 0, 1},
      {"setp.ltu.f32 %p, %a, %b;", "p", nan32, f(1.f), 0, 1},
      {"setp.leu.f32 %p, %a, %b;", "p", f(2.f), f(1.f), 0, 0},
      {"setp.gtu.f32 %p, %a, %b;", "p", f(2.f), f(1.f), 0, 1},
      {"setp.geu.f32 %p, %a, %b;", "p", f(0.f), f(1.f), 0, 0},
      {"setp.num.f32 %p, %a, %b;", "p", f(0.f), f(1.f), 0, 1},
      {"setp.nan.f32 %p, %a, %b;", "p", f(0.f), nan32, 0, 1},
      {"setp.gt.ftz.f32 %p, %a, %b;", "p", 1, 0, 0, 0},
      {"setp.gt.f64 %p, %A, %B;", "p", d(2), d(1), 0, 1},
      {"setp.lt.f16 %p, %ha, %hb;", "p", 0xbc00, 0x3c00, 0, 1},
      {"setp.gt.bf16 %p, %ha, %hb;", "p", 0x4000, 0x3f80, 0, 1},
      {"setp.gt.f16x2 %q|%p, %a, %b;", "p", 0x40003c00, 0x3c004000, 0, 1},
      {"setp.eq.u32 %q|%p, %a, %b;", "p", 1, 2, 0, 1},
      {"setp.eq.u32 %q, 0, 0; setp.eq.and.u32 %p, %a, %b, %q;", "p", 2, 2, 0, 1},
      {"setp.eq.u32 %q, 0, 0; setp.eq.and.u32 %p, %a, %b, !%q;", "p", 2, 2, 0, 0},
      {"setp.eq.u32 %q, 0, 0; setp.eq.or.u32 %p, %a, %b, %q;", "p", 1, 2, 0, 1},
      {"setp.eq.u32 %q, 0, 0; setp.eq.xor.u32 %p, %a, %b, %q;", "p", 2, 2, 0, 0},
      {"setp.eq.u32 %q, 0, 0; and.pred %p, %q, !%q;", "p", 0, 0, 0, 0},
      {"setp.eq.u32 %q, 0, 0; or.pred %p, %p, %q;", "p", 0, 0, 0, 1},
      {"setp.eq.u32 %q, 0, 0; xor.pred %p, %q, %q;", "p", 0, 0, 0, 0},
      {"not.pred %p, %q;", "p", 0, 0, 0, 1},
      {"mov.pred %p, 1;", "p", 0, 0, 0, 1},
      {"set.lt.u32.s32 %d, %a, %b;", "d", 1, 2, 0, all32},
      {"set.lt.f32.f32 %d, %a, %b;", "d", f(1.f), f(2.f), 0, f(1.f)},
      {"set.gt.f16x2.f16x2 %d, %a, %b;", "d", 0x40003c00, 0x3c004000, 0, 0x3c000000},
      {"set.gt.u32.bf16x2 %d, %a, %b;", "d", 0x40003f80, 0x3f804000, 0, 0xffff0000},
      {"setp.eq.u32 %p, %a, %b; selp.b32 %d, %a, %c, %p;", "d", 1, 2, 3, 3},
      {"setp.eq.u32 %p, %a, %b; selp.f32 %d, 0f3F800000, %c, !%p;", "d", 1, 2, 3, f(1.f)},
      {"setp.eq.u32 %p, %a, %b; selp.b16 %hd, %ha, %hb, %p;", "hd", 2, 2, 3, 2},
      {"slct.u32.s32 %d, %a, %b, %c;", "d", 1, 2, all32, 2},
      {"slct.b64.f32 %D, %A, %B, %c;", "D", 1, 2, f(1.f), 1},
      {"setp.ne.u32 %p, %a, %b; @%p mov.u32 %d, 1; @!%p mov.u32 %d, 2;", "d", 1, 1, 0, 2},
  });
}

TEST_CASE("moves, packing, addresses") {
  check({
      {"mov.b32 %d, {%ha, %hb};", "d", 0x1234, 0x5678, 0, 0x56781234},
      {"mov.b32 {%hd, %hc}, %a;", "hd", 0x12345678, 0, 0, 0x5678},
      {"mov.b32 {_, %hd}, %a;", "hd", 0x12345678, 0, 0, 0x1234},
      {"mov.b64 %D, {%a, %b};", "D", 1, 2, 0, 0x200000001},
      {"mov.b64 {%c, %d}, %A;", "d", 0x123456789, 0, 0, 1},
      {"mov.b64 %D, {%ha, %hb, %hc, %ha};", "D", 1, 2, 3, 0x0001000300020001},
      {"mov.f32 %d, 0fBF800000;", "d", 0, 0, 0, f(-1.f)},
      {"mov.f64 %D, 0d3FF8000000000000;", "D", 0, 0, 0, d(1.5)},
      {"mov.u32 %d, WARP_SZ;", "d", 0, 0, 0, 32},
      {"mov.u32 %d, %ntid.x;", "d", 0, 0, 0, 1},
      {"mov.u32 %d, %lanemask_ge;", "d", 0, 0, 0, all32},
      {"cvta.shared.u64 %A, 16; isspacep.shared %p, %A;", "p", 0, 0, 0, 1},
      {"cvta.shared.u64 %A, 16; isspacep.global %p, %A;", "p", 0, 0, 0, 0},
      {"cvta.shared.u64 %A, 16; cvta.to.shared.u64 %D, %A;", "D", 0, 0, 0, 16},
      {"isspacep.global %p, %i;", "p", 0, 0, 0, 1},
      {"isspacep.local %p, %i;", "p", 0, 0, 0, 0},
  });
}

TEST_CASE("loads and stores of every width, extended as their type says") {
  check({
      {"ld.global.u8 %d, [%i];", "d", 0x80, 0, 0, 0x80},
      {"ld.global.s8 %d, [%i];", "d", 0x80, 0, 0, 0xffffff80},
      {"ld.global.s8 %D, [%i];", "D", 0x80, 0, 0, 0xffffffffffffff80},
      {"ld.global.u16 %hd, [%i+2];", "hd", 0x12345678, 0, 0, 0x1234},
      {"ld.global.s16 %d, [%i];", "d", 0xffff, 0, 0, all32},
      {"ld.global.s32 %D, [%i];", "D", 0xffffffff, 0, 0, all64},
      {"ld.u32 %d, [%i+8];", "d", 0, 7, 0, 7},
      {"ld.global.v2.u32 {%c, %d}, [%i];", "d", 0x123456789, 0, 0, 1},
      {"ld.global.v2.u64 {%C, %D}, [%i];", "D", 1, 2, 0, 2},
      {"ld.global.v4.u32 {_, _, %d, _}, [%i];", "d", 1, 2, 0, 2},
      {"ld.global.nc.v4.u8 {%hd, %ha, %hb, %hc}, [%i];", "hd", 0x44332211, 0, 0, 0x11},
      {"ld.volatile.global.u32 %d, [%i];", "d", 9, 0, 0, 9},
      {"ld.relaxed.gpu.global.u32 %d, [%i];", "d", 9, 0, 0, 9},
      {"ld.acquire.sys.global.u32 %d, [%i];", "d", 9, 0, 0, 9},
      {"ld.global.nc.L1::no_allocate.L2::128B.v2.u32 {%d, %c}, [%i];", "d", 9, 0, 0, 9},
      {"st.global.u8 [%i], %b; ld.global.u32 %d, [%i];", "d", 0x11223344, 0xff55, 0, 0x11223355},
      {"st.global.v2.u16 [%i], {%hb, %hc}; ld.global.u32 %d, [%i];", "d", 0, 1, 2, 0x20001},
      {"st.volatile.global.u32 [%i], 5; ld.global.u32 %d, [%i];", "d", 0, 1, 2, 5},
      {".shared .align 8 .b8 s[64]; st.shared.u64 [s+8], %A; ld.shared.u64 %D, [s+8];", "D", 77, 0, 0, 77},
      {".shared .align 8 .b8 s[64]; mov.u32 %d, s; st.shared.u32 [%d], %a; ld.shared.u16 %hd, [%d];", "hd", 0x12345678,
       0, 0, 0x5678},
      {".local .align 8 .b8 s[64]; st.local.v2.u32 [s], {%a, %b}; ld.local.u64 %D, [s];", "D", 1, 2, 0, 0x200000001},
      {".local .align 8 .b8 s[64]; mov.u64 %B, s; cvta.local.u64 %B, %B; st.u32 [%B+4], %a; ld.local.u32 %d, [s+4];",
       "d", 3, 0, 0, 3},
      {"{ .reg .b32 %d; mov.u32 %d, 5; st.global.u32 [%i], %d; } ld.global.u32 %d, [%i];", "d", 3, 0, 0, 5},
  });
}

TEST_CASE("atomics of every kind: what was there, and what is there then") {
  check({
      {"atom.global.add.u32 %d, [%i], %b;", "d", 5, 7, 0, 5},
      {"red.global.add.u32 [%i], %b; ld.global.u32 %d, [%i];", "d", 5, 7, 0, 12},
      {"atom.global.add.u64 %D, [%i], %B; ld.global.u64 %D, [%i];", "D", all64, 2, 0, 1},
      {"red.global.add.s32 [%i], %b; ld.global.u32 %d, [%i];", "d", 5, all32, 0, 4},
      {"red.global.add.f32 [%i], %b; ld.global.u32 %d, [%i];", "d", f(1.5f), f(2.f), 0, f(3.5f)},
      {"red.global.add.f64 [%i], %B; ld.global.u64 %D, [%i];", "D", d(1.5), d(2), 0, d(3.5)},
      {"red.global.add.noftz.f16 [%i], %hb; ld.global.u16 %hd, [%i];", "hd", 0x3c00, 0x3c00, 0, 0x4000},
      {"red.global.add.noftz.bf16 [%i], %hb; ld.global.u16 %hd, [%i];", "hd", 0x3f80, 0x3f80, 0, 0x4000},
      {"red.global.add.noftz.bf16x2 [%i], %b; ld.global.u32 %d, [%i];", "d", 0x3f803f80, 0x40003f80, 0, 0x40404000},
      {"atom.global.add.noftz.f16x2 %d, [%i], %b; ld.global.u32 %d, [%i];", "d", 0x3c003c00, 0x40003c00, 0, 0x42004000},
      {"red.global.min.s32 [%i], %b; ld.global.u32 %d, [%i];", "d", 5, all32, 0, all32},
      {"red.global.max.u32 [%i], %b; ld.global.u32 %d, [%i];", "d", 5, 9, 0, 9},
      {"red.global.max.s64 [%i], %B; ld.global.u64 %D, [%i];", "D", all64, 9, 0, 9},
      {"red.global.and.b32 [%i], %b; ld.global.u32 %d, [%i];", "d", 6, 3, 0, 2},
      {"red.global.or.b32 [%i], %b; ld.global.u32 %d, [%i];", "d", 6, 3, 0, 7},
      {"red.global.xor.b64 [%i], %B; ld.global.u64 %D, [%i];", "D", 6, 3, 0, 5},
      {"red.global.inc.u32 [%i], %b; ld.global.u32 %d, [%i];", "d", 6, 6, 0, 0},
      {"red.global.dec.u32 [%i], %b; ld.global.u32 %d, [%i];", "d", 0, 6, 0, 6},
      {"atom.global.exch.b32 %d, [%i], %b; ld.global.u32 %c, [%i]; add.u32 %d, %d, %c;", "d", 5, 70, 0, 75},
      {"atom.global.cas.b32 %d, [%i], %b, %c; ld.global.u32 %d, [%i];", "d", 5, 5, 9, 9},
      {"atom.global.cas.b32 %d, [%i], %b, %c; ld.global.u32 %d, [%i];", "d", 5, 6, 9, 5},
      {"atom.global.cas.b64 %D, [%i], %B, %C; ld.global.u64 %D, [%i];", "D", 5, 5, 9, 9},
      {"atom.global.cas.b16 %hd, [%i], %hb, %hc; ld.global.u16 %hd, [%i];", "hd", 5, 5, 9, 9},
      {"atom.acq_rel.gpu.global.add.u32 %d, [%i], %b;", "d", 5, 7, 0, 5},
      {"atom.add.s32 %d, [%i], %b;", "d", 5, 7, 0, 5},
      {".shared .align 4 .b8 s[4]; st.shared.u32 [s], %a; atom.shared.add.u32 %d, [s], %b; ld.shared.u32 %d, [s];", "d",
       5, 7, 0, 12},
      {"red.global.add.v2.f32 [%i], {%b, %c}; ld.global.u32 %d, [%i];", "d", f(1.f), f(2.f), 0, f(3.f)},
  });
}

TEST_CASE("what is not known is refused with its line, never guessed") {
  for (const char* body :
       {"frob.u32 %d, %a;", "add.rn.u32 %d, %a, %b;", "add.frob.u32 %d, %a, %b;", "mul.u32 %d, %a, %b;",
        "add.f32 %D, %a, %b;", "ld.global.frob.u32 %d, [%i];", "atom.global.add.bf16 %hd, [%i], %hb;",
        "atom.global.add.f32.frob %d, [%i], %b;", "cvt.f32.s32 %d, %a;", "cvt.rn.e4m3x2.f32 %hd, %a, %b;",
        "mma.sync.aligned.m16n8k64.row.col.s32.s4.s4.s32 {%d}, {%a}, {%b}, {%c};",
        "mapa.shared::cluster.frob.u32 %d, %a, 0;", "multimem.red.relaxed.sys.global.add.u32 [%i], %a;",
        "setp.lt.b32.frob %p, %a, %b;", "fma.rn.frob.f32 %d, %a, %b, %c;",
        "tex.2d.v4.f32.f32 {%a,%b,%c,%d}, [t, {%a,%b}];", "add.u32 %d, %a, %nothing;", "bra.frob $L;"}) {
    CAPTURE(body);
    const std::string text = refusal(body);
    CHECK(text.find("vgpu: unsupported instruction: ") == 0);
    CHECK(text.find("PTX line 14") != text.npos);
  }
  CHECK(refusal("frob.u32 %d, %a;").find("`frob.u32 %d, %a`") != std::string::npos);
}

TEST_CASE("a kernel that is never launched may hold anything") {
  Gpu gpu;
  auto& module = gpu.machine.load(kernel_of("frob.u32 %d, %a;", "d") + "\n.visible .entry good() { ret; }");
  CHECK_NOTHROW(gpu.launch(module, "good", {1}, {1}, 0));
}
