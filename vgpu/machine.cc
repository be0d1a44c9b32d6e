#include "vgpu/machine.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <random>
#include <set>
#include <thread>

#include <fmt/format.h>

#include "vgpu/launch.h"
#include "vgpu/module.h"
#include "vgpu/shadow.h"
#include "vgpu/workers.h"

namespace vgpu {

struct Machine::Impl {
  Options options;
  Memory memory;
  std::vector<std::unique_ptr<Module>> modules;
  std::function<void(const Report&)> on_fault, on_warning;
  std::function<void(std::string_view)> on_print;
  std::mutex launching;
  Workers threads;
  u64 serial = 0;
  std::set<std::string> warned;  // kinds and places that were shown

  struct Record {
    const Kernel* kernel = nullptr;
    KernelCounts counts;
    std::vector<Counts> instructions;
  };
  std::deque<Record> records;

  // Hands a report to the handler; ends the program, or throws.
  [[noreturn]] void fail(const Report& r);
  void check_launch(const Launch& l);
  void set_order(LaunchState& state, const Launch& l);
  void run(LaunchState& state, const Launch& l);
  void finish(LaunchState& state, const Launch& l, std::vector<std::unique_ptr<Block>>& blocks,
              std::vector<std::vector<Counts>>& counts);
  Record& record(const Kernel* kernel);
};

void Machine::Impl::fail(const Report& r) {
  on_fault(r);
  throw Fault(r);
}

void Machine::Impl::check_launch(const Launch& l) {
  const auto refuse = [&](std::string what) {
    fail({"launch", fmt::format("vgpu: launch: {}\n  kernel  {}  grid ({},{},{}) block ({},{},{})", what,
                                l.kernel ? l.kernel->name : "(null)", l.grid.x, l.grid.y, l.grid.z, l.block.x,
                                l.block.y, l.block.z)});
  };
  if (!l.kernel || !l.kernel->code) refuse("there is no such kernel");
  if (l.grid.count() == 0 || l.block.count() == 0) refuse("the grid or the block is empty");
  if (l.grid.y > 65535 || l.grid.z > 65535 || l.grid.x > 0x7fffffff) refuse("the grid is too large");
  if (l.block.count() > 1024 || l.block.x > 1024 || l.block.y > 1024 || l.block.z > 64)
    refuse("the block is too large");
  if (l.block.count() > l.kernel->max_threads)
    refuse(fmt::format("the kernel was compiled for at most {} threads", l.kernel->max_threads));
  if (l.grid.count() > u64{1} << 31) refuse("more than 2^31 blocks are not supported");
  const size_t shared = l.kernel->static_shared + l.dynamic_shared;
  if (shared > options.max_shared_per_block)
    refuse(fmt::format("{} bytes of shared memory of at most {}", shared, options.max_shared_per_block));
}

// Random orders from the schedule's seed and the launch's number.
void Machine::Impl::set_order(LaunchState& state, const Launch& l) {
  if (options.schedule == 0) return;
  std::mt19937_64 random(options.schedule * 0x9e3779b97f4a7c15ull + state.serial);
  const auto shuffled = [&](u64 n) {
    std::vector<u32> order(n);
    for (u64 i = 0; i < n; i++) order[i] = static_cast<u32>(i);
    for (u64 i = n; i > 1; i--) std::swap(order[i - 1], order[random() % i]);
    return order;
  };
  state.order = shuffled(l.grid.count());
  state.warp_order = shuffled((l.block.count() + warp_size - 1) / warp_size);
}

Machine::Impl::Record& Machine::Impl::record(const Kernel* kernel) {
  for (Record& r : records)
    if (r.kernel == kernel) return r;
  records.emplace_back();
  Record& r = records.back();
  r.kernel = kernel;
  r.counts.name = kernel->name;
  r.instructions.resize(kernel->code->code.size());
  return r;
}

void Machine::Impl::run(LaunchState& state, const Launch& l) {
  const unsigned cores =
      options.threads > 0 ? static_cast<unsigned>(options.threads) : std::max(1u, std::thread::hardware_concurrency());
  const unsigned workers = static_cast<unsigned>(std::min<u64>(cores, l.grid.count()));
  std::vector<std::unique_ptr<Block>> blocks(workers);
  std::vector<std::vector<Counts>> counts(workers);
  threads.run(workers, [&](unsigned i) {
    if (options.count) counts[i].resize(state.program->code.size());
    blocks[i] = std::make_unique<Block>();
    set_up_block(state, *blocks[i], options.count ? counts[i].data() : nullptr);
    run_blocks(state, *blocks[i]);
  });
  finish(state, l, blocks, counts);
}

void Machine::Impl::finish(LaunchState& state, const Launch& l, std::vector<std::unique_ptr<Block>>& blocks,
                           std::vector<std::vector<Counts>>& counts) {
  for (const auto& [position, text] : state.outputs) on_print(text);
  for (const LaunchState::Warning& w : state.warnings)
    if (warned.insert(fmt::format("{} {} {} {}", w.kind, l.kernel->name, w.a, w.b)).second)
      on_warning({w.kind, w.text});
  u64 read = 0, written = 0;
  for (const auto& block : blocks)
    for (Footprint* f : block->footprints) {
      for (auto& word : f->read) read += static_cast<u64>(std::popcount(word.exchange(0)));
      for (auto& word : f->written) written += static_cast<u64>(std::popcount(word.exchange(0)));
      f->touched = false;
    }
  if (options.count) {
    Record& r = record(l.kernel);
    r.counts.launches++;
    r.counts.blocks += l.grid.count();
    r.counts.threads += l.grid.count() * l.block.count();
    r.counts.unique_read_bytes += 32 * read;
    r.counts.unique_written_bytes += 32 * written;
    for (const std::vector<Counts>& c : counts)
      for (size_t i = 0; i < c.size(); i++)
        if (c[i].instructions) r.instructions[i] += c[i];
  }
  if (!state.error) return;
  try {
    std::rethrow_exception(state.error);
  } catch (const Fault& f) {
    fail(f.report);
  }
}

Machine::Machine(Options options) : impl_(std::make_unique<Impl>()) {
  impl_->options = options;
  impl_->memory.impl().track_written = options.checks & check_uninit;
  impl_->on_fault = [](const Report& r) {
    std::fflush(stdout);
    fmt::print(stderr, "{}\n", r.text);
    std::fflush(stderr);
    _exit(1);  // other threads of the program may be anywhere: no destructors
  };
  impl_->on_warning = [](const Report& r) { fmt::print(stderr, "{}\n", r.text); };
  impl_->on_print = [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  };
}

Machine::~Machine() { impl_->modules.clear(); }

const Options& Machine::options() const { return impl_->options; }
Memory& Machine::memory() { return impl_->memory; }

Module& Machine::load(std::string ptx) {
  auto impl = std::make_unique<Module::Impl>();
  impl->text = std::move(ptx);
  impl->memory = &impl_->memory;
  impl->perturb = impl_->options.perturb;
  impl->fault = [this](const Report& r) { impl_->fail(r); };
  const std::lock_guard lock(impl_->launching);
  impl_->modules.push_back(std::unique_ptr<Module>(new Module(std::move(impl))));
  return *impl_->modules.back();
}

void Machine::unload(Module& module) {
  const std::lock_guard lock(impl_->launching);
  std::erase_if(impl_->modules, [&](const std::unique_ptr<Module>& m) { return m.get() == &module; });
}

void Machine::launch(const Launch& launch) {
  const std::lock_guard lock(impl_->launching);
  impl_->check_launch(launch);
  LaunchState state;
  state.launch = &launch;
  state.kernel = launch.kernel;
  state.program = launch.kernel->code;
  state.options = &impl_->options;
  state.memory = &impl_->memory;
  state.shared_bytes = static_cast<u32>(launch.kernel->static_shared + launch.dynamic_shared);
  state.serial = ++impl_->serial;
  state.ended.resize(launch.grid.count());
  impl_->set_order(state, launch);
  impl_->run(state, launch);
}

void Machine::on_fault(std::function<void(const Report&)> handler) { impl_->on_fault = std::move(handler); }
void Machine::on_warning(std::function<void(const Report&)> handler) { impl_->on_warning = std::move(handler); }
void Machine::on_print(std::function<void(std::string_view)> handler) { impl_->on_print = std::move(handler); }

std::vector<KernelCounts> Machine::counts() const {
  const std::lock_guard lock(impl_->launching);
  std::vector<KernelCounts> out;
  for (const Impl::Record& r : impl_->records) {
    KernelCounts k = r.counts;
    const Program& p = *r.kernel->code;
    for (size_t i = 0; i < p.code.size(); i++) {
      if (!r.instructions[i].instructions) continue;
      InstructionCounts ic;
      ic.counts = r.instructions[i];
      const u64 n = p.code[i].flops;
      switch (p.code[i].flop_class) {
        case FlopClass::none: break;
        case FlopClass::fma: ic.counts.flop_fma = n * ic.counts.lanes; break;
        case FlopClass::mufu: ic.counts.flop_mufu = n * ic.counts.lanes; break;
        case FlopClass::mma: ic.counts.flop_mma = n * ic.counts.instructions; break;
      }
      const InstInfo& info = p.info[i];
      for (const char c : info.text) ic.text += c == '\n' || c == '\t' ? ' ' : c;
      ic.ptx_line = info.ptx_line;
      ic.line = info.line;
      if (info.file > 0 && static_cast<size_t>(info.file) < p.files->size())
        ic.file = (*p.files)[static_cast<size_t>(info.file)];
      k.total += ic.counts;
      k.instructions.push_back(std::move(ic));
    }
    out.push_back(std::move(k));
  }
  return out;
}

void Machine::reset_counts() {
  const std::lock_guard lock(impl_->launching);
  impl_->records.clear();
}

}  // namespace vgpu
