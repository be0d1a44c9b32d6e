// How threads that work together wait for each other. gcc's OpenMP lets a thread look for the others' arrival some
// number of times (spin) before it sleeps. Spinning is faster by a quarter where every thread has a processor of its own,
// and slower by a factor of three where one has not: it holds the processor that the awaited one needs.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

namespace weft {

/// Starts the program once more with the number of spins set (GOMP_SPINCOUNT), which OpenMP reads before main(). To be
/// called first in main(); does nothing where GOMP_SPINCOUNT or OMP_WAIT_POLICY is set, which is then what counts.
void set_spinning(char* const* argv);

/// When to sleep rather than spin, told at equal intervals for how much of one the threads together had no processor.
class SleepPolicy {
 public:
  /// Whether to sleep until the next call.
  bool update(double waited);

  /// More means that there is other work. Two threads that spin, and one that reads pictures now and then, have 0.12;
  /// beside a busy process they have 0.8, and if they sleep 0.6.
  static constexpr double limit = 0.3;
  static constexpr int longest = 32, calm = 10;  // intervals

 private:
  bool sleep_ = true;
  int hold_ = 1, left_ = 1, quiet_ = 0;
};

/// While it lives, the threads of parallel loops, `threads` at a time, sleep at once when they wait if there is other
/// work on the machine, and spin if there is none, by the time for which they had no processor (Linux's
/// /proc/self/task/*/schedstat, every 200 ms); they sleep where it does not tell. Does nothing for one thread or where
/// set_spinning() did nothing.
class WaitingWatch {
 public:
  explicit WaitingWatch(int threads);
  ~WaitingWatch();
  WaitingWatch(const WaitingWatch&) = delete;

 private:
  void watch();

  int threads_;
  bool stop_ = false;
  std::mutex mutex_;
  std::condition_variable stopped_;
  std::thread watcher_;
};

}  // namespace weft
