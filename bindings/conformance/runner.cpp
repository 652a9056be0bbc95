// Does with the layer for C++ what the lines of its input say; the driver describes them.
#include <mesh_gossip.hpp>

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>

namespace mesh = mesh_gossip;
using words = std::vector<std::string>;
using clock_type = std::chrono::steady_clock;
using std::chrono::milliseconds;

namespace {

const char *const codes[] = {"OK", "ABI", "ARGUMENT", "UTF8", "TOO_LARGE", "CONFIG", "CREDENTIALS",
                             "IO", "STOPPED", "TIMEOUT", "BUSY", "NOT_FOUND", "REFUSED", "REENTRANT",
                             "FORKED", "PANIC", "POISONED", "STRUCT_SIZE", "DISABLED"};
const char *const statuses[] = {"unknown", "alive", "suspect", "failed", "left"};
const char *const lifecycles[] = {"active", "cordoned", "draining", "drained", "leaving"};
const char *const reasons[] = {"unknown", "left", "failed", "revoked"};
const char *const kinds[] = {"unknown", "joined", "recovered", "suspected", "unreachable", "left",
                             "updated", "forgotten", "leader-changed", "refuted", "conflict", "alarm",
                             "record-rejected", "join-complete", "leave-complete", "overflow",
                             "broadcast", "message", "missed", "ended"};
constexpr milliseconds patience{5000};

std::map<std::string, mesh::options> options;
std::map<std::string, mesh::agent> agents;
std::map<std::string, mesh::snapshot> snapshots;

template <class Kind>
std::size_t number(Kind kind) {
  return static_cast<std::size_t>(kind);
}

words show(const mesh::snapshot &view, const std::string &status) {
  words all;
  for (const mesh::member &member : view) {
    const std::string is = statuses[number(member.status())];
    if (!status.empty() && status != is) continue;
    std::ostringstream text;
    text << member.node_id() << ':' << is << ':' << lifecycles[number(member.lifecycle())];
    for (const mesh::label &label : member.labels()) text << ':' << label.key << '=' << label.value;
    all.push_back(text.str());
  }
  std::sort(all.begin(), all.end());
  return all;
}

words told(const mesh::event &event) {
  words all{kinds[number(event.kind())]};
  switch (event.kind()) {
    case mesh::event_kind::broadcast:
    case mesh::event_kind::message:
      all.push_back(std::to_string(event.topic()));
      all.emplace_back(event.payload());
      return all;
    case mesh::event_kind::overflow:
    case mesh::event_kind::missed: all.push_back(std::to_string(event.count())); return all;
    default: break;
  }
  if (const auto member = event.member()) all.emplace_back(member->node_id());
  if (event.kind() == mesh::event_kind::left) all.push_back(reasons[number(event.reason())]);
  return all;
}

// Hands events to a function until it has had enough; false where none came in time.
template <class Enough>
bool take(mesh::agent &agent, const std::string &ms, Enough &&enough) {
  const auto until = clock_type::now() + milliseconds(std::stoll(ms));
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(until - clock_type::now()).count();
    pollfd fd{agent.events_fd(), POLLIN, 0};
    if (poll(&fd, 1, static_cast<int>(std::max<long>(0, left))) < 1) return false;
    const mesh::events batch = agent.take_events(1).value();
    if (!batch.empty() && enough(batch[0])) return true;
  }
}

words awaited(mesh::agent &agent, const words &with) {
  words found;
  const bool came = take(agent, with[3], [&](const mesh::event &event) {
    found = told(event);
    return found[0] == with[2];
  });
  if (!came) throw mesh::failure(mesh::code::timeout, "no such event");
  return found;
}

words tally(mesh::agent &agent, const words &with) {
  std::uint64_t taken = 0, missed = 0;
  take(agent, with[3], [&](const mesh::event &event) {
    taken += event.kind() == mesh::event_kind::broadcast;
    missed += event.kind() == mesh::event_kind::missed ? event.count() : 0;
    return taken + missed >= std::stoull(with[2]);
  });
  return {std::to_string(taken + missed), missed > 0 ? "marked" : "whole"};
}

words forked(mesh::agent &agent) {
  const pid_t child = fork();
  if (child == 0) {
    const auto is = agent.set_label("a", "b");
    _exit(is ? 0 : static_cast<int>(number(is.error().code())));
  }
  int status = 0;
  waitpid(child, &status, 0);
  const auto code = static_cast<mesh::code>(WEXITSTATUS(status));
  if (code != mesh::code::ok) throw mesh::failure(code, "in the child");
  return {};
}

std::string content(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream all;
  all << file.rdbuf();
  return all.str();
}

std::optional<std::string> value(const words &with) {
  return with.size() > 3 ? std::optional<std::string>(with[3]) : std::nullopt;
}

mesh::lifecycle lifecycle(const std::string &name) {
  const auto found = std::find(std::begin(lifecycles), std::end(lifecycles), name);
  return static_cast<mesh::lifecycle>(found - std::begin(lifecycles));
}

words documents(mesh::agent &agent, const words &with) {
  if (with[0] == "peers") {
    const std::string json = agent.peers_json(patience).value(), key = "\"localNodeId\":\"";
    const std::size_t at = json.find(key) + key.size();
    return {json.substr(at, json.find('"', at) - at)};
  }
  if (with[0] == "leaders") return agent.leaders_json(patience, with[2]).value(), words{};
  if (with[0] == "contacts") return {std::to_string(agent.contacts(patience).value().size())};
  const mesh::health is = agent.health(patience).value();
  return {is.ready ? "ready" : "not ready", is.draining ? "draining" : "not draining"};
}

words command(mesh::agent &agent, const words &with) {
  const std::string &what = with[0];
  if (what == "address") return {std::string(agent.address())};
  if (what == "node") return {std::string(agent.node_id())};
  if (what == "await") return awaited(agent, with);
  if (what == "tally") return tally(agent, with);
  if (what == "fork") return forked(agent);
  if (what == "view") return show(agent.snapshot().value(), with.size() > 2 ? with[2] : "");
  if (what == "label") return agent.set_label(with[2], value(with)).value(), words{};
  if (what == "lifecycle") return agent.set_lifecycle(lifecycle(with[2])).value(), words{};
  if (what == "reload") return agent.reload().value(), words{};
  if (what == "leave") return agent.leave(patience).value(), words{};
  if (what == "stop") return agent.stop().value(), words{};
  if (what == "metadata") {
    const std::string labels = "{\"" + with[3] + "\":\"" + with[4] + "\"}";
    const std::string said = "{\"region\":\"" + with[2] + "\",\"labels\":" + labels + "}";
    return agent.set_metadata(said).value(), words{};
  }
  if (what == "certificates") {
    const std::string parts[] = {content(with[2]), content(with[3]), content(with[4])};
    return agent.reload_certificates(parts[0], parts[1], parts[2]).value(), words{};
  }
  if (what == "snapshot") {
    snapshots.insert_or_assign(with[2], agent.snapshot().value());
    return {};
  }
  const auto topic = [&] { return static_cast<std::uint16_t>(std::stoul(with[2])); };
  if (what == "broadcast") return agent.broadcast(topic(), with[3]).value(), words{};
  if (what == "send") return agent.send_to(mesh::member_id(), topic(), with[3]).value(), words{};
  if (what == "latest") {
    return agent.broadcast_latest(topic(), std::stoull(with[3]), with[4]).value(), words{};
  }
  return documents(agent, with);
}

words act(const words &with) {
  const std::string &what = with[0];
  if (what == "load") return mesh::check_abi().value(), words{};
  if (what == "options") {
    auto made = with[2] == "file" ? mesh::options::from_file(with[3]) : mesh::options::from_json(with[3]);
    options.insert_or_assign(with[1], std::move(made).value());
    return {};
  }
  if (what == "set") return options.at(with[1]).set(with[2], value(with)).value(), words{};
  if (what == "start") {
    mesh::start_options program;
    program.events_capacity = std::stoull(with[3]);
    auto started = mesh::agent::start(options.at(with[2]), std::move(program));
    agents.insert_or_assign(with[1], std::move(started).value());
    return {};
  }
  if (what == "members") return show(snapshots.at(with[1]), "");
  // What was destroyed cannot be destroyed again, which is nothing to fail for.
  if (what == "close") return agents.erase(with[1]), words{};
  return command(agents.at(with[1]), with);
}

// A zero, or half of a surrogate pair, in the place of its mark.
std::string spoilt(std::string text) {
  const std::pair<std::string, std::string> marks[] = {{"<half>", "\xed\xa0\x80"}, {"<zero>", {'\0'}}};
  for (const auto &[mark, bad] : marks) {
    for (std::size_t at; (at = text.find(mark)) != text.npos;) text.replace(at, mark.size(), bad);
  }
  return text;
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    words with;
    std::istringstream parts(line + "\t");
    for (std::string part; std::getline(parts, part, '\t');) with.push_back(spoilt(part));
    words answer;
    try {
      answer = act(with);
      answer.insert(answer.begin(), "ok");
    } catch (const mesh::failure &failed) {
      const std::string &field = failed.field();
      answer = {"error", codes[number(failed.code())], field.empty() ? "-" : field};
    }
    for (std::size_t at = 0; at < answer.size(); at++) std::cout << (at > 0 ? "\t" : "") << answer[at];
    std::cout << std::endl;
  }
}
