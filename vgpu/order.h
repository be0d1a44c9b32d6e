// The order that mbarriers and proxy fences bring about, beside the clocks of warps (Warp::seen). Only programs that
// use the async proxy have it.
//
// A bulk copy's writes bear the mbarrier that it completes on and the phase; a warp that has seen this phase end comes
// after them. What a warp has written through ordinary stores may be touched by the async proxy only after a
// fence.proxy.async that follows the store on a chain of synchronisation: `fenced` are the clocks up to which that
// holds.
#pragma once

#include <vector>

#include "vgpu/types.h"

namespace vgpu {

struct Warp;

// Of one warp: accesses of warp v before clock fenced[v] may be followed by the async proxy; phases[b] phases of
// mbarrier b have been seen to end.
struct ProxyOrder {
  u32 fenced[warp_size] = {};
  std::vector<u32> phases;
};

// What comes before everything that follows an acquire: joined from the warps that have released.
struct Released {
  u32 seen[warp_size] = {};
  ProxyOrder proxy;
  void clear();
  void join(const Released& other);
};

// The warp's accesses up to now are part of `to`; later ones are not.
void release(Warp& w, Released& to);
void acquire(Warp& w, const Released& from);
// fence.proxy.async by the warp.
void fence_proxy(Warp& w);

}  // namespace vgpu
