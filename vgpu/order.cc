#include "vgpu/order.h"

#include <algorithm>

#include "vgpu/async.h"

namespace vgpu {
namespace {

void join_phases(std::vector<u32>& to, const std::vector<u32>& from) {
  if (to.size() < from.size()) to.resize(from.size());
  for (size_t i = 0; i < from.size(); i++) to[i] = std::max(to[i], from[i]);
}

}  // namespace

void Released::clear() { *this = {}; }

void Released::join(const Released& other) {
  for (int v = 0; v < warp_size; v++) {
    seen[v] = std::max(seen[v], other.seen[v]);
    proxy.fenced[v] = std::max(proxy.fenced[v], other.proxy.fenced[v]);
  }
  join_phases(proxy.phases, other.proxy.phases);
}

void release(Warp& w, Released& to) {
  const ProxyOrder& mine = w.block->async->order(w);
  for (int v = 0; v < warp_size; v++) {
    to.seen[v] = std::max(to.seen[v], w.seen[v]);
    to.proxy.fenced[v] = std::max(to.proxy.fenced[v], mine.fenced[v]);
  }
  to.seen[w.index] = std::max(to.seen[w.index], w.clock + 1);
  join_phases(to.proxy.phases, mine.phases);
  w.clock++;  // what follows is not released; the warp's own lanes are as unordered as before
  w.step = 0;
}

void acquire(Warp& w, const Released& from) {
  ProxyOrder& mine = w.block->async->order(w);
  for (int v = 0; v < warp_size; v++) {
    w.seen[v] = std::max(w.seen[v], from.seen[v]);
    mine.fenced[v] = std::max(mine.fenced[v], from.proxy.fenced[v]);
  }
  join_phases(mine.phases, from.proxy.phases);
}

void fence_proxy(Warp& w) {
  ProxyOrder& mine = w.block->async->order(w);
  for (int v = 0; v < warp_size; v++) mine.fenced[v] = std::max(mine.fenced[v], w.seen[v]);
  mine.fenced[w.index] = ++w.clock;
  w.step = 0;
}

}  // namespace vgpu
