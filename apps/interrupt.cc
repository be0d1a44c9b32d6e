#include "apps/interrupt.h"

#include <csignal>

namespace weft {

namespace {
volatile std::sig_atomic_t arrived = 0;

void on_signal(int signal) {
  arrived = 1;
  std::signal(signal, SIG_DFL);
}
}  // namespace

void catch_interrupts() {
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
}

bool interrupted() { return arrived != 0; }

}  // namespace weft
