// mbarriers and bulk copies: what they compute, how they order accesses, what is reported.
#include <doctest/doctest.h>

#include <string>

#include "tests/vgpu_async.h"
#include "vgpu/machine.h"

using namespace vgpu_test;

TEST_CASE("arrivals end a phase; waits by state and by parity") {
  // Two arrivals a phase. d0: pending count before the first arrival; d1: test_wait before and after the second; d2:
  // parity 1 before any phase (the phase before the first counts as ended), parity 0 after the first; d3: the next
  // phase's count.
  const auto r = run_block(R"(
    mbarrier.init.shared::cta.b64 [bar], 2;
    mbarrier.test_wait.parity.shared::cta.b64 %p, [bar], 1; selp.u32 %d2, 1, 0, %p;
    mbarrier.test_wait.parity.shared.b64 %p, [bar], 0; selp.u32 %t, 2, 0, %p; or.b32 %d2, %d2, %t;
    mbarrier.arrive.shared::cta.b64 %S, [bar]; mbarrier.pending_count.b64 %d0, %S;
    mbarrier.test_wait.shared.b64 %p, [bar], %S; selp.u32 %d1, 1, 0, %p;
    mbarrier.arrive.release.cta.shared::cta.b64 %T, [bar], 1; mbarrier.pending_count.b64 %t, %T;
    mad.lo.u32 %d0, %t, 16, %d0;
    mbarrier.try_wait.shared.b64 %p, [bar], %S; selp.u32 %t, 2, 0, %p; or.b32 %d1, %d1, %t;
    mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 %p, [bar], 0, 100; selp.u32 %t, 4, 0, %p; or.b32 %d2, %d2, %t;
    mbarrier.test_wait.parity.shared.b64 %p, [bar], 1; selp.u32 %t, 8, 0, %p; or.b32 %d2, %d2, %t;
    mbarrier.arrive.noComplete.release.cta.shared.b64 %S, [bar], 1; mbarrier.pending_count.b64 %d3, %S;
    mbarrier.inval.shared::cta.b64 [bar]; mbarrier.init.shared::cta.b64 [bar], 5;
    mov.u64 %A, bar; cvta.shared.u64 %A, %A; mbarrier.arrive.b64 %S, [%A]; mbarrier.pending_count.b64 %t, %S;
    mad.lo.u32 %d3, %t, 16, %d3;)",
                           1);
  CHECK(r[0] == 2 + 16 * 1);
  CHECK(r[1] == 2);
  CHECK(r[2] == (1 | 4));
  CHECK(r[3] == 2 + 16 * 5);
}

TEST_CASE("expected bytes keep a phase open") {
  const auto r = run_block(R"(
    mbarrier.init.shared::cta.b64 [bar], 1;
    mbarrier.arrive.expect_tx.shared::cta.b64 %S, [bar], 48;
    mbarrier.test_wait.shared.b64 %p, [bar], %S; selp.u32 %d0, 1, 0, %p;
    mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [bar], 32;
    mbarrier.test_wait.shared.b64 %p, [bar], %S; selp.u32 %d1, 1, 0, %p;
    mbarrier.complete_tx.shared::cta.b64 [bar], 16;
    mbarrier.test_wait.shared.b64 %p, [bar], %S; selp.u32 %d2, 1, 0, %p;
    mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [bar], 8; mbarrier.complete_tx.shared::cta.b64 [bar], 24;
    mbarrier.arrive.shared::cta.b64 %S, [bar];
    mbarrier.test_wait.shared.b64 %p, [bar], %S; selp.u32 %d3, 1, 0, %p;
    mbarrier.expect_tx.shared::cta.b64 [bar], 16;
    mbarrier.test_wait.shared.b64 %p, [bar], %S; selp.u32 %t, 2, 0, %p; or.b32 %d3, %d3, %t;)",
                           1);
  CHECK(r[0] == 0);
  CHECK(r[1] == 0);
  CHECK(r[2] == 1);
  CHECK(r[3] == 2);
}

TEST_CASE("a ring of one stage between two warps, ordered by mbarriers alone") {
  // Warp 0 produces i * 100 + lane, warp 1 adds it up: full at bar, empty at bar + 8.
  const std::string ring = R"(
    setp.eq.u32 %p, %l, 0; @!%p bra GO;
    mbarrier.init.shared::cta.b64 [bar], 32; mbarrier.init.shared::cta.b64 [bar+8], 32;
GO: bar.sync 0;
    mov.u32 %i, 0; mov.u32 %d0, 0; and.b32 %e, %l, 31; mad.lo.u32 %x, %e, 4, %s;
    setp.ge.u32 %p, %l, 32; @%p bra CONSUME;
PRODUCE: and.b32 %t, %i, 1; xor.b32 %t, %t, 1;
W0: mbarrier.try_wait.parity.shared::cta.b64 %p, [bar+8], %t; @!%p bra W0;
    mad.lo.u32 %y, %i, 100, %e; st.shared.u32 [%x], %y;
    mbarrier.arrive.shared::cta.b64 _, [bar];
    add.u32 %i, %i, 1; setp.lt.u32 %p, %i, 5; @%p bra PRODUCE; bra END;
CONSUME: and.b32 %t, %i, 1;
W1: mbarrier.try_wait.parity.shared::cta.b64 %p, [bar], %t; @!%p bra W1;
    ld.shared.u32 %y, [%x]; add.u32 %d0, %d0, %y;
    EMPTY
    add.u32 %i, %i, 1; setp.lt.u32 %p, %i, 5; @%p bra CONSUME;
END:)";
  const auto with = [&](const std::string& empty) {
    std::string text = ring;
    return text.replace(text.find("EMPTY"), 5, empty);
  };
  for (uint64_t seed : {0, 1, 2}) {
    const auto r = run_block(with("mbarrier.arrive.shared::cta.b64 _, [bar+8];"), 64, {}, seed);
    for (uint32_t l = 0; l < 32; l++) CHECK(r[4 * (32 + l)] == 1000 + 5 * l);
  }
  // A consumer that says "empty" without releasing its reads.
  CHECK(fault_of(with("mbarrier.arrive.relaxed.cta.shared::cta.b64 _, [bar+8];"), 64) == "data race");
  // One that never does.
  CHECK(fault_of(with(""), 64) == "hang");
}

TEST_CASE("lanes of one warp wait for each other by an mbarrier") {
  const auto r = run_block(R"(
    setp.eq.u32 %p, %l, 0; @!%p bra GO;
    mbarrier.init.shared::cta.b64 [bar], 1;
GO: bar.sync 0; setp.eq.u32 %p, %l, 5; @%p bra LATE;
W:  mbarrier.try_wait.parity.shared::cta.b64 %p, [bar], 0; @!%p bra W;
    mov.u32 %d0, 7; bra END;
LATE: mov.u32 %d0, 9; mbarrier.arrive.shared::cta.b64 _, [bar];
END:)",
                           32);
  for (uint32_t l = 0; l < 32; l++) CHECK(r[4 * l] == (l == 5 ? 9 : 7));
}

TEST_CASE("cp.async.bulk to shared memory arrives at its mbarrier") {
  std::vector<uint32_t> in(64);
  for (uint32_t i = 0; i < 64; i++) in[i] = 1000 + i;
  const std::string load = R"(
    setp.eq.u32 %p, %l, 0; @!%p bra GO;
    mbarrier.init.shared::cta.b64 [bar], 1; fence.mbarrier_init.release.cluster;
    mbarrier.arrive.expect_tx.shared::cta.b64 _, [bar], 256;
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%s], [%in], 256, [bar];
GO: bar.sync 0; mad.lo.u32 %x, %l, 4, %s;
    WAIT
    ld.shared.u32 %d0, [%x];)";
  const auto with = [&](const std::string& wait) {
    std::string text = load;
    return text.replace(text.find("WAIT"), 4, wait);
  };
  const auto r = run_block(with("W: mbarrier.try_wait.parity.shared::cta.b64 %p, [bar], 0; @!%p bra W;"), 64, in);
  for (uint32_t l = 0; l < 64; l++) CHECK(r[4 * l] == 1000 + l);
  CHECK(fault_of(with(""), 64, in) == "async proxy");
  // Seen by warp 0 only, with nothing that hands it on to warp 1.
  CHECK(fault_of(
            with("setp.ge.u32 %p, %l, 32; @%p bra NO; W: mbarrier.try_wait.parity.shared::cta.b64 %p, [bar], 0; @!%p "
                 "bra W; NO:"),
            64, in) == "async proxy");
  CHECK(fault_of(
            with("setp.ge.u32 %p, %l, 32; @%p bra NO; W: mbarrier.try_wait.parity.shared::cta.b64 %p, [bar], 0; @!%p "
                 "bra W; NO: bar.sync 0;"),
            64, in) == "(none)");
}

TEST_CASE("cp.async.bulk from shared memory belongs to a group of its thread") {
  const std::string store = R"(
    mad.lo.u32 %x, %l, 4, %s; mad.lo.u32 %y, %l, 3, 5; st.shared.u32 [%x], %y;
    FENCE bar.sync 0;
    setp.ne.u32 %p, %l, 0; @%p bra GO;
    cp.async.bulk.global.shared::cta.bulk_group [%in], [%s], 128;
    cp.async.bulk.commit_group;
    WAIT
GO: bar.sync 0; AFTER)";
  const auto with = [&](const std::string& fence, const std::string& wait, const std::string& after) {
    std::string text = store;
    text.replace(text.find("FENCE"), 5, fence);
    text.replace(text.find("WAIT"), 4, wait);
    return text.replace(text.find("AFTER"), 5, after);
  };
  const std::string
      fence = "fence.proxy.async.shared::cta;",
      wait = "cp.async.bulk.wait_group 0;", read_wait = "cp.async.bulk.wait_group.read 0;",
      load =
          "cvt.u64.u32 %A, %x; cvt.u64.u32 %B, %s; sub.u64 %A, %A, %B; add.u64 %A, %A, %in; ld.global.u32 "
          "%d0, [%A];",
      overwrite = "st.shared.u32 [%x], 0;";
  const std::vector<uint32_t> out(32);
  const auto r = run_block(with(fence, wait, load), 32, out);
  for (uint32_t l = 0; l < 32; l++) CHECK(r[4 * l] == 3 * l + 5);
  CHECK(fault_of(with("", wait, ""), 32, out) == "async proxy");
  CHECK(fault_of(with(fence, read_wait, overwrite), 32, out) == "(none)");
  CHECK(fault_of(with(fence, "", overwrite), 32, out) == "async proxy");
  CHECK(fault_of(with(fence, "cp.async.bulk.wait_group.read 1;", overwrite), 32, out) == "async proxy");
  CHECK(fault_of(with(fence, "", ""), 32, out) == "async proxy");  // the block ends first
}

TEST_CASE("cp.async.mbarrier.arrive arrives once the thread's copies are done") {
  std::vector<uint32_t> in(32 * 4);
  for (uint32_t i = 0; i < in.size(); i++) in[i] = 7 * i;
  const std::string copy = R"(
    setp.eq.u32 %p, %l, 0; @!%p bra GO;
    mbarrier.init.shared::cta.b64 [bar], COUNT;
GO: bar.sync 0;
    mad.wide.u32 %A, %l, 16, %in; mad.lo.u32 %x, %l, 16, %s;
    cp.async.ca.shared.global [%x], [%A], 16;
    cp.async.mbarrier.arriveNOINC.shared::cta.b64 [bar];
    PLAIN
W:  mbarrier.try_wait.parity.shared::cta.b64 %p, [bar], 0; @!%p bra W;
    xor.b32 %x, %x, 16; ld.shared.u32 %d0, [%x];)";
  const auto with = [&](const char* count, const char* noinc, const char* plain) {
    std::string text = copy;
    text.replace(text.find("COUNT"), 5, count);
    text.replace(text.find("NOINC"), 5, noinc);
    return text.replace(text.find("PLAIN"), 5, plain);
  };
  for (const std::string& text :
       {with("32", ".noinc", ""), with("32", "", "mbarrier.arrive.shared::cta.b64 _, [bar];")}) {
    const auto r = run_block(text, 32, in);
    for (uint32_t l = 0; l < 32; l++) CHECK(r[4 * l] == 7 * 4 * (l ^ 1));
  }
  CHECK(fault_of(with("32", "", ""), 32, in) == "hang");
}

TEST_CASE("misuse of mbarriers is reported") {
  const std::string init = "mbarrier.init.shared::cta.b64 [bar], 1;";
  CHECK(fault_of("mbarrier.arrive.shared::cta.b64 _, [bar];", 1) == "mbarrier");
  CHECK(fault_of("mbarrier.try_wait.parity.shared::cta.b64 %p, [bar], 0;", 1) == "mbarrier");
  CHECK(fault_of(init + init, 1) == "mbarrier");
  CHECK(fault_of("mbarrier.init.shared::cta.b64 [bar], 0;", 1) == "mbarrier");
  CHECK(fault_of("mbarrier.init.shared::cta.b64 [bar], 1048576;", 1) == "mbarrier");
  CHECK(fault_of("mbarrier.init.shared::cta.b64 [bar+4], 1;", 1) == "misaligned access");
  CHECK(fault_of("mbarrier.init.shared::cta.b64 [%s+66048], 1;", 1) == "out of bounds");
  CHECK(fault_of("mbarrier.init.b64 [%in], 1;", 1) == "mbarrier");
  CHECK(fault_of(init + "mbarrier.arrive.shared::cta.b64 _, [bar], 2;", 1) == "mbarrier");
  CHECK(fault_of(init + "mbarrier.arrive.noComplete.shared::cta.b64 %S, [bar], 1;", 1) == "mbarrier");
  CHECK(fault_of(init + "mbarrier.expect_tx.shared::cta.b64 [bar], 1048575;", 1) == "(none)");
  CHECK(fault_of(init + "mbarrier.expect_tx.shared::cta.b64 [bar], 1048576;", 1) == "mbarrier");
  CHECK(fault_of(init + "mbarrier.arrive.shared::cta.b64 %S, [bar]; mbarrier.arrive.shared::cta.b64 _, [bar]; "
                        "mbarrier.test_wait.shared.b64 %p, [bar], %S;",
                 1) == "mbarrier");
  CHECK(fault_of(init + "mbarrier.test_wait.parity.shared.b64 %p, [bar], 2;", 1) == "mbarrier");
  CHECK(fault_of(init + "ld.shared.u32 %d0, [bar];", 1) == "mbarrier");
  CHECK(fault_of(init + "st.shared.u32 [bar], 1;", 1) == "mbarrier");
  CHECK(
      fault_of("setp.eq.u32 %p, %l, 0; @%p mbarrier.init.shared::cta.b64 [bar], 64; mbarrier.arrive.shared::cta.b64 _, "
               "[bar];",
               64) == "mbarrier");  // warp 1 may be first
}

TEST_CASE("bulk copies check their addresses") {
  const std::vector<uint32_t> in(64);
  const std::string ready =
      "mbarrier.init.shared::cta.b64 [bar], 1; fence.proxy.async; mbarrier.expect_tx.shared::cta.b64 "
      "[bar], 16; add.u32 %x, %s, 4; add.u64 %A, %in, 4; add.u64 %B, %in, 248;";
  const auto load = [&](const std::string& operands) {
    return fault_of(ready + "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes " + operands + ";", 1,
                    in);
  };
  CHECK(load("[%x], [%in], 16, [bar]") == "misaligned access");
  CHECK(load("[%s], [%A], 16, [bar]") == "misaligned access");
  CHECK(load("[%s], [%in], 20, [bar]") == "bulk copy");
  CHECK(load("[%s], [%in], 272, [bar]") == "out of bounds");
  CHECK(load("[%s], [%in], 1048576, [bar]") == "out of bounds");
  CHECK(load("[%s+16], [%in], 16, [bar]") == "unsupported instruction");  // offsets are not supported
  CHECK(load("[%s], [%in], 16, [bar]") == "async proxy");                 // the block ends first
}

TEST_CASE("a cluster of one block: its barrier orders, its addresses are the block's own") {
  const std::string exchange = R"(
    mad.lo.u32 %x, %l, 4, %s; mapa.shared::cluster.u32 %y, %x, 0; add.u32 %t, %l, 7;
    st.shared::cluster.u32 [%y], %t;
    ARRIVE mov.u32 %d1, %cluster_nctarank; barrier.cluster.wait.acquire.aligned;
    xor.b32 %t, %l, 32; mad.lo.u32 %x, %t, 4, %s; ld.shared.u32 %d0, [%x];)";
  const auto with = [&](const std::string& arrive) {
    std::string text = exchange;
    return text.replace(text.find("ARRIVE"), 6, arrive);
  };
  const auto r = run_block(with("barrier.cluster.arrive.release.aligned;"), 64);
  for (uint32_t l = 0; l < 64; l++) CHECK(r[4 * l] == (l ^ 32) + 7);
  CHECK(fault_of(with("barrier.cluster.arrive;"), 64) == "(none)");
  CHECK(fault_of(with("barrier.cluster.arrive.relaxed.aligned;"), 64) == "data race");
  CHECK(fault_of(with(""), 64) == "barrier");
  CHECK(fault_of(with("barrier.cluster.arrive.aligned; barrier.cluster.arrive.aligned;"), 64) == "barrier");
  CHECK(fault_of("mov.u32 %t, 1; mapa.u64 %A, %in, %t;", 1) == "out of bounds");
}

TEST_CASE("what is not supported is refused by name") {
  CHECK(refusal_of("mbarrier.arrive_drop.shared::cta.b64 _, [bar];").find("mbarrier") != std::string::npos);
  CHECK(refusal_of("mbarrier.arrive.release.gpu.shared::cta.b64 _, [bar];").find("gpu") != std::string::npos);
  CHECK(refusal_of("cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%s], [%s], 16, [bar];")
            .find("cluster") != std::string::npos);
  CHECK(refusal_of("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%in], [%s], 16;").find("reduce") !=
        std::string::npos);
  CHECK(refusal_of(
            "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%s], [%in], 16, "
            "[bar], %h;") != "");
  CHECK(refusal_of("setmaxnreg.inc.sync.aligned.u32 20;").find("setmaxnreg") != std::string::npos);
  CHECK(refusal_of("fence.proxy.tensormap::generic.acquire.gpu [%in], 128;") != "");
}
