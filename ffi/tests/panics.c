/* A defect in every function: it comes out as a code or as what the function returns for nothing, and
 * a handle that it happened on can only be freed. Needs the library for tests. Argument: settings. */
#include "check.h"

#include <mesh_gossip_hooks.h>

/* The call meets the planted panic, and returns this. */
#define GIVES(value, call)                     \
  do {                                         \
    mesh_gossip_hooks_panic_next();            \
    CHECK((call) == (value));                  \
    CHECK(mesh_gossip_hooks_was_unmet() == 0); \
  } while (0)

/* The same of what returns nothing. */
#define STAYS(call)                            \
  do {                                         \
    mesh_gossip_hooks_panic_next();            \
    call;                                      \
    CHECK(mesh_gossip_hooks_was_unmet() == 0); \
  } while (0)

#define PANICS(call) GIVES(MESH_GOSSIP_ERR_PANIC, call)

/* On an agent of its own, which is of no use any more. */
#define SPOILS(call)                                      \
  do {                                                    \
    agent = started(file, NULL);                          \
    PANICS(call);                                         \
    FAILS(POISONED, call);                                \
    CHECK(mesh_gossip_snapshot_acquire(agent) == NULL);   \
    CHECK(mesh_gossip_agent_node_id(agent)[0] != '\0');   \
    WORKS(mesh_gossip_agent_free(agent));                 \
  } while (0)

static mesh_gossip_options *options_of(const char *file) {
  mesh_gossip_options *options = NULL;
  WORKS(mesh_gossip_options_from_file(file, &options, NULL));
  return options;
}

static void what_makes_options(const char *file) {
  mesh_gossip_options *options = NULL;
  mesh_gossip_agent *agent = NULL;
  mesh_gossip_error *err = NULL;
  mesh_gossip_start_options start;
  PANICS(mesh_gossip_start_options_init(&start, sizeof start));
  PANICS(mesh_gossip_options_from_json("{}", &options, NULL));
  PANICS(mesh_gossip_options_from_file(file, &options, &err));
  CHECK(options == NULL && mesh_gossip_error_code(err) == MESH_GOSSIP_ERR_PANIC);
  CHECK(strstr(mesh_gossip_error_message(err), "a defect of the library: planted") != NULL);
  CHECK(mesh_gossip_error_field(err) == NULL);
  mesh_gossip_error_free(err);
  options = options_of(file);
  PANICS(mesh_gossip_options_set(options, "fanout", "4", NULL));
  FAILS(POISONED, mesh_gossip_options_set(options, "fanout", "4", NULL));
  FAILS(POISONED, mesh_gossip_agent_start(options, &agent, NULL));
  STAYS(mesh_gossip_options_free(options));
  mesh_gossip_options_free(options);
  options = options_of(file);
  PANICS(mesh_gossip_agent_start(options, &agent, NULL));
  FAILS(POISONED, mesh_gossip_agent_start(options, &agent, NULL));
  mesh_gossip_options_free(options);
  options = options_of(file);
  PANICS(mesh_gossip_agent_start_with(options, NULL, &agent, NULL));
  FAILS(POISONED, mesh_gossip_agent_start_with(options, NULL, &agent, NULL));
  mesh_gossip_options_free(options);
  CHECK(agent == NULL);
}

static void what_tells_of_errors(void) {
  mesh_gossip_options *options = NULL;
  mesh_gossip_error *err = NULL;
  FAILS(ARGUMENT, mesh_gossip_options_from_json(NULL, &options, &err));
  GIVES(0, strcmp(mesh_gossip_error_message(err), ""));
  GIVES(NULL, mesh_gossip_error_field(err));
  GIVES(MESH_GOSSIP_OK, mesh_gossip_error_code(err));
  CHECK(strcmp(mesh_gossip_error_field(err), "json") == 0);
  STAYS(mesh_gossip_error_free(err));
  mesh_gossip_error_free(err);
}

static void what_shows_members(const char *file) {
  const mesh_gossip_snapshot *view = NULL;
  const mesh_gossip_member *member = NULL;
  const mesh_gossip_label *labels = NULL;
  mesh_gossip_bytes arena = {NULL, 0};
  mesh_gossip_agent *agent = started(file, NULL);
  size_t len = 0, stride = 0;
  uint8_t id[16];
  WORKS(mesh_gossip_snapshot_try_acquire(agent, &view, NULL));
  memcpy(id, mesh_gossip_snapshot_local_id(view), sizeof id);
  GIVES(0, mesh_gossip_snapshot_len(view));
  GIVES(0, mesh_gossip_snapshot_generation(view));
  GIVES(0, mesh_gossip_snapshot_time(view));
  GIVES(NULL, mesh_gossip_snapshot_local_id(view));
  GIVES(0, mesh_gossip_snapshot_chunk_count(view));
  GIVES(0, mesh_gossip_snapshot_chunk_generation(view, 0));
  GIVES(NULL, mesh_gossip_snapshot_find(view, id));
  GIVES(NULL, mesh_gossip_snapshot_local(view));
  GIVES(0, mesh_gossip_snapshot_count(view, MESH_GOSSIP_STATUS_ALIVE));
  PANICS(mesh_gossip_snapshot_chunk(view, 0, &member, &len, &stride));
  PANICS(mesh_gossip_snapshot_chunk_arena(view, 0, &labels, &len, &arena));
  CHECK(member == NULL && labels == NULL && arena.data == NULL && len == 0 && stride == 0);
  /* What never changes is not spoilt by who failed to look at it. */
  CHECK(mesh_gossip_snapshot_find(view, id) == mesh_gossip_snapshot_local(view));
  CHECK(mesh_gossip_snapshot_len(view) == 1);
  STAYS(mesh_gossip_snapshot_release(view));
  mesh_gossip_snapshot_release(view);
  GIVES(0, strcmp(mesh_gossip_agent_node_id(agent), ""));
  GIVES(0, strcmp(mesh_gossip_agent_address(agent), ""));
  GIVES(-1, mesh_gossip_agent_events_fd(agent));
  CHECK(mesh_gossip_agent_events_fd(agent) >= 0);
  GIVES(NULL, mesh_gossip_snapshot_acquire(agent));
  FAILS(POISONED, mesh_gossip_snapshot_try_acquire(agent, &view, NULL));
  PANICS(mesh_gossip_agent_free(agent));
  WORKS(mesh_gossip_agent_free(agent));
  SPOILS(mesh_gossip_snapshot_try_acquire(agent, &view, NULL));
}

static void what_hands_out(const char *file) {
  mesh_gossip_agent *agent = started(file, NULL);
  mesh_gossip_events *events = NULL;
  mesh_gossip_contacts *contacts = NULL;
  mesh_gossip_text *text = NULL;
  uint32_t health = 77;
  struct pollfd fd = {0, POLLIN, 0};
  WORKS(mesh_gossip_agent_peers_json(agent, 5000, &text, NULL));
  GIVES(NULL, mesh_gossip_text_data(text));
  GIVES(0, mesh_gossip_text_len(text));
  STAYS(mesh_gossip_text_free(text));
  mesh_gossip_text_free(text);
  text = NULL;
  WORKS(mesh_gossip_agent_contacts(agent, 5000, &contacts, NULL));
  GIVES(0, mesh_gossip_contacts_len(contacts));
  GIVES(NULL, mesh_gossip_contacts_at(contacts, 0));
  STAYS(mesh_gossip_contacts_free(contacts));
  mesh_gossip_contacts_free(contacts);
  contacts = NULL;
  WORKS(mesh_gossip_agent_stop(agent, NULL));
  fd.fd = mesh_gossip_agent_events_fd(agent);
  CHECK(poll(&fd, 1, 30000) == 1);
  WORKS(mesh_gossip_agent_take_events(agent, 8, &events, NULL));
  CHECK(mesh_gossip_events_len(events) > 0);
  GIVES(0, mesh_gossip_events_len(events));
  GIVES(NULL, mesh_gossip_events_at(events, 0));
  STAYS(mesh_gossip_events_free(events));
  mesh_gossip_events_free(events);
  events = NULL;
  WORKS(mesh_gossip_agent_free(agent));
  SPOILS(mesh_gossip_agent_peers_json(agent, 5000, &text, NULL));
  SPOILS(mesh_gossip_agent_lease_health_json(agent, 5000, &text, NULL));
  SPOILS(mesh_gossip_agent_leaders_json(agent, NULL, 5000, &text, NULL));
  SPOILS(mesh_gossip_agent_metrics_text(agent, 5000, &text, NULL));
  SPOILS(mesh_gossip_agent_health(agent, 5000, &health, NULL));
  SPOILS(mesh_gossip_agent_contacts(agent, 5000, &contacts, NULL));
  SPOILS(mesh_gossip_agent_take_events(agent, 8, &events, NULL));
  CHECK(text == NULL && health == 77 && contacts == NULL && events == NULL);
}

static void what_acts(const char *file) {
  mesh_gossip_agent *agent;
  uint8_t id[16] = {0};
  const uint8_t *none = NULL;
  SPOILS(mesh_gossip_agent_leave(agent, 1, NULL));
  SPOILS(mesh_gossip_agent_report_leases(agent, "b", "{}", NULL));
  SPOILS(mesh_gossip_agent_stop(agent, NULL));
  SPOILS(mesh_gossip_agent_set_label(agent, "a", "b", NULL));
  SPOILS(mesh_gossip_agent_set_lifecycle(agent, 0, NULL));
  SPOILS(mesh_gossip_agent_set_metadata(agent, "{}", NULL));
  SPOILS(mesh_gossip_agent_join(agent, NULL, 0, NULL));
  SPOILS(mesh_gossip_agent_force_leave(agent, id, 16, NULL));
  SPOILS(mesh_gossip_agent_reload(agent, NULL));
  SPOILS(mesh_gossip_agent_reload_certificates(agent, id, 16, none, 0, none, 0, NULL, NULL));
  SPOILS(mesh_gossip_agent_add_revocation_lists(agent, id, 16, NULL));
  SPOILS(mesh_gossip_agent_broadcast(agent, 1, id, 16, NULL));
  SPOILS(mesh_gossip_agent_broadcast_latest(agent, 1, 1, id, 16, NULL));
  SPOILS(mesh_gossip_agent_send_to(agent, id, 1, id, 16, NULL));
}

/* These return what the compiler put there: nothing within can panic. */
static void constants(void) {
  mesh_gossip_hooks_panic_next();
  CHECK(mesh_gossip_abi_version() == MESH_GOSSIP_ABI_VERSION && mesh_gossip_features() == 0);
  CHECK(mesh_gossip_version_string()[0] != '\0');
  CHECK(mesh_gossip_members_stride() == sizeof(mesh_gossip_member));
  CHECK(mesh_gossip_labels_stride() == sizeof(mesh_gossip_label));
  CHECK(mesh_gossip_contacts_stride() == sizeof(mesh_gossip_contact));
  CHECK(mesh_gossip_events_stride() == sizeof(mesh_gossip_event));
  CHECK(mesh_gossip_hooks_was_unmet() == 1);
}

int main(int argc, char **argv) {
  CHECK(argc >= 2 && mesh_gossip_check_abi() == MESH_GOSSIP_OK);
  constants();
  what_makes_options(argv[1]);
  what_tells_of_errors();
  what_shows_members(argv[1]);
  what_hands_out(argv[1]);
  what_acts(argv[1]);
  puts("all is well");
  return 0;
}
