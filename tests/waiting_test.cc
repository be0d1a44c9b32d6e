#include "kernels/device/waiting.h"

#include <doctest/doctest.h>
#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "kernels/device/parallel.h"

using namespace weft;

namespace {

constexpr double idle = 0, busy = 2 * SleepPolicy::limit;

// Calls until the policy no longer sleeps.
int sleeps(SleepPolicy& policy, double waited) {
  int count = 0;
  while (policy.update(waited)) ++count;
  return count;
}

int threads_of_process() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word && word != "Threads:") {
  }
  int count = 0;
  status >> count;
  return count;
}

// Whether it holds within ten seconds.
template <class Condition> bool eventually(Condition&& condition) {
  for (int i = 0; i < 10000 && !condition(); ++i) usleep(1000);
  return condition();
}

}  // namespace

TEST_CASE("threads sleep until an interval has shown no other work") {
  SleepPolicy policy;
  CHECK(!policy.update(idle));
  CHECK(!policy.update(SleepPolicy::limit));
  SleepPolicy beside;
  for (int i = 0; i < 100; ++i) CHECK(beside.update(busy));
  CHECK(!beside.update(idle));
}

TEST_CASE("threads sleep at once where other work comes") {
  SleepPolicy policy;
  for (int i = 0; i < SleepPolicy::calm + 1; ++i) CHECK(!policy.update(idle));
  CHECK(policy.update(busy));
  CHECK(!policy.update(idle));  // it went after a long calm, so that spinning is tried at once
}

TEST_CASE("work that shows only while threads spin is met less and less often") {
  SleepPolicy policy;
  CHECK(sleeps(policy, idle) == 0);
  int longest = 0;
  for (int i = 0; i < 12; ++i) {
    CHECK(policy.update(busy));
    const int count = 1 + sleeps(policy, idle);
    CHECK(count >= longest);
    longest = count;
  }
  CHECK(longest == SleepPolicy::longest);
  for (int i = 0; i < SleepPolicy::calm; ++i) CHECK(!policy.update(idle));
  CHECK(policy.update(busy));
  CHECK(sleeps(policy, idle) == 0);
}

TEST_CASE("a watch leaves no thread behind, and loops give the same") {
  setenv("WEFT_WATCHED_SPINS", "1", 1);
  const int before = threads_of_process();
  {
    const WaitingWatch watch(2);
    // It begins with threads that sleep: itself, a crowd's owner and the crowd, by which the process has more OpenMP
    // threads than processors. They stay for the first interval at least.
    const int crowded = before + 2 + std::max(2, omp_get_num_procs()) - 1;
    CHECK(eventually([&] { return threads_of_process() >= crowded; }));
    std::vector<int> seen(1000);
    for (int round = 0; round < 100; ++round) {
      parallel_for(1000, 10, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) ++seen[i];
      });
    }
    CHECK(std::ranges::count(seen, 100) == 1000);
  }
  unsetenv("WEFT_WATCHED_SPINS");
  const int of_loops = omp_get_max_threads() - 1;
  CHECK(eventually([&] { return threads_of_process() <= before + of_loops; }));  // OpenMP's end a little later
  const WaitingWatch none(2);
  CHECK(threads_of_process() <= before + of_loops);
}
