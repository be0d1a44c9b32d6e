#include "apps/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace weft {

using Clock = std::chrono::steady_clock;

namespace {
double seconds_between(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}
}  // namespace

std::string duration_text(double seconds) {
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

void report_line(const std::string& line) {
  fmt::print(stderr, "{}{}\n", isatty(STDERR_FILENO) ? "\r\033[K" : "", line);
  std::fflush(stderr);
}

Progress::Progress(std::string title, int64_t total, std::string unit, bool quiet)
    : title_(std::move(title)), unit_(std::move(unit)), total_(total), quiet_(quiet), terminal_(isatty(STDERR_FILENO)),
      start_(Clock::now()), drawn_(start_) {}

Progress::~Progress() { finish(); }

void Progress::update(int64_t done, const std::string& note) {
  done_ = done;
  if (!note.empty()) note_ = note;
  const auto now = Clock::now();
  if (quiet_ || finished_ || seconds_between(drawn_, now) < (terminal_ ? 0.1 : 20)) return;
  drawn_ = now;
  draw();
}

void Progress::draw() {
  const double elapsed = seconds_between(start_, Clock::now());
  const double rate = elapsed > 0 ? done_ / elapsed : 0;
  const double share = total_ > 0 ? std::min(1.0, static_cast<double>(done_) / total_) : 1;
  const std::string time = finished_ ? "in " + duration_text(elapsed)
                                     : (rate > 0 ? duration_text((total_ - done_) / rate) + " left" : std::string());
  std::string line = fmt::format("{} {}/{} {}  {:.0f}/s  {}", title_, done_, total_, unit_, rate, time);
  if (!note_.empty()) line += "  " + note_;
  if (terminal_) {
    constexpr int width = 24;
    const int full = static_cast<int>(share * width);
    std::string bar;
    for (int i = 0; i < width; ++i) bar += i < full ? "█" : "░";
    fmt::print(stderr, "\r{} {}\033[K{}", bar, line, finished_ ? "\n" : "");
  } else {
    fmt::print(stderr, "{}\n", line);
  }
  std::fflush(stderr);
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  if (!quiet_) draw();
}

}  // namespace weft
