#include "vgpu/workers.h"

namespace vgpu {

Workers::~Workers() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  begin_.notify_all();
  for (std::thread& t : threads_) t.join();
}

void Workers::run(unsigned n, const std::function<void(unsigned)>& work) {
  if (n > 1) {
    {
      const std::lock_guard lock(mutex_);
      while (threads_.size() + 1 < n)
        threads_.emplace_back([this, index = static_cast<unsigned>(threads_.size() + 1)] { serve(index); });
      work_ = &work;
      wanted_ = n;
      running_ = n - 1;
      turn_++;
    }
    begin_.notify_all();
  }
  work(0);
  if (n <= 1) return;
  std::unique_lock lock(mutex_);
  end_.wait(lock, [&] { return running_ == 0; });
}

void Workers::serve(unsigned index) {
  unsigned long served = 0;
  std::unique_lock lock(mutex_);
  for (;;) {
    begin_.wait(lock, [&] { return stopping_ || (turn_ != served && index < wanted_); });
    if (stopping_) return;
    served = turn_;
    const std::function<void(unsigned)>& work = *work_;
    lock.unlock();
    work(index);
    lock.lock();
    if (--running_ == 0) end_.notify_one();
  }
}

}  // namespace vgpu
