#include "csrc/decoder/search-workspace.h"

#include <algorithm>
#include <mutex>
#include <vector>

namespace pykaldi {
namespace {

class ThreadWorkspace;

// The workspaces of all threads. They take themselves out when their threads end, which for some is after the
// objects of the program have been destroyed; so this one never is.
struct WorkspaceList {
  std::mutex mutex;
  std::vector<ThreadWorkspace *> all;  // guarded by mutex

  static WorkspaceList &OfProcess() {
    static WorkspaceList &list = *new WorkspaceList;
    return list;
  }
};

// The workspace of a thread, which waits for nobody: only what frees idle ones looks at those of others.
class ThreadWorkspace {
 public:
  ThreadWorkspace() {
    WorkspaceList &list = WorkspaceList::OfProcess();
    const std::lock_guard<std::mutex> lock(list.mutex);
    list.all.push_back(this);
  }
  ~ThreadWorkspace() {
    WorkspaceList &list = WorkspaceList::OfProcess();
    const std::lock_guard<std::mutex> lock(list.mutex);
    list.all.erase(std::find(list.all.begin(), list.all.end(), this));
  }
  ThreadWorkspace(const ThreadWorkspace &) = delete;
  ThreadWorkspace &operator=(const ThreadWorkspace &) = delete;

  static ThreadWorkspace &OfThisThread() {
    thread_local ThreadWorkspace workspace;
    return workspace;
  }

  std::mutex in_use;
  SearchWorkspace work;  // guarded by in_use
};

}  // namespace

size_t SearchWorkspace::NumBytes() const {
  return CapacityBytes(tokens) + CapacityBytes(epsilon_links) + map.NumBytes() +
         CapacityBytes(acoustic_costs) + CapacityBytes(offset_costs) + CapacityBytes(expanded) +
         CapacityBytes(active) + candidates.NumBytes() + CapacityBytes(taken) + CapacityBytes(links) +
         CapacityBytes(queue) + CapacityBytes(queued_arcs) + CapacityBytes(epsilon_begin) +
         CapacityBytes(costs) + CapacityBytes(label_costs_);
}

WorkspaceInUse::WorkspaceInUse()
    : lock_(ThreadWorkspace::OfThisThread().in_use), work_(&ThreadWorkspace::OfThisThread().work) {}

WorkspaceInUse::~WorkspaceInUse() { work_->Clear(); }

size_t FreeIdleWorkspaces() {
  WorkspaceList &list = WorkspaceList::OfProcess();
  const std::lock_guard<std::mutex> lock(list.mutex);
  size_t num_bytes = 0;
  for (ThreadWorkspace *const each : list.all) {
    const std::unique_lock<std::mutex> turn(each->in_use, std::try_to_lock);
    if (!turn.owns_lock()) continue;
    num_bytes += each->work.NumBytes();
    each->work = SearchWorkspace();
  }
  return num_bytes;
}

}  // namespace pykaldi
