#include "kernels/device/waiting.h"

#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>

namespace weft {

namespace {

constexpr const char *watched = "WEFT_WATCHED_SPINS", *spins = "20000";
constexpr std::chrono::milliseconds interval(200);

// Nanoseconds for which the threads of this process were ready to run and had no processor; -1 where the system does
// not tell.
int64_t delay() {
  int64_t sum = -1;
  std::error_code error;
  std::filesystem::directory_iterator task("/proc/self/task", error);
  for (; !error && task != std::filesystem::directory_iterator(); task.increment(error)) {
    std::ifstream file(task->path() / "schedstat");
    int64_t ran = 0, waited = 0;
    if (file >> ran >> waited) sum = std::max<int64_t>(sum, 0) + waited;  // a thread may have ended meanwhile
  }
  return sum;
}

// While it lives there are more OpenMP threads than processors, as OpenMP counts them: documented for GOMP_SPINCOUNT,
// it then spins 100 times at most. The threads too many sleep.
class Crowd {
 public:
  explicit Crowd(int threads)
      : owner_([this, count = std::max(2, omp_get_num_procs() - threads + 2)] {
#pragma omp parallel num_threads(count)
          {
#pragma omp barrier  // an empty region would be left out
          }
          std::unique_lock lock(mutex_);
          ended_.wait(lock, [this] { return end_; });
        }) {}
  ~Crowd() {
    {
      const std::lock_guard lock(mutex_);
      end_ = true;
    }
    ended_.notify_one();
    owner_.join();  // OpenMP's threads end with the one that they were made for
  }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  bool end_ = false;
  std::thread owner_;
};

}  // namespace

void set_spinning(char* const* argv) {
  if (std::getenv("GOMP_SPINCOUNT") || std::getenv("OMP_WAIT_POLICY")) return;
  setenv("GOMP_SPINCOUNT", spins, 1);
  setenv(watched, "1", 1);
  execv("/proc/self/exe", argv);  // returns only if it failed; then the program goes on as it is
  unsetenv(watched);
}

bool SleepPolicy::update(double waited) {
  if (sleep_) {
    left_ = waited > limit ? hold_ : left_ - 1;
    if (left_ > 0) return true;
    sleep_ = false;
    quiet_ = 0;
  } else if (waited <= limit) {
    ++quiet_;
  } else {
    // Other work that shows only while threads spin is found out less and less often.
    hold_ = quiet_ < calm ? std::min(2 * hold_, longest) : 1;
    left_ = hold_;
    sleep_ = true;
  }
  return sleep_;
}

WaitingWatch::WaitingWatch(int threads) : threads_(threads) {
  if (threads <= 1 || !std::getenv(watched)) return;
  try {
    watcher_ = std::thread([this] { watch(); });
  } catch (const std::system_error&) {
    // Where no thread is to be had, neither is a crowd; the program itself may do without.
  }
}

WaitingWatch::~WaitingWatch() {
  if (!watcher_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_one();
  watcher_.join();
}

void WaitingWatch::watch() try {
  SleepPolicy policy;
  std::optional<Crowd> crowd(std::in_place, threads_);
  int64_t before = delay();
  auto start = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, interval, [this] { return stop_; })) {
    const int64_t now = delay();
    const auto time = std::chrono::steady_clock::now();
    if (now < 0) continue;
    const auto waited = static_cast<double>(std::max<int64_t>(now - before, 0));
    const bool sleep = policy.update(waited / std::chrono::duration<double, std::nano>(time - start).count());
    before = now, start = time;
    if (sleep && !crowd) crowd.emplace(threads_);
    if (!sleep) crowd.reset();
  }
} catch (const std::system_error&) {
  // No thread for a crowd: they spin.
}

}  // namespace weft
