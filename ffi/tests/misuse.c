/* What bad input gets: a code and a message, or a documented nothing. Argument: settings. */
#include "check.h"
#include <pthread.h>

/* Stands where a failing call must not write. */
static char untouched;
#define UNTOUCHED(type) ((type *)(void *)&untouched)

static void nulls_to_what_reads(void) {
  CHECK(strcmp(mesh_gossip_error_message(NULL), "") == 0);
  CHECK(mesh_gossip_error_field(NULL) == NULL && mesh_gossip_error_code(NULL) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_text_data(NULL) == NULL && mesh_gossip_text_len(NULL) == 0);
  CHECK(strcmp(mesh_gossip_agent_node_id(NULL), "") == 0);
  CHECK(strcmp(mesh_gossip_agent_address(NULL), "") == 0);
  CHECK(mesh_gossip_agent_events_fd(NULL) == -1);
  CHECK(mesh_gossip_snapshot_acquire(NULL) == NULL);
  CHECK(mesh_gossip_snapshot_len(NULL) == 0 && mesh_gossip_snapshot_generation(NULL) == 0);
  CHECK(mesh_gossip_snapshot_time(NULL) == 0 && mesh_gossip_snapshot_local_id(NULL) == NULL);
  CHECK(mesh_gossip_snapshot_chunk_count(NULL) == 0);
  CHECK(mesh_gossip_snapshot_chunk_generation(NULL, 0) == 0);
  CHECK(mesh_gossip_snapshot_find(NULL, NULL) == NULL && mesh_gossip_snapshot_local(NULL) == NULL);
  CHECK(mesh_gossip_snapshot_count(NULL, MESH_GOSSIP_STATUS_ALIVE) == 0);
  CHECK(mesh_gossip_contacts_len(NULL) == 0 && mesh_gossip_contacts_at(NULL, 0) == NULL);
  CHECK(mesh_gossip_members_stride() == sizeof(mesh_gossip_member));
  CHECK(mesh_gossip_labels_stride() == sizeof(mesh_gossip_label));
  CHECK(mesh_gossip_contacts_stride() == sizeof(mesh_gossip_contact));
  CHECK(mesh_gossip_events_stride() == sizeof(mesh_gossip_event));
  CHECK(mesh_gossip_abi_version() == MESH_GOSSIP_ABI_VERSION && mesh_gossip_features() == 0);
  CHECK(mesh_gossip_version_string()[0] != '\0');
  CHECK(mesh_gossip_events_len(NULL) == 0 && mesh_gossip_events_at(NULL, 0) == NULL);
}

static void nulls_to_what_frees(void) {
  int turn;
  for (turn = 0; turn < 2; turn++) {
    mesh_gossip_error_free(NULL);
    mesh_gossip_text_free(NULL);
    mesh_gossip_options_free(NULL);
    mesh_gossip_events_free(NULL);
    mesh_gossip_contacts_free(NULL);
    mesh_gossip_snapshot_release(NULL);
    WORKS(mesh_gossip_agent_free(NULL));
  }
}

static void nulls_to_what_acts(void) {
  mesh_gossip_options *options = UNTOUCHED(mesh_gossip_options);
  mesh_gossip_agent *agent = UNTOUCHED(mesh_gossip_agent);
  mesh_gossip_text *text = UNTOUCHED(mesh_gossip_text);
  mesh_gossip_events *events = UNTOUCHED(mesh_gossip_events);
  mesh_gossip_contacts *contacts = UNTOUCHED(mesh_gossip_contacts);
  const mesh_gossip_snapshot *view = NULL;
  const mesh_gossip_label *labels = NULL;
  mesh_gossip_bytes arena = {NULL, 0};
  const mesh_gossip_member *member = NULL;
  mesh_gossip_error *err = NULL;
  uint32_t health = 77;
  size_t len = 77, stride = 77;
  uint8_t id[16] = {0};
  const uint8_t *none = NULL;
  FAILS(ARGUMENT, mesh_gossip_start_options_init(NULL, sizeof(mesh_gossip_start_options)));
  FAILS(ARGUMENT, mesh_gossip_options_from_json(NULL, &options, NULL));
  FAILS(ARGUMENT, mesh_gossip_options_from_json("{}", NULL, NULL));
  FAILS(ARGUMENT, mesh_gossip_options_from_file(NULL, &options, NULL));
  FAILS(ARGUMENT, mesh_gossip_options_set(NULL, "fanout", "4", NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_start_with(NULL, NULL, &agent, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_start(NULL, &agent, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_leave(NULL, 1, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_stop(NULL, NULL));
  FAILS(ARGUMENT, mesh_gossip_snapshot_chunk(NULL, 0, &member, &len, &stride));
  FAILS(ARGUMENT, mesh_gossip_snapshot_chunk_arena(NULL, 0, &labels, &len, &arena));
  FAILS(ARGUMENT, mesh_gossip_snapshot_try_acquire(NULL, &view, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_contacts(NULL, 1, &contacts, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_take_events(NULL, 1, &events, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_set_label(NULL, "a", "b", NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_set_lifecycle(NULL, 0, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_join(NULL, NULL, 0, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_force_leave(NULL, id, 16, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_reload(NULL, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_add_revocation_lists(NULL, id, 16, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_broadcast(NULL, 1, id, 16, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_broadcast_latest(NULL, 1, 1, id, 16, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_send_to(NULL, id, 1, id, 16, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_set_metadata(NULL, "{}", NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_reload_certificates(NULL, id, 16, none, 0, none, 0, NULL, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_peers_json(NULL, 1, &text, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_leaders_json(NULL, NULL, 1, &text, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_report_leases(NULL, "b", NULL, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_lease_health_json(NULL, 1, &text, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_metrics_text(NULL, 1, &text, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_health(NULL, 1, &health, &err));
  CHECK(err != NULL && strlen(mesh_gossip_error_message(err)) > 0);
  mesh_gossip_error_free(err);
  CHECK((char *)options == &untouched && (char *)agent == &untouched);
  CHECK((char *)text == &untouched && (char *)events == &untouched);
  CHECK((char *)contacts == &untouched && view == NULL && labels == NULL && arena.len == 0);
  CHECK(health == 77 && len == 77 && stride == 77 && member == NULL);
}

/* A structure as somebody else knows it. */
typedef struct {
  mesh_gossip_start_options known;
  uint64_t tail[2];
} longer;

static mesh_gossip_result sized(const mesh_gossip_options *options, size_t size, uint64_t tail) {
  longer start;
  mesh_gossip_agent *agent = NULL;
  mesh_gossip_error *err = NULL;
  mesh_gossip_result result;
  memset(&start, 0, sizeof start);
  start.known.struct_size = size;
  start.tail[1] = tail;
  result = mesh_gossip_agent_start_with(options, &start.known, &agent, &err);
  CHECK((result == MESH_GOSSIP_OK) == (agent != NULL) && (agent == NULL) == (err != NULL));
  if (err != NULL) CHECK(strcmp(mesh_gossip_error_field(err), "struct_size") == 0);
  mesh_gossip_error_free(err);
  WORKS(mesh_gossip_agent_free(agent));
  return result;
}

static void sizes(const char *file) {
  mesh_gossip_options *options = NULL;
  mesh_gossip_agent *agent = NULL;
  mesh_gossip_error *err = NULL;
  longer start;
  WORKS(mesh_gossip_options_from_file(file, &options, NULL));
  CHECK(sized(options, 0, 0) == MESH_GOSSIP_ERR_STRUCT_SIZE);
  CHECK(sized(options, sizeof(size_t) - 1, 0) == MESH_GOSSIP_ERR_STRUCT_SIZE);
  /* Half of a field is none: the rest of a function's address would be made up. */
  CHECK(sized(options, sizeof(size_t) + 4, 0) == MESH_GOSSIP_ERR_STRUCT_SIZE);
  CHECK(sized(options, offsetof(mesh_gossip_start_options, log) + 1, 0) == MESH_GOSSIP_ERR_STRUCT_SIZE);
  CHECK(sized(options, offsetof(mesh_gossip_start_options, log_user) + 4, 0) == MESH_GOSSIP_ERR_STRUCT_SIZE);
  CHECK(sized(options, 4097, 0) == MESH_GOSSIP_ERR_STRUCT_SIZE);
  CHECK(sized(options, (size_t)-1, 0) == MESH_GOSSIP_ERR_STRUCT_SIZE);
  CHECK(sized(options, sizeof(longer), 1) == MESH_GOSSIP_ERR_STRUCT_SIZE);
  /* Older and newer callers who ask for nothing unknown. */
  CHECK(sized(options, sizeof(size_t), 0) == MESH_GOSSIP_OK);
  CHECK(sized(options, sizeof(longer), 0) == MESH_GOSSIP_OK);
  /* Nor is what stands where a later library may read something. */
  WORKS(mesh_gossip_start_options_init(&start.known, sizeof start.known));
  start.known.reserved = 1;
  FAILS(STRUCT_SIZE, mesh_gossip_agent_start_with(options, &start.known, &agent, &err));
  CHECK(agent == NULL && strcmp(mesh_gossip_error_field(err), "reserved") == 0);
  mesh_gossip_error_free(err);
  mesh_gossip_options_free(options);
  FAILS(STRUCT_SIZE, mesh_gossip_start_options_init(&start.known, 0));
  FAILS(STRUCT_SIZE, mesh_gossip_start_options_init(&start.known, sizeof(size_t) + 4));
  FAILS(STRUCT_SIZE, mesh_gossip_start_options_init(&start.known, 4097));
  WORKS(mesh_gossip_start_options_init(&start.known, sizeof start));
  CHECK(start.known.struct_size == sizeof start && start.tail[1] == 0 && start.known.log == NULL);
}

static void not_utf8(const char *file, const mesh_gossip_agent *agent) {
  const char *bad = "a\xff\xfe";
  const char *seeds[1] = {NULL};
  uint8_t byte = 1;
  const uint8_t *none = NULL;
  mesh_gossip_options *options = NULL;
  mesh_gossip_text *text = NULL;
  mesh_gossip_error *err = NULL;
  FAILS(UTF8, mesh_gossip_options_from_json(bad, &options, NULL));
  FAILS(UTF8, mesh_gossip_options_from_file(bad, &options, NULL));
  CHECK(options == NULL);
  WORKS(mesh_gossip_options_from_file(file, &options, NULL));
  FAILS(UTF8, mesh_gossip_options_set(options, bad, "4", NULL));
  FAILS(UTF8, mesh_gossip_options_set(options, "fanout", bad, &err));
  CHECK(strcmp(mesh_gossip_error_field(err), "value") == 0);
  mesh_gossip_error_free(err);
  mesh_gossip_options_free(options);
  FAILS(UTF8, mesh_gossip_agent_set_label(agent, bad, "b", NULL));
  FAILS(UTF8, mesh_gossip_agent_set_label(agent, "a", bad, NULL));
  FAILS(UTF8, mesh_gossip_agent_set_metadata(agent, bad, NULL));
  FAILS(UTF8, mesh_gossip_agent_leaders_json(agent, bad, 1000, &text, NULL));
  FAILS(UTF8, mesh_gossip_agent_report_leases(agent, bad, NULL, NULL));
  FAILS(UTF8, mesh_gossip_agent_report_leases(agent, "b", bad, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_report_leases(agent, NULL, "{}", NULL));
  FAILS(UTF8, mesh_gossip_agent_reload_certificates(agent, &byte, 1, none, 0, none, 0, bad, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_join(agent, seeds, 1, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_join(agent, NULL, 1, NULL));
  seeds[0] = bad;
  FAILS(UTF8, mesh_gossip_agent_join(agent, seeds, 1, NULL));
  seeds[0] = "no port";
  FAILS(IO, mesh_gossip_agent_join(agent, seeds, 1, NULL));
}

static void too_long(const mesh_gossip_agent *agent) {
  const size_t longest = 16 * 1024 * 1024;
  char *text = (char *)malloc(longest + 2);
  const uint8_t *bytes = (const uint8_t *)text;
  uint8_t id[16];
  mesh_gossip_options *options = NULL;
  CHECK(text != NULL);
  memset(text, '[', longest + 1);
  text[longest + 1] = '\0';
  FAILS(TOO_LARGE, mesh_gossip_options_from_json(text, &options, NULL));
  FAILS(TOO_LARGE, mesh_gossip_agent_set_label(agent, text, "b", NULL));
  FAILS(TOO_LARGE, mesh_gossip_agent_set_metadata(agent, text, NULL));
  text[longest] = '\0';
  /* As long as is taken, and as deep as it goes. */
  FAILS(CONFIG, mesh_gossip_options_from_json(text, &options, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_set_metadata(agent, text, NULL));
  CHECK(options == NULL);
  text[65536] = '\0';
  FAILS(TOO_LARGE, mesh_gossip_agent_set_label(agent, "a", text, NULL));
  FAILS(TOO_LARGE, mesh_gossip_agent_report_leases(agent, text, NULL, NULL));
  /* A length that nothing can have is not believed. */
  FAILS(TOO_LARGE, mesh_gossip_agent_broadcast(agent, 1, bytes, (size_t)-1, NULL));
  FAILS(TOO_LARGE, mesh_gossip_agent_force_leave(agent, bytes, (size_t)-1, NULL));
  FAILS(TOO_LARGE, mesh_gossip_agent_add_revocation_lists(agent, bytes, (size_t)-1, NULL));
  FAILS(TOO_LARGE, mesh_gossip_agent_reload_certificates(agent, bytes, (size_t)-1, bytes, 1, bytes,
                                                         1, NULL, NULL));
  FAILS(TOO_LARGE, mesh_gossip_agent_broadcast(agent, 1, bytes, 65536, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_broadcast(agent, 1, NULL, 1, NULL));
  memset(id, 7, sizeof id);
  FAILS(NOT_FOUND, mesh_gossip_agent_send_to(agent, id, 1, bytes, 1, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_send_to(agent, NULL, 1, bytes, 1, NULL));
  FAILS(REFUSED, mesh_gossip_agent_force_leave(agent, bytes, 64, NULL));
  free(text);
}

static void null_outputs(const mesh_gossip_agent *agent) {
  const mesh_gossip_snapshot *view = mesh_gossip_snapshot_acquire(agent);
  const mesh_gossip_member *member = NULL;
  const mesh_gossip_label *labels = NULL;
  mesh_gossip_bytes arena = {NULL, 0};
  size_t len = 77, stride = 77;
  FAILS(ARGUMENT, mesh_gossip_snapshot_chunk(view, 0, NULL, &len, &stride));
  FAILS(ARGUMENT, mesh_gossip_snapshot_chunk(view, 0, &member, NULL, &stride));
  FAILS(ARGUMENT, mesh_gossip_snapshot_chunk(view, 0, &member, &len, NULL));
  FAILS(NOT_FOUND, mesh_gossip_snapshot_chunk(view, (size_t)-1, &member, &len, &stride));
  FAILS(NOT_FOUND, mesh_gossip_snapshot_chunk_arena(view, (size_t)-1, &labels, &len, &arena));
  FAILS(ARGUMENT, mesh_gossip_snapshot_chunk_arena(view, 0, NULL, &len, &arena));
  FAILS(ARGUMENT, mesh_gossip_snapshot_try_acquire(agent, NULL, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_contacts(agent, 1000, NULL, NULL));
  CHECK(member == NULL && len == 77 && stride == 77);
  CHECK(mesh_gossip_snapshot_chunk_generation(view, (size_t)-1) == 0);
  CHECK(mesh_gossip_snapshot_count(view, 77) == 0);
  mesh_gossip_snapshot_release(view);
  FAILS(ARGUMENT, mesh_gossip_agent_take_events(agent, 1, NULL, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_peers_json(agent, 1000, NULL, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_metrics_text(agent, 1000, NULL, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_lease_health_json(agent, 1000, NULL, NULL));
  FAILS(ARGUMENT, mesh_gossip_agent_health(agent, 1000, NULL, NULL));
}

/* No time at all, and more of it than there is. */
static void waits(const char *file, const mesh_gossip_agent *agent) {
  mesh_gossip_agent *other = started(file, NULL);
  mesh_gossip_text *text = NULL;
  mesh_gossip_contacts *contacts = NULL;
  uint32_t health = 0;
  mesh_gossip_result result = mesh_gossip_agent_health(agent, 0, &health, NULL);
  CHECK(result == MESH_GOSSIP_OK || result == MESH_GOSSIP_ERR_TIMEOUT);
  WORKS(mesh_gossip_agent_health(agent, UINT64_MAX, &health, NULL));
  WORKS(mesh_gossip_agent_peers_json(agent, UINT64_MAX, &text, NULL));
  mesh_gossip_text_free(text);
  WORKS(mesh_gossip_agent_contacts(agent, UINT64_MAX, &contacts, NULL));
  mesh_gossip_contacts_free(contacts);
  result = mesh_gossip_agent_leave(other, 0, NULL);
  CHECK(result == MESH_GOSSIP_OK || result == MESH_GOSSIP_ERR_TIMEOUT);
  WORKS(mesh_gossip_agent_free(other));
  other = started(file, NULL);
  WORKS(mesh_gossip_agent_leave(other, UINT64_MAX, NULL));
  WORKS(mesh_gossip_agent_free(other));
}

static void *a_life(void *file) {
  mesh_gossip_agent *agent = started((const char *)file, NULL);
  mesh_gossip_text *text = NULL;
  uint32_t health = 0;
  WORKS(mesh_gossip_agent_health(agent, 20000, &health, NULL));
  WORKS(mesh_gossip_agent_set_metadata(agent, "{\"region\":\"eu-1\"}", NULL));
  WORKS(mesh_gossip_agent_peers_json(agent, 20000, &text, NULL));
  mesh_gossip_text_free(text);
  WORKS(mesh_gossip_agent_metrics_text(agent, 20000, &text, NULL));
  mesh_gossip_text_free(text);
  WORKS(mesh_gossip_agent_reload(agent, NULL));
  WORKS(mesh_gossip_agent_leave(agent, 20000, NULL));
  WORKS(mesh_gossip_agent_free(agent));
  return NULL;
}

/* As little as is promised to be enough, unless a sanitizer makes more of it. */
static void on_a_small_stack(char *file) {
  pthread_attr_t attributes;
  pthread_t thread;
  CHECK(pthread_attr_init(&attributes) == 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  CHECK(pthread_attr_setstacksize(&attributes, 256 * 1024) == 0);
#endif
  CHECK(pthread_create(&thread, &attributes, a_life, file) == 0);
  CHECK(pthread_join(thread, NULL) == 0 && pthread_attr_destroy(&attributes) == 0);
}

static void after_a_stop(mesh_gossip_agent *agent) {
  const mesh_gossip_snapshot *view, *same = NULL;
  mesh_gossip_contacts *contacts = NULL;
  const uint8_t *none = NULL;
  mesh_gossip_events *events = NULL;
  mesh_gossip_text *text = NULL;
  uint32_t health = 77;
  uint8_t id[16] = {0};
  WORKS(mesh_gossip_agent_stop(agent, NULL));
  WORKS(mesh_gossip_agent_stop(agent, NULL));
  FAILS(STOPPED, mesh_gossip_agent_leave(agent, 1000, NULL));
  FAILS(STOPPED, mesh_gossip_agent_set_label(agent, "a", "b", NULL));
  FAILS(STOPPED, mesh_gossip_agent_set_lifecycle(agent, 0, NULL));
  FAILS(STOPPED, mesh_gossip_agent_set_metadata(agent, "{}", NULL));
  FAILS(STOPPED, mesh_gossip_agent_join(agent, NULL, 0, NULL));
  FAILS(STOPPED, mesh_gossip_agent_reload(agent, NULL));
  FAILS(STOPPED, mesh_gossip_agent_broadcast(agent, 1, id, 16, NULL));
  FAILS(STOPPED, mesh_gossip_agent_send_to(agent, id, 1, id, 16, NULL));
  FAILS(STOPPED, mesh_gossip_agent_peers_json(agent, 1000, &text, NULL));
  FAILS(STOPPED, mesh_gossip_agent_metrics_text(agent, 1000, &text, NULL));
  FAILS(STOPPED, mesh_gossip_agent_report_leases(agent, "b", "{}", NULL));
  FAILS(STOPPED, mesh_gossip_agent_lease_health_json(agent, 1000, &text, NULL));
  FAILS(STOPPED, mesh_gossip_agent_leaders_json(agent, NULL, 1000, &text, NULL));
  FAILS(STOPPED, mesh_gossip_agent_contacts(agent, 1000, &contacts, NULL));
  FAILS(STOPPED, mesh_gossip_agent_force_leave(agent, id, 16, NULL));
  FAILS(STOPPED, mesh_gossip_agent_broadcast_latest(agent, 1, 1, id, 16, NULL));
  FAILS(STOPPED, mesh_gossip_agent_add_revocation_lists(agent, id, 16, NULL));
  FAILS(STOPPED, mesh_gossip_agent_reload_certificates(agent, id, 16, none, 0, none, 0, NULL, NULL));
  FAILS(STOPPED, mesh_gossip_agent_health(agent, 1000, &health, NULL));
  CHECK(text == NULL && health == 77 && contacts == NULL);
  WORKS(mesh_gossip_snapshot_try_acquire(agent, &same, NULL));
  mesh_gossip_snapshot_release(same);
  CHECK(mesh_gossip_agent_node_id(agent)[0] != '\0');
  view = mesh_gossip_snapshot_acquire(agent);
  CHECK(mesh_gossip_snapshot_len(view) == 1);
  WORKS(mesh_gossip_agent_take_events(agent, 1000, &events, NULL));
  CHECK(mesh_gossip_events_len(events) > 0);
  WORKS(mesh_gossip_agent_free(agent));
  /* Both outlive the agent. */
  CHECK(mesh_gossip_snapshot_local(view)->node_id.len > 0);
  CHECK(mesh_gossip_events_at(events, mesh_gossip_events_len(events) - 1)->kind ==
        MESH_GOSSIP_EVENT_ENDED);
  mesh_gossip_snapshot_release(view);
  mesh_gossip_events_free(events);
}

int main(int argc, char **argv) {
  mesh_gossip_agent *agent;
  CHECK(argc >= 2 && mesh_gossip_check_abi() == MESH_GOSSIP_OK);
  nulls_to_what_reads();
  nulls_to_what_frees();
  nulls_to_what_acts();
  sizes(argv[1]);
  agent = started(argv[1], NULL);
  not_utf8(argv[1], agent);
  too_long(agent);
  null_outputs(agent);
  waits(argv[1], agent);
  on_a_small_stack(argv[1]);
  after_a_stop(agent);
  puts("all is well");
  return 0;
}
