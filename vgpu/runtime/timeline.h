#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <vector>

namespace vgpu {

/// One piece of work of a stream. `run` returns the seconds that the modelled clock gives it.
struct Operation {
  std::vector<std::shared_ptr<Operation>> before;  ///< what must have run
  std::function<double()> run;
  double issued = 0;  ///< the host's time when it was queued; seconds of the modelled clock, as `end`
  double end = 0;
  bool done = false;
};
using OperationPtr = std::shared_ptr<Operation>;

struct Capture;

/// A CUDA stream: its operations run in order.
struct Stream {
  int number = 0;  ///< 0 is the legacy default stream
  unsigned flags = 0;
  int priority = 0;
  bool blocking = true;  ///< ordered with the legacy default stream
  OperationPtr last;
  std::vector<OperationPtr> waits;   ///< what the next operation waits for besides (cudaStreamWaitEvent)
  std::shared_ptr<Capture> capture;  ///< null unless the stream is being captured
};

/// All streams and their modelled clock. Without a seed an operation runs at once, which is one legal order. With a
/// seed operations are held back, and which of the runnable ones comes next is drawn, so that a missing dependency or
/// synchronisation shows.
class Timeline {
 public:
  explicit Timeline(uint64_t seed);

  Stream& legacy() { return *legacy_; }
  Stream& per_thread() { return *per_thread_; }
  Stream& create(unsigned flags, int priority, bool blocking);
  /// Runs what the stream still holds.
  void destroy(Stream& stream);
  bool exists(const Stream* stream) const;
  const std::set<Stream*>& streams() const { return streams_; }

  OperationPtr submit(Stream& stream, std::function<double()> run);
  /// Runs until `operation` has run, and moves the host's time behind it. Null: nothing to do.
  void complete(const OperationPtr& operation);
  void complete(Stream& stream);
  void complete_all();
  /// Whether all that was queued has run; on the legacy stream, that of the blocking streams too.
  bool idle(const Stream& stream) const;

 private:
  void run_one_ready();
  void execute(const OperationPtr& operation);

  uint64_t seed_;
  std::mt19937_64 random_;
  double host_time_ = 0;
  int next_number_ = 1;
  std::vector<OperationPtr> pending_;  // in the order of their submission
  std::set<Stream*> streams_;
  std::vector<std::unique_ptr<Stream>> owned_;
  Stream* legacy_;
  Stream* per_thread_;
};

}  // namespace vgpu
