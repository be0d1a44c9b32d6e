// A progress bar with rate and time left on a terminal, a plain line now and then elsewhere; always on stderr.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace weft {

class Progress {
 public:
  /// `total` steps named `unit` ("items"); a `quiet` bar prints nothing.
  Progress(std::string title, int64_t total, std::string unit, bool quiet);
  ~Progress();
  Progress(const Progress&) = delete;

  /// Shows `done` of the total, with a note such as "loss 1.23". Draws at most ten times a second.
  void update(int64_t done, const std::string& note = "");
  /// The last state, and a new line. Called by the destructor otherwise.
  void finish();

 private:
  void draw();
  std::string title_, unit_, note_;
  int64_t total_, done_ = 0;
  bool quiet_, terminal_, finished_ = false;
  std::chrono::steady_clock::time_point start_, drawn_;
};

/// One line on stderr, whether quiet or not, that does not run into a bar being drawn.
void report_line(const std::string& line);

/// Seconds as "12.3 s" or "4:05".
std::string duration_text(double seconds);

}  // namespace weft
