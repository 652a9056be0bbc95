// mesh-gossip for C++17: a layer over mesh_gossip.h that owns what it is given.
//
// What can fail returns a result: look at it (`if (!started) log(started.error().what())`), or take
// its value, which throws the failure (or ends the program where exceptions are off). Handles are
// moved and never copied. Text that is borrowed is a string_view and lives as long as the snapshot or
// the batch that it was read from. Threads, callbacks and forks: as the C header says.
#ifndef MESH_GOSSIP_HPP
#define MESH_GOSSIP_HPP

#include "mesh_gossip.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace mesh_gossip {

// MESH_GOSSIP_ERR_*, by name.
enum class code : std::int32_t {
  ok = MESH_GOSSIP_OK,
  abi = MESH_GOSSIP_ERR_ABI,
  argument = MESH_GOSSIP_ERR_ARGUMENT,
  utf8 = MESH_GOSSIP_ERR_UTF8,
  too_large = MESH_GOSSIP_ERR_TOO_LARGE,
  config = MESH_GOSSIP_ERR_CONFIG,
  credentials = MESH_GOSSIP_ERR_CREDENTIALS,
  io = MESH_GOSSIP_ERR_IO,
  stopped = MESH_GOSSIP_ERR_STOPPED,
  timeout = MESH_GOSSIP_ERR_TIMEOUT,
  busy = MESH_GOSSIP_ERR_BUSY,
  not_found = MESH_GOSSIP_ERR_NOT_FOUND,
  refused = MESH_GOSSIP_ERR_REFUSED,
  reentrant = MESH_GOSSIP_ERR_REENTRANT,
  forked = MESH_GOSSIP_ERR_FORKED,
  panic = MESH_GOSSIP_ERR_PANIC,
  poisoned = MESH_GOSSIP_ERR_POISONED,
  struct_size = MESH_GOSSIP_ERR_STRUCT_SIZE,
  disabled = MESH_GOSSIP_ERR_DISABLED,
};

enum class status : std::uint32_t {
  alive = MESH_GOSSIP_STATUS_ALIVE,
  suspect = MESH_GOSSIP_STATUS_SUSPECT,
  failed = MESH_GOSSIP_STATUS_FAILED,
  left = MESH_GOSSIP_STATUS_LEFT,
};

enum class lifecycle : std::uint32_t {
  active = MESH_GOSSIP_LIFECYCLE_ACTIVE,
  cordoned = MESH_GOSSIP_LIFECYCLE_CORDONED,
  draining = MESH_GOSSIP_LIFECYCLE_DRAINING,
  drained = MESH_GOSSIP_LIFECYCLE_DRAINED,
  leaving = MESH_GOSSIP_LIFECYCLE_LEAVING,
};

enum class log_level : std::uint32_t {
  error = MESH_GOSSIP_LOG_ERROR,
  warn = MESH_GOSSIP_LOG_WARN,
  info = MESH_GOSSIP_LOG_INFO,
  debug = MESH_GOSSIP_LOG_DEBUG,
  trace = MESH_GOSSIP_LOG_TRACE,
};

enum class event_kind : std::uint32_t {
  joined = MESH_GOSSIP_EVENT_JOINED,
  recovered = MESH_GOSSIP_EVENT_RECOVERED,
  suspected = MESH_GOSSIP_EVENT_SUSPECTED,
  unreachable = MESH_GOSSIP_EVENT_UNREACHABLE,
  left = MESH_GOSSIP_EVENT_LEFT,
  updated = MESH_GOSSIP_EVENT_UPDATED,
  forgotten = MESH_GOSSIP_EVENT_FORGOTTEN,
  leader_changed = MESH_GOSSIP_EVENT_LEADER_CHANGED,
  refuted = MESH_GOSSIP_EVENT_REFUTED,
  conflict = MESH_GOSSIP_EVENT_CONFLICT,
  alarm = MESH_GOSSIP_EVENT_ALARM,
  record_rejected = MESH_GOSSIP_EVENT_RECORD_REJECTED,
  join_complete = MESH_GOSSIP_EVENT_JOIN_COMPLETE,
  leave_complete = MESH_GOSSIP_EVENT_LEAVE_COMPLETE,
  overflow = MESH_GOSSIP_EVENT_OVERFLOW,
  broadcast = MESH_GOSSIP_EVENT_BROADCAST,
  message = MESH_GOSSIP_EVENT_MESSAGE,
  missed = MESH_GOSSIP_EVENT_MISSED,
  ended = MESH_GOSSIP_EVENT_ENDED,
};

enum class reason : std::uint32_t {
  left = MESH_GOSSIP_REASON_LEFT,
  failed = MESH_GOSSIP_REASON_FAILED,
  revoked = MESH_GOSSIP_REASON_REVOKED,
};

// Why a call failed.
class failure : public std::runtime_error {
 public:
  failure(mesh_gossip::code why, const std::string &message, std::string field = {})
      : std::runtime_error(message), code_(why), field_(std::move(field)) {}

  mesh_gossip::code code() const noexcept { return code_; }
  // The argument or setting that it is about; empty where it is about none.
  const std::string &field() const noexcept { return field_; }

 private:
  mesh_gossip::code code_;
  std::string field_;
};

namespace detail {

[[noreturn]] inline void raise(const failure &why) {
#if defined(__cpp_exceptions)
  throw why;
#else
  (void)why;
  std::abort();
#endif
}

// A text that C is to read, by the name of its argument; there may be none.
class text {
 public:
  text(const char *name, const std::string &said) noexcept : name_(name), said_(&said) {}
  text(const char *name, const std::optional<std::string> &said) noexcept
      : name_(name), said_(said ? &*said : nullptr) {}

  const char *raw() const noexcept { return said_ ? said_->c_str() : nullptr; }
  // C would read it up to a zero within, and take that for the whole.
  bool is_cut() const noexcept { return said_ && said_->find('\0') != std::string::npos; }
  failure cut() const {
    return failure(code::argument, std::string(name_) + " has a zero character within", name_);
  }

 private:
  const char *name_;
  const std::string *said_;
};

struct release {
  void operator()(mesh_gossip_options *of) const noexcept { mesh_gossip_options_free(of); }
  void operator()(mesh_gossip_events *of) const noexcept { mesh_gossip_events_free(of); }
  void operator()(mesh_gossip_error *of) const noexcept { mesh_gossip_error_free(of); }
  void operator()(mesh_gossip_text *of) const noexcept { mesh_gossip_text_free(of); }
  void operator()(mesh_gossip_contacts *of) const noexcept { mesh_gossip_contacts_free(of); }
  void operator()(const mesh_gossip_snapshot *of) const noexcept { mesh_gossip_snapshot_release(of); }
};

template <class T>
using handle = std::unique_ptr<T, release>;

inline std::string_view view(const mesh_gossip_bytes &bytes) noexcept {
  return {reinterpret_cast<const char *>(bytes.data), bytes.len};
}

inline failure failed(mesh_gossip_result result, mesh_gossip_error *error) {
  const handle<mesh_gossip_error> own(error);
  const char *field = mesh_gossip_error_field(error);
  const char *message = error ? mesh_gossip_error_message(error) : "the call failed";
  return failure(static_cast<code>(result), message, field ? field : "");
}

// The place number `index` of records that may be longer than this header knows.
template <class T>
const T *at(const T *first, std::size_t stride, std::size_t index) noexcept {
  return reinterpret_cast<const T *>(reinterpret_cast<const unsigned char *>(first) +
                                     stride * index);
}

}  // namespace detail

// A value, or why there is none.
template <class T>
class [[nodiscard]] result {
 public:
  result(T value) : is_(std::in_place_index<0>, std::move(value)) {}
  result(failure why) : is_(std::in_place_index<1>, std::move(why)) {}

  bool has_value() const noexcept { return is_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }
  T &value() & { return check(), std::get<0>(is_); }
  const T &value() const & { return check(), std::get<0>(is_); }
  T value() && { return check(), std::move(std::get<0>(is_)); }
  T &operator*() & { return value(); }
  T *operator->() { return &value(); }
  // There has to be one.
  const failure &error() const { return std::get<1>(is_); }

 private:
  void check() const {
    if (!has_value()) detail::raise(error());
  }

  std::variant<T, failure> is_;
};

template <>
class [[nodiscard]] result<void> {
 public:
  result() = default;
  result(failure why) : why_(std::move(why)) {}

  bool has_value() const noexcept { return !why_; }
  explicit operator bool() const noexcept { return has_value(); }
  void value() const {
    if (why_) detail::raise(*why_);
  }
  // There has to be one.
  const failure &error() const { return why_.value(); }

 private:
  std::optional<failure> why_;
};

namespace detail {

// Calls a function with the place of the error and with these texts.
template <class Call, class... Texts>
result<void> call(Call &&with, const Texts &...texts) {
  for (const text &said : std::initializer_list<text>{texts...}) {
    if (said.is_cut()) return said.cut();
  }
  mesh_gossip_error *error = nullptr;
  const mesh_gossip_result is = with(&error, texts.raw()...);
  if (is != MESH_GOSSIP_OK) return failed(is, error);
  return {};
}

}  // namespace detail

// Whether the library is the one that this header describes.
inline result<void> check_abi() {
  if (mesh_gossip_check_abi() == MESH_GOSSIP_OK &&
      mesh_gossip_members_stride() >= sizeof(mesh_gossip_member) &&
      mesh_gossip_labels_stride() >= sizeof(mesh_gossip_label) &&
      mesh_gossip_contacts_stride() >= sizeof(mesh_gossip_contact) &&
      mesh_gossip_events_stride() >= sizeof(mesh_gossip_event)) {
    return {};
  }
  return failure(code::abi, "the library is not the one that this program was compiled for");
}

using time_point = std::chrono::time_point<std::chrono::system_clock, std::chrono::milliseconds>;
using milliseconds = std::chrono::milliseconds;

namespace detail {

inline time_point time(std::uint64_t unix_ms) noexcept {
  return time_point(milliseconds(static_cast<milliseconds::rep>(unix_ms)));
}

inline std::uint64_t count(milliseconds timeout) noexcept {
  return timeout.count() < 0 ? 0 : static_cast<std::uint64_t>(timeout.count());
}

}  // namespace detail

// A member's 16 bytes.
struct member_id {
  std::array<std::uint8_t, 16> bytes{};

  member_id() = default;
  // Nobody's for NULL.
  explicit member_id(const std::uint8_t *from) {
    if (from) std::copy_n(from, bytes.size(), bytes.begin());
  }

  // False for nobody.
  explicit operator bool() const noexcept { return bytes != decltype(bytes){}; }
  friend bool operator==(const member_id &a, const member_id &b) { return a.bytes == b.bytes; }
  friend bool operator!=(const member_id &a, const member_id &b) { return a.bytes != b.bytes; }
  friend bool operator<(const member_id &a, const member_id &b) { return a.bytes < b.bytes; }

  std::string hex() const {
    static const char digits[] = "0123456789abcdef";
    std::string text;
    for (const std::uint8_t byte : bytes) {
      text.push_back(digits[byte >> 4]);
      text.push_back(digits[byte & 15]);
    }
    return text;
  }
};

// Any bytes that somebody else holds: a string, a vector of bytes, an array.
class bytes {
 public:
  bytes() = default;
  bytes(const void *data, std::size_t size)
      : data_(static_cast<const std::uint8_t *>(data)), size_(size) {}
  template <class Held, class Byte = std::remove_pointer_t<decltype(std::declval<Held>().data())>,
            class = std::enable_if_t<sizeof(Byte) == 1>>
  bytes(const Held &held) : bytes(held.data(), held.size()) {}

  const std::uint8_t *data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }

 private:
  const std::uint8_t *data_ = nullptr;
  std::size_t size_ = 0;
};

struct label {
  std::string_view key, value;
};

// A range over records that lie a stride apart; what is read of one is made when it is looked at.
template <class Item, class Record>
class records {
 public:
  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Item;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = Item;

    iterator() = default;
    iterator(const Record *at, std::size_t stride) noexcept : at_(at), stride_(stride) {}
    Item operator*() const noexcept { return Item(*at_); }
    iterator &operator++() noexcept { return at_ = detail::at(at_, stride_, 1), *this; }
    iterator operator++(int) noexcept {
      const iterator before = *this;
      return ++*this, before;
    }
    friend bool operator==(const iterator &a, const iterator &b) { return a.at_ == b.at_; }
    friend bool operator!=(const iterator &a, const iterator &b) { return a.at_ != b.at_; }

   private:
    const Record *at_ = nullptr;
    std::size_t stride_ = 0;
  };

  records() = default;
  records(const Record *first, std::size_t size, std::size_t stride) noexcept
      : first_(first), size_(size), stride_(stride) {}

  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  // There have to be more than `index`.
  Item operator[](std::size_t index) const noexcept {
    return Item(*detail::at(first_, stride_, index));
  }
  iterator begin() const noexcept { return {first_, stride_}; }
  iterator end() const noexcept { return {detail::at(first_, stride_, size_), stride_}; }

 private:
  const Record *first_ = nullptr;
  std::size_t size_ = 0, stride_ = 0;
};

// One member, borrowed from a snapshot or a batch of events.
class member {
 public:
  explicit member(const mesh_gossip_member &raw) noexcept : raw_(&raw) {}

  member_id id() const noexcept { return member_id(raw_->id); }
  std::uint64_t generation() const noexcept { return raw_->generation; }
  std::uint32_t counter() const noexcept { return raw_->counter; }
  mesh_gossip::status status() const noexcept {
    return static_cast<mesh_gossip::status>(raw_->status);
  }
  mesh_gossip::lifecycle lifecycle() const noexcept {
    return static_cast<mesh_gossip::lifecycle>(raw_->lifecycle);
  }
  bool is_local() const noexcept { return raw_->flags & MESH_GOSSIP_MEMBER_LOCAL; }
  bool serves_http3() const noexcept { return raw_->flags & MESH_GOSSIP_MEMBER_HTTP3; }
  std::uint64_t metadata_version() const noexcept { return raw_->metadata_version; }
  std::string_view node_id() const noexcept { return detail::view(raw_->node_id); }
  std::string_view role() const noexcept { return detail::view(raw_->role); }
  std::string_view cluster_id() const noexcept { return detail::view(raw_->cluster_id); }
  std::string_view region() const noexcept { return detail::view(raw_->region); }
  std::string_view mesh_version() const noexcept { return detail::view(raw_->mesh_version); }
  std::string_view endpoint() const noexcept { return detail::view(raw_->endpoint); }

  // In the order of their names.
  std::vector<label> labels() const {
    std::vector<label> all;
    for (std::size_t index = 0; index < raw_->labels_len; index++) all.push_back(label_at(index));
    return all;
  }
  std::optional<std::string_view> label_value(std::string_view key) const noexcept {
    for (std::size_t index = 0; index < raw_->labels_len; index++) {
      if (const label is = label_at(index); is.key == key) return is.value;
    }
    return std::nullopt;
  }
  const mesh_gossip_member &raw() const noexcept { return *raw_; }

 private:
  label label_at(std::size_t index) const noexcept {
    const auto *is = detail::at(raw_->labels, mesh_gossip_labels_stride(), index);
    return {detail::view(is->key), detail::view(is->value)};
  }

  const mesh_gossip_member *raw_;
};

// Some members of a snapshot that have changed together.
class chunk : public records<member, mesh_gossip_member> {
 public:
  chunk(const mesh_gossip_snapshot *of, std::size_t index) noexcept
      : records(read(of, index)), generation_(mesh_gossip_snapshot_chunk_generation(of, index)) {}

  // Whoever knows it has these members already.
  std::uint64_t generation() const noexcept { return generation_; }

 private:
  static records read(const mesh_gossip_snapshot *of, std::size_t index) noexcept {
    const mesh_gossip_member *first = nullptr;
    std::size_t size = 0, stride = 0;
    if (mesh_gossip_snapshot_chunk(of, index, &first, &size, &stride) != MESH_GOSSIP_OK) return {};
    return {first, size, stride};
  }

  std::uint64_t generation_;
};

// The members as of one moment: a range of members, chunk by chunk.
class snapshot {
 public:
  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = member;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = member;

    iterator() = default;
    iterator(const mesh_gossip_snapshot *of, std::size_t next) noexcept : of_(of), next_(next) {
      turn();
    }
    member operator*() const noexcept { return *at_; }
    iterator &operator++() noexcept {
      ++at_;
      if (at_ == end_) turn();
      return *this;
    }
    iterator operator++(int) noexcept {
      const iterator before = *this;
      return ++*this, before;
    }
    friend bool operator==(const iterator &a, const iterator &b) { return a.at_ == b.at_; }
    friend bool operator!=(const iterator &a, const iterator &b) { return a.at_ != b.at_; }

   private:
    // To the first member of the next chunk that has one; nowhere at the end.
    void turn() noexcept {
      at_ = end_ = {};
      while (at_ == end_ && next_ < mesh_gossip_snapshot_chunk_count(of_)) {
        const mesh_gossip::chunk is(of_, next_++);
        at_ = is.begin();
        end_ = is.end();
      }
      if (at_ == end_) at_ = end_ = {};
    }

    const mesh_gossip_snapshot *of_ = nullptr;
    std::size_t next_ = 0;
    mesh_gossip::chunk::iterator at_, end_;
  };

  explicit snapshot(const mesh_gossip_snapshot *own) noexcept : own_(own) {}

  std::size_t size() const noexcept { return mesh_gossip_snapshot_len(raw()); }
  bool empty() const noexcept { return size() == 0; }
  iterator begin() const noexcept { return {raw(), 0}; }
  iterator end() const noexcept { return {}; }
  std::size_t chunk_count() const noexcept { return mesh_gossip_snapshot_chunk_count(raw()); }
  mesh_gossip::chunk chunk(std::size_t index) const noexcept { return {raw(), index}; }
  std::uint64_t generation() const noexcept { return mesh_gossip_snapshot_generation(raw()); }
  time_point time() const noexcept { return detail::time(mesh_gossip_snapshot_time(raw())); }
  member_id local_id() const { return member_id(mesh_gossip_snapshot_local_id(raw())); }
  std::optional<member> local() const noexcept { return one(mesh_gossip_snapshot_local(raw())); }
  std::optional<member> find(const member_id &id) const noexcept {
    return one(mesh_gossip_snapshot_find(raw(), id.bytes.data()));
  }
  std::size_t count(status of) const noexcept {
    return mesh_gossip_snapshot_count(raw(), static_cast<std::uint32_t>(of));
  }
  const mesh_gossip_snapshot *raw() const noexcept { return own_.get(); }

 private:
  static std::optional<member> one(const mesh_gossip_member *is) noexcept {
    return is ? std::optional<member>(*is) : std::nullopt;
  }

  detail::handle<const mesh_gossip_snapshot> own_;
};

// One event, borrowed from its batch. What a field means stands with its kind in the C header.
class event {
 public:
  explicit event(const mesh_gossip_event &raw) noexcept : raw_(&raw) {}

  event_kind kind() const noexcept { return static_cast<event_kind>(raw_->kind); }
  mesh_gossip::reason reason() const noexcept {
    return static_cast<mesh_gossip::reason>(raw_->detail);
  }
  status previous_status() const noexcept { return static_cast<status>(raw_->detail); }
  time_point time() const noexcept { return detail::time(raw_->at_unix_ms); }
  std::uint64_t count() const noexcept { return raw_->count; }
  member_id id() const noexcept { return member_id(raw_->id); }
  member_id previous_id() const noexcept { return member_id(raw_->previous_id); }
  std::uint32_t topic() const noexcept { return raw_->topic; }
  std::string_view text() const noexcept { return detail::view(raw_->text); }
  std::string_view payload() const noexcept { return detail::view(raw_->payload); }
  std::optional<mesh_gossip::member> member() const noexcept {
    return raw_->member ? std::optional<mesh_gossip::member>(*raw_->member) : std::nullopt;
  }
  const mesh_gossip_event &raw() const noexcept { return *raw_; }

 private:
  const mesh_gossip_event *raw_;
};

// Events in order, that nobody else takes any more. One that was moved from is empty.
class events : public records<event, mesh_gossip_event> {
 public:
  explicit events(mesh_gossip_events *own) noexcept
      : records(mesh_gossip_events_at(own, 0), mesh_gossip_events_len(own),
                mesh_gossip_events_stride()),
        own_(own) {}
  events(events &&from) noexcept
      : records(std::exchange<records, records>(from, {})), own_(std::move(from.own_)) {}
  events &operator=(events &&from) noexcept {
    records::operator=(std::exchange<records, records>(from, {}));
    own_ = std::move(from.own_);
    return *this;
  }

 private:
  detail::handle<mesh_gossip_events> own_;
};

// Exchanges with one member.
struct contact {
  explicit contact(const mesh_gossip_contact &raw) noexcept
      : id(raw.id), last(detail::time(raw.last_unix_ms)) {
    if (raw.rtt_us > 0) round_trip = std::chrono::microseconds(raw.rtt_us);
  }

  member_id id;
  time_point last;
  std::optional<std::chrono::microseconds> round_trip;
};

// What an agent is started with: settings as people write them.
class options {
 public:
  // `{"mesh":{"gossip":{...}}}`; no file and no variable counts.
  static result<options> from_json(const std::string &json) {
    return made({"json", json}, mesh_gossip_options_from_json);
  }
  // A file, under the variables of the environment.
  static result<options> from_file(const std::string &path) {
    return made({"path", path}, mesh_gossip_options_from_file);
  }
  // No value takes back what file and environment say.
  result<void> set(const std::string &key, const std::optional<std::string> &value) {
    return detail::call(
        [&](auto **err, auto *name, auto *said) {
          return mesh_gossip_options_set(own_.get(), name, said, err);
        },
        detail::text("key", key), detail::text("value", value));
  }
  const mesh_gossip_options *raw() const noexcept { return own_.get(); }

 private:
  explicit options(mesh_gossip_options *own) noexcept : own_(own) {}

  template <class Make>
  static result<options> made(const detail::text &from, Make &&make) {
    mesh_gossip_options *own = nullptr;
    auto is = detail::call([&](auto **err, auto *said) { return make(said, &own, err); }, from);
    if (!is) return is.error();
    return options(own);
  }

  detail::handle<mesh_gossip_options> own_;
};

// What only a program can say. The functions run on threads of the engine: they may neither block
// nor throw, and the C header says what they may call.
struct start_options {
  std::function<void()> wake;
  std::size_t events_capacity = 0;
  // Level, message, and fields as a JSON object.
  std::function<void(log_level, std::string_view, std::string_view)> log;
  log_level level = log_level::info;
};

struct health {
  bool joined, ready, draining;
};

// A member of a mesh. Destroying it stops it without a goodbye: leave() before.
class agent {
 public:
  // Returns once the ports are bound; joining goes on by itself.
  static result<agent> start(const options &with, start_options program = {}) {
    if (auto same = check_abi(); !same) return same.error();
    std::unique_ptr<held, stop_first> is(new held{std::move(program), nullptr});
    mesh_gossip_start_options given;
    mesh_gossip_start_options_init(&given, sizeof given);
    given.events_capacity = is->program.events_capacity;
    given.log_level = static_cast<std::uint32_t>(is->program.level);
    given.wake_user = given.log_user = is.get();
    if (is->program.wake) given.wake = on_wake;
    if (is->program.log) given.log = on_log;
    auto started = detail::call([&](auto **err) {
      return mesh_gossip_agent_start_with(with.raw(), &given, &is->own, err);
    });
    if (!started) return started.error();
    return agent(std::move(is));
  }

  // Says goodbye; the agent has to be stopped or destroyed all the same.
  result<void> leave(milliseconds timeout) {
    return detail::call(
        [&](auto **err) { return mesh_gossip_agent_leave(raw(), detail::count(timeout), err); });
  }
  // No callback runs once it has returned. Again, it does nothing.
  result<void> stop() {
    return detail::call([&](auto **err) { return mesh_gossip_agent_stop(raw(), err); });
  }

  std::string_view node_id() const noexcept { return mesh_gossip_agent_node_id(raw()); }
  std::string_view address() const noexcept { return mesh_gossip_agent_address(raw()); }

  // The newest view.
  result<mesh_gossip::snapshot> snapshot() const {
    const mesh_gossip_snapshot *own = nullptr;
    auto is = detail::call(
        [&](auto **err) { return mesh_gossip_snapshot_try_acquire(raw(), &own, err); });
    if (!is) return is.error();
    return mesh_gossip::snapshot(own);
  }
  // Readable while an event waits; the agent's own.
  int events_fd() const noexcept { return mesh_gossip_agent_events_fd(raw()); }
  // Never blocks; there may be none.
  result<events> take_events(std::size_t most = 256) {
    mesh_gossip_events *own = nullptr;
    auto is = detail::call(
        [&](auto **err) { return mesh_gossip_agent_take_events(raw(), most, &own, err); });
    if (!is) return is.error();
    return events(own);
  }

  // No value removes the label.
  result<void> set_label(const std::string &key, const std::optional<std::string> &value) {
    return detail::call(
        [&](auto **err, auto *name, auto *said) {
          return mesh_gossip_agent_set_label(raw(), name, said, err);
        },
        detail::text("key", key), detail::text("value", value));
  }
  result<void> set_lifecycle(lifecycle wanted) {
    return detail::call([&](auto **err) {
      return mesh_gossip_agent_set_lifecycle(raw(), static_cast<std::uint32_t>(wanted), err);
    });
  }
  result<void> set_metadata(const std::string &json) {
    return detail::call(
        [&](auto **err, auto *said) { return mesh_gossip_agent_set_metadata(raw(), said, err); },
        detail::text("json", json));
  }
  // What the host knows of a peer's work; no JSON forgets it.
  result<void> report_leases(const std::string &node_id, const std::optional<std::string> &json) {
    return detail::call(
        [&](auto **err, auto *name, auto *said) {
          return mesh_gossip_agent_report_leases(raw(), name, said, err);
        },
        detail::text("node_id", node_id), detail::text("json", json));
  }
  // Other seeds, `host:port`.
  result<void> join(const std::vector<std::string> &seeds) {
    std::vector<const char *> all;
    for (const std::string &seed : seeds) {
      const detail::text said("seeds", seed);
      if (said.is_cut()) return said.cut();
      all.push_back(said.raw());
    }
    return detail::call(
        [&](auto **err) { return mesh_gossip_agent_join(raw(), all.data(), all.size(), err); });
  }
  result<void> force_leave(bytes order) {
    return detail::call([&](auto **err) {
      return mesh_gossip_agent_force_leave(raw(), order.data(), order.size(), err);
    });
  }
  result<void> reload() {
    return detail::call([&](auto **err) { return mesh_gossip_agent_reload(raw(), err); });
  }
  // PEM, or a PKCS#12 store with its password as the certificate; what is empty is not given.
  result<void> reload_certificates(bytes certificate, bytes key = {}, bytes ca = {},
                                   const std::optional<std::string> &password = {}) {
    return detail::call(
        [&](auto **err, auto *secret) {
          return mesh_gossip_agent_reload_certificates(
              raw(), certificate.data(), certificate.size(), key.data(), key.size(), ca.data(),
              ca.size(), secret, err);
        },
        detail::text("password", password));
  }
  result<void> add_revocation_lists(bytes lists) {
    return detail::call([&](auto **err) {
      return mesh_gossip_agent_add_revocation_lists(raw(), lists.data(), lists.size(), err);
    });
  }
  result<void> broadcast(std::uint16_t topic, bytes said) {
    return detail::call([&](auto **err) {
      return mesh_gossip_agent_broadcast(raw(), topic, said.data(), said.size(), err);
    });
  }
  // In place of what was said under the same topic and key.
  result<void> broadcast_latest(std::uint16_t topic, std::uint64_t key, bytes said) {
    return detail::call([&](auto **err) {
      return mesh_gossip_agent_broadcast_latest(raw(), topic, key, said.data(), said.size(), err);
    });
  }
  result<void> send_to(const member_id &to, std::uint16_t topic, bytes said) {
    return detail::call([&](auto **err) {
      return mesh_gossip_agent_send_to(raw(), to.bytes.data(), topic, said.data(), said.size(), err);
    });
  }

  result<std::string> peers_json(milliseconds timeout) const {
    return document([&](auto **out, auto **err) {
      return mesh_gossip_agent_peers_json(raw(), detail::count(timeout), out, err);
    });
  }
  // Of one scope, or of all.
  result<std::string> leaders_json(milliseconds timeout,
                                   const std::optional<std::string> &scope = {}) const {
    return document(
        [&](auto **out, auto **err, auto *name) {
          return mesh_gossip_agent_leaders_json(raw(), name, detail::count(timeout), out, err);
        },
        detail::text("scope", scope));
  }
  // Who may be given work, and what was reported of whom.
  result<std::string> lease_health_json(milliseconds timeout) const {
    return document([&](auto **out, auto **err) {
      return mesh_gossip_agent_lease_health_json(raw(), detail::count(timeout), out, err);
    });
  }
  result<std::string> metrics_text(milliseconds timeout) const {
    return document([&](auto **out, auto **err) {
      return mesh_gossip_agent_metrics_text(raw(), detail::count(timeout), out, err);
    });
  }
  result<mesh_gossip::health> health(milliseconds timeout) const {
    std::uint32_t bits = 0;
    auto is = detail::call([&](auto **err) {
      return mesh_gossip_agent_health(raw(), detail::count(timeout), &bits, err);
    });
    if (!is) return is.error();
    return mesh_gossip::health{(bits & MESH_GOSSIP_HEALTH_JOINED) != 0,
                               (bits & MESH_GOSSIP_HEALTH_READY) != 0,
                               (bits & MESH_GOSSIP_HEALTH_DRAINING) != 0};
  }
  result<std::vector<contact>> contacts(milliseconds timeout) const {
    mesh_gossip_contacts *own = nullptr;
    auto is = detail::call([&](auto **err) {
      return mesh_gossip_agent_contacts(raw(), detail::count(timeout), &own, err);
    });
    if (!is) return is.error();
    const detail::handle<mesh_gossip_contacts> freed(own);
    const records<contact, mesh_gossip_contact> all(mesh_gossip_contacts_at(own, 0),
                                                    mesh_gossip_contacts_len(own),
                                                    mesh_gossip_contacts_stride());
    return std::vector<contact>(all.begin(), all.end());
  }

  mesh_gossip_agent *raw() const noexcept { return is_ ? is_->own : nullptr; }

 private:
  struct held {
    start_options program;
    mesh_gossip_agent *own;
  };
  struct stop_first {
    void operator()(held *of) const noexcept {
      // Refused within a callback and in a forked child: the agent is still there, and so is what
      // it may call.
      if (mesh_gossip_agent_free(of->own) == MESH_GOSSIP_OK) delete of;
    }
  };

  explicit agent(std::unique_ptr<held, stop_first> is) noexcept : is_(std::move(is)) {}

  // What is thrown there would unwind into the engine; `noexcept` ends the program.
  static void on_wake(void *user) noexcept { static_cast<held *>(user)->program.wake(); }
  static void on_log(void *user, std::uint32_t level, const char *message,
                     const char *fields) noexcept {
    static_cast<held *>(user)->program.log(static_cast<log_level>(level), message, fields);
  }

  template <class Make, class... Texts>
  static result<std::string> document(Make &&make, const Texts &...texts) {
    mesh_gossip_text *own = nullptr;
    auto is = detail::call(
        [&](auto **err, auto *...said) { return make(&own, err, said...); }, texts...);
    if (!is) return is.error();
    const detail::handle<mesh_gossip_text> freed(own);
    const auto *data = reinterpret_cast<const char *>(mesh_gossip_text_data(own));
    return std::string(data, mesh_gossip_text_len(own));
  }

  std::unique_ptr<held, stop_first> is_;
};

}  // namespace mesh_gossip

#endif
