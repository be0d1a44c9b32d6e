// Threads that stay between launches: a launch of microseconds does not pay for making them.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace vgpu {

class Workers {
 public:
  Workers() = default;
  ~Workers();
  Workers(const Workers&) = delete;
  // Calls work(0) here and work(1) to work(n - 1) on other threads; returns when all have. `work` must not throw.
  void run(unsigned n, const std::function<void(unsigned)>& work);

 private:
  void serve(unsigned index);
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable begin_, end_;
  const std::function<void(unsigned)>* work_ = nullptr;
  unsigned wanted_ = 0, running_ = 0;
  unsigned long turn_ = 0;
  bool stopping_ = false;
};

}  // namespace vgpu
