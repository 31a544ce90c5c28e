#include "csrc/base/spilled-array.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "csrc/base/error.h"

namespace pykaldi {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

}  // namespace

SpilledBytes::SpilledBytes(const std::string &directory) : directory_(directory) {
  std::string name = directory + "/.spilled-XXXXXX";
  descriptor_ = mkostemp(name.data(), O_CLOEXEC);
  if (descriptor_ < 0) throw FileError(directory, errno);
  unlink(name.c_str());
  buffer_.reserve(kBufferBytes);
}

SpilledBytes::~SpilledBytes() {
  if (data_ != nullptr) munmap(data_, size_);
  close(descriptor_);
}

void SpilledBytes::Append(const void *data, size_t size) {
  if (buffer_.size() + size > kBufferBytes) Flush();
  const char *bytes = static_cast<const char *>(data);
  buffer_.insert(buffer_.end(), bytes, bytes + size);
  size_ += size;
}

void SpilledBytes::Map() {
  Flush();
  buffer_.shrink_to_fit();
  if (size_ == 0) return;
  void *mapped = mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor_, 0);
  if (mapped == MAP_FAILED) throw FileError(directory_, errno);
  data_ = static_cast<char *>(mapped);
}

void SpilledBytes::Flush() {
  for (size_t done = 0; done < buffer_.size();) {
    const ssize_t written = write(descriptor_, buffer_.data() + done, buffer_.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw FileError(directory_, errno);
    done += static_cast<size_t>(written);
  }
  buffer_.clear();
}

}  // namespace pykaldi
