// A table of symbols (words, phones) and their integer keys, as OpenFst has it.
//
// Text form (words.txt): one symbol, spaces or tabs, and the key per line. Binary form, also embedded in
// FST files: int32 magic number, string name, int64 next free key, int64 number of symbols, then a string and
// an int64 key for each.
//
// A symbol that comes twice keeps its first key, and a key its first symbol (symbol-table.cc in OpenFst).
// The symbols follow one another in one buffer, so half a million of them take about 20 MB.
#ifndef PYKALDI_SERVER_FST_SYMBOL_TABLE_H_
#define PYKALDI_SERVER_FST_SYMBOL_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "csrc/base/byte-reader.h"
#include "csrc/base/concurrent-use.h"
#include "csrc/base/error.h"

namespace pykaldi {

class SymbolTable {
 public:
  static constexpr int64_t kNoSymbol = -1;

  explicit SymbolTable(std::string name = "") : name_(std::move(name)) {}

  // For whoever shares a table between threads; nothing in the core looks at it.
  ConcurrentUse<DecoderError> *Use() const { return &use_; }

  // Reads the text form; throws FileError, or ModelFormatError with the place.
  static SymbolTable ReadText(const std::string &path);
  // Reads the binary form, from a file or from within one.
  static SymbolTable Read(const std::string &path);
  static SymbolTable Read(ByteReader *reader);
  void Write(std::ostream &out) const;
  void WriteText(std::ostream &out) const;

  // Adds a symbol and returns its key, which is another one when the symbol was there already. Keys are
  // zero or positive.
  int64_t AddSymbol(std::string_view symbol, int64_t key);
  int64_t AddSymbol(std::string_view symbol) { return AddSymbol(symbol, available_key_); }

  // The symbol of a key, or nullptr data when there is none.
  std::string_view FindSymbol(int64_t key) const;
  // The key of a symbol, or kNoSymbol.
  int64_t FindKey(std::string_view symbol) const;

  const std::string &Name() const { return name_; }
  size_t NumSymbols() const { return entries_.size(); }
  // The highest key plus one.
  int64_t AvailableKey() const { return available_key_; }
  // The key and symbol that were added as number `position`.
  int64_t NthKey(size_t position) const { return entries_[position].key; }
  std::string_view NthSymbol(size_t position) const { return Text(entries_[position]); }

 private:
  static constexpr int32_t kMagic = 2125658996;
  static constexpr int32_t kEmptyBucket = -1;
  static constexpr size_t kBatch = 32;

  struct Bucket {
    int32_t position = kEmptyBucket;  // in entries_
    uint32_t hash = 0;                // of its symbol, which is not looked at where this differs
  };
  struct Entry {
    int64_t key;
    uint64_t begin;  // in text_
    uint32_t size;
  };

  std::string_view Text(const Entry &entry) const { return {text_.data() + entry.begin, entry.size}; }
  // The bucket where a symbol is, or where it belongs.
  size_t FindBucket(std::string_view symbol, uint32_t hash) const;
  void GrowBuckets();
  int64_t AddSymbol(std::string_view symbol, uint32_t hash, int64_t key);
  // Adds symbols, in order, and leaves none. Their buckets, which are anywhere in memory, are fetched first.
  void AddBatch(std::vector<std::pair<std::string_view, int64_t>> *batch);
  void IndexKey(int64_t key, int32_t position);
  int32_t PositionOfKey(int64_t key) const;

  std::string name_;
  std::vector<char> text_;
  std::vector<Entry> entries_;
  std::vector<Bucket> buckets_;  // open addressing; their number is a power of two
  // Keys that come in order, 0, 1, 2 ..., are their own positions; the others are looked up.
  int64_t num_dense_keys_ = 0;
  std::unordered_map<int64_t, int32_t> sparse_keys_;
  int64_t available_key_ = 0;
  mutable ConcurrentUse<DecoderError> use_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FST_SYMBOL_TABLE_H_
