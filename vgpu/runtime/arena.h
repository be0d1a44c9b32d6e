#pragma once

#include <cstddef>
#include <map>

namespace vgpu {

/// The pages of device memory: closed to the host, as on a GPU, except while the device works (DeviceAccess).
class Arena {
 public:
  /// Reserves addresses for `bytes`; nothing is used until it is written. Where the system refuses, memory stays open.
  explicit Arena(size_t bytes);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// Null when there is no room. `bytes` must be a multiple of 512, which is the alignment.
  void* allocate(size_t bytes);
  /// Gives the addresses back; the pages inside lose their contents.
  void free(void* address, size_t bytes);
  bool contains(const void* address) const;

  void open();
  void close();

 private:
  void protect(int protection);

  char* base_ = nullptr;
  size_t size_ = 0, used_ = 0;     // used_: the highest end of an allocation so far
  int depth_ = 0;                  // of open()
  std::map<size_t, size_t> free_;  // offset -> bytes
};

/// While one lives, device memory may be touched: around kernels, copies and library calls.
class DeviceAccess {
 public:
  explicit DeviceAccess(Arena& arena) : arena_(arena) { arena_.open(); }
  ~DeviceAccess() { arena_.close(); }
  DeviceAccess(const DeviceAccess&) = delete;
  DeviceAccess& operator=(const DeviceAccess&) = delete;

 private:
  Arena& arena_;
};

}  // namespace vgpu
