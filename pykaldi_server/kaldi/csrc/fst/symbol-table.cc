#include "csrc/fst/symbol-table.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>

#include "csrc/base/byte-writer.h"
#include "csrc/base/mapped-file.h"
#include "csrc/base/parse-number.h"

namespace pykaldi {
namespace {

constexpr std::string_view kSeparators = " \t\r";
constexpr size_t kFirstBuckets = 64;
constexpr size_t kMaxSymbols = std::numeric_limits<int32_t>::max();
constexpr size_t kMaxSymbolBytes = std::numeric_limits<int32_t>::max();
constexpr int64_t kMaxKey = std::numeric_limits<int64_t>::max() - 1;

// Splits a line into its symbol and its key; false when it has another number of fields or no key.
bool ParseLine(std::string_view line, std::string_view *symbol, int64_t *key) {
  const size_t symbol_end = line.find_first_of(kSeparators);
  if (symbol_end == std::string_view::npos) return false;
  *symbol = line.substr(0, symbol_end);
  const size_t key_begin = line.find_first_not_of(kSeparators, symbol_end);
  if (key_begin == std::string_view::npos) return false;
  return ParseInteger(line.substr(key_begin), key) && *key >= 0 && *key <= kMaxKey;
}

uint32_t Hash(std::string_view symbol) {
  const uint64_t hash = std::hash<std::string_view>()(symbol);
  return static_cast<uint32_t>(hash ^ hash >> 32);
}

}  // namespace

SymbolTable SymbolTable::ReadText(const std::string &path) {
  const MappedFile file(path);
  const std::string_view all(file.Data(), file.Size());
  SymbolTable table(path);
  std::vector<std::pair<std::string_view, int64_t>> batch;
  for (size_t begin = 0; begin < all.size();) {
    const size_t end = std::min(all.find('\n', begin), all.size());
    std::string_view line = all.substr(begin, end - begin);
    const size_t first = std::min(line.find_first_not_of(kSeparators), line.size());
    line = line.substr(first, line.find_last_not_of(kSeparators) + 1 - first);
    std::string_view symbol;
    int64_t key;
    if (!line.empty()) {
      if (!ParseLine(line, &symbol, &key)) {
        throw ModelFormatError(path, static_cast<int64_t>(begin), "a symbol and its number", Printable(line));
      }
      batch.emplace_back(symbol, key);
      if (batch.size() == kBatch) table.AddBatch(&batch);
    }
    begin = end + 1;
  }
  table.AddBatch(&batch);
  return table;
}

SymbolTable SymbolTable::Read(const std::string &path) {
  const MappedFile file(path);
  ByteReader reader(file.Data(), file.Size(), path);
  return Read(&reader);
}

SymbolTable SymbolTable::Read(ByteReader *reader) {
  const size_t begin = reader->Offset();
  const std::string_view magic = reader->Following(sizeof(kMagic));
  if (reader->Read<int32_t>("a symbol table") != kMagic)
    reader->Fail(begin, "a symbol table", ShowBytes(magic));
  SymbolTable table{std::string(reader->ReadString("the name of a symbol table"))};
  const size_t available_key_offset = reader->Offset();
  const int64_t available_key = reader->Read<int64_t>("the next free key");
  const size_t count_offset = reader->Offset();
  const int64_t count = reader->Read<int64_t>("the number of symbols");
  constexpr size_t kLeastBytes = sizeof(int32_t) + sizeof(int64_t);
  if (count < 0 || static_cast<size_t>(count) > reader->Remaining() / kLeastBytes) {
    reader->Fail(count_offset, "a number of symbols",
                 std::to_string(count) + " with " + std::to_string(reader->Remaining()) + " bytes left");
  }
  table.entries_.reserve(static_cast<size_t>(count));
  while (table.buckets_.size() < 2 * static_cast<size_t>(count)) table.GrowBuckets();
  std::vector<std::pair<std::string_view, int64_t>> batch;
  for (int64_t i = 0; i < count; ++i) {
    const std::string_view symbol = reader->ReadString("a symbol");
    const size_t offset = reader->Offset();
    const int64_t key = reader->Read<int64_t>("the key of a symbol");
    if (key < 0 || key > kMaxKey) reader->Fail(offset, "the key of a symbol", std::to_string(key));
    batch.emplace_back(symbol, key);
    if (batch.size() == kBatch) table.AddBatch(&batch);
  }
  table.AddBatch(&batch);
  if (available_key < 0) {
    reader->Fail(available_key_offset, "the next free key", std::to_string(available_key));
  }
  table.available_key_ = std::max(table.available_key_, available_key);
  return table;
}

void SymbolTable::Write(std::ostream &out) const {
  WriteBytes(out, kMagic);
  WriteString(out, name_);
  WriteBytes(out, available_key_);
  WriteBytes(out, static_cast<int64_t>(entries_.size()));
  for (const Entry &entry : entries_) {
    WriteString(out, Text(entry));
    WriteBytes(out, entry.key);
  }
}

void SymbolTable::WriteText(std::ostream &out) const {
  for (const Entry &entry : entries_) out << Text(entry) << '\t' << entry.key << '\n';
}

int64_t SymbolTable::AddSymbol(std::string_view symbol, int64_t key) {
  return AddSymbol(symbol, Hash(symbol), key);
}

void SymbolTable::AddBatch(std::vector<std::pair<std::string_view, int64_t>> *batch) {
  while (entries_.size() + batch->size() > buckets_.size() / 2) GrowBuckets();
  uint32_t hashes[kBatch];
  for (size_t i = 0; i < batch->size(); ++i) {
    hashes[i] = Hash((*batch)[i].first);
    __builtin_prefetch(&buckets_[hashes[i] & (buckets_.size() - 1)], 1);
  }
  for (size_t i = 0; i < batch->size(); ++i) AddSymbol((*batch)[i].first, hashes[i], (*batch)[i].second);
  batch->clear();
}

int64_t SymbolTable::AddSymbol(std::string_view symbol, uint32_t hash, int64_t key) {
  if (entries_.size() >= buckets_.size() / 2) GrowBuckets();
  Bucket &bucket = buckets_[FindBucket(symbol, hash)];
  if (bucket.position != kEmptyBucket) return entries_[bucket.position].key;
  if (key < 0 || key > kMaxKey) {
    throw std::out_of_range("expected a key of 0 to " + std::to_string(kMaxKey) + ", found " +
                            std::to_string(key));
  }
  if (entries_.size() >= kMaxSymbols || symbol.size() > kMaxSymbolBytes) {
    throw std::length_error("expected at most " + std::to_string(kMaxSymbols) + " symbols of at most " +
                            std::to_string(kMaxSymbolBytes) + " bytes, found one more, of " +
                            std::to_string(symbol.size()));
  }
  const int32_t position = static_cast<int32_t>(entries_.size());
  entries_.push_back({key, text_.size(), static_cast<uint32_t>(symbol.size())});
  text_.insert(text_.end(), symbol.begin(), symbol.end());
  bucket = {position, hash};
  IndexKey(key, position);
  available_key_ = std::max(available_key_, key + 1);
  return key;
}

std::string_view SymbolTable::FindSymbol(int64_t key) const {
  const int32_t position = PositionOfKey(key);
  return position < 0 ? std::string_view() : Text(entries_[position]);
}

int64_t SymbolTable::FindKey(std::string_view symbol) const {
  if (entries_.empty()) return kNoSymbol;
  const int32_t position = buckets_[FindBucket(symbol, Hash(symbol))].position;
  return position == kEmptyBucket ? kNoSymbol : entries_[position].key;
}

size_t SymbolTable::FindBucket(std::string_view symbol, uint32_t hash) const {
  const size_t mask = buckets_.size() - 1;
  size_t bucket = hash & mask;
  while (buckets_[bucket].position != kEmptyBucket &&
         (buckets_[bucket].hash != hash || Text(entries_[buckets_[bucket].position]) != symbol)) {
    bucket = (bucket + 1) & mask;
  }
  return bucket;
}

void SymbolTable::GrowBuckets() {
  std::vector<Bucket> before(buckets_.empty() ? kFirstBuckets : 2 * buckets_.size());
  before.swap(buckets_);
  const size_t mask = buckets_.size() - 1;
  for (const Bucket &each : before) {
    if (each.position == kEmptyBucket) continue;
    size_t bucket = each.hash & mask;
    while (buckets_[bucket].position != kEmptyBucket) bucket = (bucket + 1) & mask;
    buckets_[bucket] = each;
  }
}

void SymbolTable::IndexKey(int64_t key, int32_t position) {
  if (key == position && key == num_dense_keys_) {
    ++num_dense_keys_;
  } else if (key >= num_dense_keys_) {
    sparse_keys_.emplace(key, position);
  }
}

int32_t SymbolTable::PositionOfKey(int64_t key) const {
  if (key < 0) return -1;
  if (key < num_dense_keys_) return static_cast<int32_t>(key);
  const auto found = sparse_keys_.find(key);
  return found == sparse_keys_.end() ? -1 : found->second;
}

}  // namespace pykaldi
