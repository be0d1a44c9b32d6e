#pragma once

#include <cstddef>
#include <map>

namespace vgpu {

/// The pages of device memory. They are opened when the device works and closed when the host has waited for it, so
/// that a host that touches them, which no GPU allows, is caught.
class Arena {
 public:
  /// Reserves addresses for `bytes`; nothing is used until it is written. Where the system refuses, memory stays open.
  explicit Arena(size_t bytes);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// Null when there is no room. `bytes` must be a multiple of 512, which is the alignment.
  void* allocate(size_t bytes);
  /// Gives the whole pages inside back to the system; the addresses stay taken. Opening and closing cost by pages in
  /// use.
  void forget(void* address, size_t bytes);
  /// Gives the addresses back.
  void free(void* address, size_t bytes);
  bool contains(const void* address) const;

  void open();
  void close();

 private:
  void protect(int protection);

  char* base_ = nullptr;
  size_t size_ = 0, used_ = 0;  // used_: the highest end of an allocation so far
  bool open_ = false;
  std::map<size_t, size_t> free_;  // offset -> bytes
};

}  // namespace vgpu
