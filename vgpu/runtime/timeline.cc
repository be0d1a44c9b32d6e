#include "vgpu/runtime/timeline.h"

#include <algorithm>

namespace vgpu {

constexpr size_t most_held_back = 64;

Timeline::Timeline(uint64_t seed) : seed_(seed), random_(seed) {
  legacy_ = &create(0, 0, true);
  legacy_->number = 0;
  per_thread_ = &create(0, 0, true);
  next_number_ = 1;
}

Stream& Timeline::create(unsigned flags, int priority, bool blocking) {
  auto stream = std::make_unique<Stream>();
  stream->number = next_number_++;
  stream->flags = flags;
  stream->priority = priority;
  stream->blocking = blocking;
  streams_.insert(stream.get());
  owned_.push_back(std::move(stream));
  return *owned_.back();
}

void Timeline::destroy(Stream& stream) {
  complete(stream);
  streams_.erase(&stream);
  std::erase_if(owned_, [&](const auto& owned) { return owned.get() == &stream; });
}

bool Timeline::exists(const Stream* stream) const { return streams_.contains(const_cast<Stream*>(stream)); }

OperationPtr Timeline::submit(Stream& stream, std::function<double()> run) {
  auto operation = std::make_shared<Operation>();
  operation->run = std::move(run);
  operation->issued = host_time_;
  operation->before = std::move(stream.waits);
  stream.waits.clear();
  if (stream.last) operation->before.push_back(stream.last);
  if (&stream == legacy_) {
    for (const Stream* other : streams_) {
      if (other->blocking && other->last) operation->before.push_back(other->last);
    }
  } else if (stream.blocking && legacy_->last) {
    operation->before.push_back(legacy_->last);
  }
  stream.last = operation;
  pending_.push_back(operation);
  if (seed_ == 0) {
    execute(operation);
  } else if (random_() % 2 || pending_.size() > most_held_back) {
    run_one_ready();
  }
  return operation;
}

void Timeline::execute(const OperationPtr& operation) {
  std::erase(pending_, operation);
  double start = operation->issued;
  for (const OperationPtr& earlier : operation->before) start = std::max(start, earlier->end);
  operation->before.clear();
  operation->done = true;
  operation->end = start;
  auto run = std::move(operation->run);
  if (run) operation->end += run();
}

void Timeline::run_one_ready() {
  std::vector<OperationPtr> ready;
  for (const OperationPtr& operation : pending_) {
    if (std::ranges::all_of(operation->before, [](const OperationPtr& earlier) { return earlier->done; })) {
      ready.push_back(operation);
    }
  }
  if (!ready.empty()) execute(ready[random_() % ready.size()]);
}

void Timeline::complete(const OperationPtr& operation) {
  if (!operation) return;
  while (!operation->done) run_one_ready();
  host_time_ = std::max(host_time_, operation->end);
}

void Timeline::complete(Stream& stream) {
  for (const OperationPtr& wait : stream.waits) complete(wait);
  complete(stream.last);
  if (&stream != legacy_) return;
  for (Stream* other : streams_) {
    if (other->blocking) complete(other->last);
  }
}

bool Timeline::idle(const Stream& stream) const {
  auto done = [](const OperationPtr& operation) { return !operation || operation->done; };
  if (!done(stream.last) || !std::ranges::all_of(stream.waits, done)) return false;
  return &stream != legacy_ ||
         std::ranges::all_of(streams_, [&](const Stream* other) { return !other->blocking || done(other->last); });
}

void Timeline::complete_all() {
  for (Stream* stream : streams_) complete(stream->last);
}

}  // namespace vgpu
