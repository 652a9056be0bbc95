// The layer for C++17: what is owned is freed, what is borrowed is read, what fails says so.
// Argument: settings. Without exceptions the parts that throw are left out.
#include <mesh_gossip.hpp>
#include <poll.h>

#include <atomic>
#include <cstdio>
#include <set>
#include <type_traits>

#define CHECK(holds)                                                   \
  do {                                                                 \
    if (!(holds)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #holds); \
      std::exit(1);                                                    \
    }                                                                  \
  } while (0)

namespace mg = mesh_gossip;
using namespace std::chrono_literals;

static_assert(!std::is_copy_constructible_v<mg::agent> && std::is_nothrow_move_constructible_v<mg::agent>);
static_assert(!std::is_copy_constructible_v<mg::snapshot> && !std::is_copy_constructible_v<mg::events>);

static bool wait_for(mg::agent &agent, mg::event_kind kind) {
  for (;;) {
    pollfd ready = {agent.events_fd(), POLLIN, 0};
    if (::poll(&ready, 1, 30000) != 1) return false;
    const mg::events batch = agent.take_events().value();
    CHECK(!batch.empty());
    for (const mg::event event : batch) {
      if (event.kind() == kind) return true;
    }
  }
}

static void failures(const char *settings) {
  auto refused = mg::options::from_json(R"({"mesh":{"gossip":{"fanuot":4}}})");
  CHECK(!refused && refused.error().code() == mg::code::config);
  CHECK(refused.error().field() == "mesh:gossip:fanuot");
  CHECK(std::string(refused.error().what()).find("fanout") != std::string::npos);
  mg::options options = mg::options::from_file(settings).value();
  CHECK(!options.set("fanout", "many"));
  CHECK(options.set("fanout", "4") && options.set("fanout", std::nullopt));
  options.set("enabled", "false").value();
  auto disabled = mg::agent::start(options);
  CHECK(!disabled && disabled.error().code() == mg::code::disabled);
#if defined(__cpp_exceptions)
  bool caught = false;
  try {
    mg::agent::start(options).value();
  } catch (const mg::failure &why) {
    caught = why.code() == mg::code::disabled && why.field() == "mesh:gossip:enabled";
  }
  CHECK(caught);
#endif
}

// A zero within would have C read less than was said.
static void cut_texts(mg::agent &agent) {
  const std::string cut{"k\0hidden", 8};
  const auto about = [](const auto &result, const char *field) {
    return !result && result.error().code() == mg::code::argument && result.error().field() == field;
  };
  CHECK(about(mg::options::from_json(cut), "json") && about(mg::options::from_file(cut), "path"));
  mg::options options = mg::options::from_json("{}").value();
  CHECK(about(options.set(cut, "4"), "key") && about(options.set("fanout", cut), "value"));
  CHECK(about(agent.set_label(cut, "v"), "key") && about(agent.set_label("k", cut), "value"));
  CHECK(about(agent.set_label(cut, std::nullopt), "key") && about(agent.set_metadata(cut), "json"));
  CHECK(about(agent.report_leases(cut, "{}"), "node_id") && about(agent.report_leases("q", cut), "json"));
  CHECK(about(agent.join({"localhost:1", cut}), "seeds") && about(agent.leaders_json(5s, cut), "scope"));
  CHECK(about(agent.reload_certificates(cut, {}, {}, cut), "password"));
}

// What was moved from holds nothing, and says so.
static void moved_from(mg::agent &agent) {
  pollfd ready = {agent.events_fd(), POLLIN, 0};
  CHECK(::poll(&ready, 1, 30000) == 1);
  mg::events all = agent.take_events().value();
  CHECK(!all.empty());
  const std::size_t size = all.size();
  mg::events taken = std::move(all);
  CHECK(all.empty() && all.size() == 0 && taken.size() == size && all.begin() == all.end());
  all = std::move(taken);
  CHECK(taken.empty() && all.size() == size);
  mg::snapshot first = agent.snapshot().value();
  const mg::snapshot second = std::move(first);
  CHECK(first.empty() && !first.local() && !first.local_id() && first.chunk(0).empty());
  CHECK(first.begin() == first.end() && second.size() == 1 && second.local_id());
}

static void reads(const mg::agent &agent) {
  const mg::snapshot view = agent.snapshot().value();
  CHECK(view.size() == 1 && !view.empty() && view.count(mg::status::alive) == 1);
  std::set<mg::member_id> seen;
  for (const mg::member member : view) {
    CHECK(member.is_local() && member.status() == mg::status::alive);
    CHECK(member.node_id() == "n1" && member.role() == "worker" && member.cluster_id() == "c1");
    CHECK(member.label_value("rack") == "r7" && !member.label_value("zone"));
    CHECK(member.labels().size() == 1 && member.labels()[0].key == "rack");
    seen.insert(member.id());
  }
  CHECK(seen.size() == 1 && *seen.begin() == view.local_id() && view.local_id().hex().size() == 32);
  CHECK(view.local()->node_id() == agent.node_id());
  CHECK(view.find(view.local_id()) && !view.find(mg::member_id()));
  CHECK(view.chunk_count() == 1 && view.chunk(0).size() == 1 && view.chunk(0).generation() != 0);
  CHECK(view.chunk(0)[0].id() == view.local_id() && view.chunk(9).empty());
  CHECK(view.time() > mg::time_point() && view.generation() > 0);
  CHECK(agent.contacts(5s).value().empty());
  CHECK(agent.peers_json(5s).value().front() == '{');
  CHECK(agent.metrics_text(5s).value().find("mesh_gossip") != std::string::npos);
  CHECK(agent.leaders_json(5s) && !agent.leaders_json(5s, "nobody's"));
  CHECK(!agent.health(5s).value().draining);
}

static void commands(mg::agent &agent) {
  CHECK(agent.set_metadata(R"({"region":"eu-2","http3Support":false})"));
  CHECK(agent.set_lifecycle(mg::lifecycle::draining) && agent.health(5s)->draining);
  CHECK(agent.set_lifecycle(mg::lifecycle::active));
  CHECK(agent.set_lifecycle(mg::lifecycle::leaving).error().code() == mg::code::argument);
  CHECK(agent.broadcast(7, std::string("all")) && agent.broadcast_latest(7, 1, std::string("new")));
  const auto lost = agent.send_to(mg::member_id(), 7, std::vector<std::uint8_t>{1, 2});
  CHECK(lost.error().code() == mg::code::not_found);
  CHECK(agent.reload() && agent.join({}));
  CHECK(agent.report_leases("q-1", R"({"pendingReassignments":3})"));
  CHECK(agent.lease_health_json(5s).value().find("\"q-1\"") != std::string::npos);
  CHECK(agent.report_leases("q-1", std::nullopt));
  CHECK(agent.lease_health_json(5s).value().find("\"q-1\"") == std::string::npos);
  CHECK(agent.reload_certificates({}).error().field() == "certificate");
  CHECK(!agent.force_leave(std::string_view("x")) && !agent.add_revocation_lists({"x", 1}));
}

int main(int argc, char **argv) {
  CHECK(argc >= 2 && mg::check_abi());
  failures(argv[1]);
  std::atomic<int> woken{0}, logged{0};
  mg::start_options program;
  program.wake = [&woken] { woken++; };
  program.log = [&logged](mg::log_level level, std::string_view message, std::string_view fields) {
    CHECK(level <= mg::log_level::info && !message.empty() && fields.front() == '{');
    logged++;
  };
  mg::agent first = mg::agent::start(mg::options::from_file(argv[1]).value(), program).value();
  mg::agent agent = std::move(first);
  CHECK(first.raw() == nullptr && first.events_fd() == -1 && !first.stop());
  CHECK(agent.set_label("rack", "r7"));
  cut_texts(agent);
  reads(agent);
  commands(agent);
  moved_from(agent);
  CHECK(agent.set_lifecycle(mg::lifecycle::cordoned));
  CHECK(wait_for(agent, mg::event_kind::updated));
  const mg::snapshot last = agent.snapshot().value();
  CHECK(agent.leave(5s) && agent.stop() && agent.stop());
  CHECK(wait_for(agent, mg::event_kind::ended) && woken > 0 && logged > 0);
  CHECK(agent.set_label("a", std::nullopt).error().code() == mg::code::stopped);
  agent = std::move(first);
  CHECK(last.local()->region() == "eu-2" && !last.local()->serves_http3());
  std::puts("all is well");
  return 0;
}
