/* What a host does with a running agent: takes its log, describes itself, looks members up, and
 * hands over credentials. Arguments: settings, certificate, key, trust. */
#include "check.h"

static mesh_gossip_agent *agent = NULL;
/* Written while the agent starts, which is over once it has started. */
static int listening = 0;
/* An agent that runs while the other one starts. */
static mesh_gossip_agent *older = NULL;

static void take(void *user, uint32_t level, const char *message, const char *fields) {
  CHECK(user == &listening && level >= MESH_GOSSIP_LOG_ERROR && level <= MESH_GOSSIP_LOG_INFO);
  CHECK(message[0] != '\0' && fields[0] == '{');
  /* Whoever waited for the engine here would wait for itself. */
  CHECK(mesh_gossip_agent_set_label(older, "a", "b", NULL) == MESH_GOSSIP_ERR_REENTRANT);
  CHECK(mesh_gossip_agent_free(older) == MESH_GOSSIP_ERR_REENTRANT);
  if (strstr(fields, "\"EventId\":1,") != NULL) *(int *)user = level == MESH_GOSSIP_LOG_INFO;
}

/* Whether the lease health holds this. */
static int tells(const char *what) {
  mesh_gossip_text *text = NULL;
  char copy[4096];
  size_t len;
  CHECK(mesh_gossip_agent_lease_health_json(agent, 20000, &text, NULL) == MESH_GOSSIP_OK);
  len = mesh_gossip_text_len(text);
  CHECK(len < sizeof copy);
  memcpy(copy, mesh_gossip_text_data(text), len);
  copy[len] = '\0';
  mesh_gossip_text_free(text);
  return strstr(copy, what) != NULL;
}

static size_t read_all(const char *path, uint8_t *into, size_t room) {
  FILE *file = fopen(path, "rb");
  size_t len;
  CHECK(file != NULL);
  len = fread(into, 1, room, file);
  CHECK(len > 0 && len < room);
  fclose(file);
  return len;
}

static void describe(void) {
  mesh_gossip_error *err = NULL;
  const mesh_gossip_snapshot *view;
  const mesh_gossip_member *own;
  uint8_t nobody[16] = {0};
  const char *said =
      "{\"region\":\"eu-2\",\"http3Support\":true,\"labels\":{\"rack\":\"r9\",\"zone\":\"z\"}}";
  CHECK(mesh_gossip_agent_set_metadata(agent, said, NULL) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_agent_set_metadata(agent, "{\"role\":\"x\"}", &err) ==
        MESH_GOSSIP_ERR_ARGUMENT);
  CHECK(strcmp(mesh_gossip_error_field(err), "role") == 0);
  mesh_gossip_error_free(err);
  CHECK(mesh_gossip_agent_set_metadata(agent, "{\"region\":7}", NULL) == MESH_GOSSIP_ERR_ARGUMENT);
  CHECK(mesh_gossip_agent_set_metadata(agent, "[", NULL) == MESH_GOSSIP_ERR_ARGUMENT);
  view = mesh_gossip_snapshot_acquire(agent);
  own = mesh_gossip_snapshot_local(view);
  CHECK(own != NULL && own->region.len == 4 && memcmp(own->region.data, "eu-2", 4) == 0);
  CHECK(own->flags == (MESH_GOSSIP_MEMBER_LOCAL | MESH_GOSSIP_MEMBER_HTTP3));
  CHECK(own->labels_len == 2 && memcmp(own->labels[0].value.data, "r9", 2) == 0);
  CHECK(mesh_gossip_snapshot_find(view, mesh_gossip_snapshot_local_id(view)) == own);
  CHECK(mesh_gossip_snapshot_find(view, nobody) == NULL);
  CHECK(mesh_gossip_snapshot_find(view, NULL) == NULL && mesh_gossip_snapshot_local(NULL) == NULL);
  CHECK(mesh_gossip_snapshot_count(view, MESH_GOSSIP_STATUS_ALIVE) == 1);
  CHECK(mesh_gossip_snapshot_count(view, MESH_GOSSIP_STATUS_FAILED) == 0);
  CHECK(mesh_gossip_snapshot_chunk_generation(view, 0) != 0);
  mesh_gossip_snapshot_release(view);
}

/* The document of the leases, of which the host keeps a part. */
static void leases(void) {
  mesh_gossip_error *err = NULL;
  const char *said =
      "{\"activeAssignments\":2,\"activeLeases\":[{\"sequenceId\":7,\"attempt\":1,\"leaseId\":\"l-7\"}]}";
  CHECK(mesh_gossip_agent_report_leases(agent, "queue-9", said, NULL) == MESH_GOSSIP_OK);
  CHECK(tells("\"peerId\":\"queue-9\"") && tells("\"leaseId\":\"l-7\"") && tells("\"activeAssignments\":2"));
  CHECK(mesh_gossip_agent_report_leases(agent, "queue-9", "{\"activeLeases\":[{\"leaseId\":7}]}",
                                        &err) == MESH_GOSSIP_ERR_ARGUMENT);
  CHECK(strcmp(mesh_gossip_error_field(err), "activeLeases[0].leaseId") == 0);
  mesh_gossip_error_free(err);
  CHECK(mesh_gossip_agent_report_leases(agent, "", said, NULL) == MESH_GOSSIP_ERR_ARGUMENT);
  CHECK(tells("\"leaseId\":\"l-7\""));
  CHECK(mesh_gossip_agent_report_leases(agent, "queue-9", NULL, NULL) == MESH_GOSSIP_OK);
  CHECK(!tells("queue-9") && tells("\"eligiblePeers\":1"));
}

static void renew(char **files) {
  static uint8_t certificate[65536], key[65536], ca[65536];
  const uint8_t *none = NULL;
  size_t certificate_len = read_all(files[0], certificate, sizeof certificate);
  size_t key_len = read_all(files[1], key, sizeof key);
  size_t ca_len = read_all(files[2], ca, sizeof ca);
  CHECK(mesh_gossip_agent_reload_certificates(agent, certificate, certificate_len, key, key_len,
                                              ca, ca_len, NULL, NULL) == MESH_GOSSIP_OK);
  /* Trust stays where none is given. */
  CHECK(mesh_gossip_agent_reload_certificates(agent, certificate, certificate_len, key, key_len,
                                              none, 0, NULL, NULL) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_agent_reload_certificates(agent, ca, ca_len, key, key_len, none, 0, NULL,
                                              NULL) == MESH_GOSSIP_ERR_CREDENTIALS);
  CHECK(mesh_gossip_agent_reload_certificates(agent, none, 0, key, key_len, ca, ca_len, NULL,
                                              NULL) == MESH_GOSSIP_ERR_ARGUMENT);
  CHECK(mesh_gossip_agent_broadcast_latest(agent, 7, 1, key, 4, NULL) == MESH_GOSSIP_OK);
}

int main(int argc, char **argv) {
  mesh_gossip_options *options = NULL;
  mesh_gossip_start_options start;
  CHECK(argc == 5 && mesh_gossip_check_abi() == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_options_from_file(argv[1], &options, NULL) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_start_options_init(&start, sizeof start) == MESH_GOSSIP_OK);
  start.log = take;
  start.log_user = &listening;
  start.log_level = 6;
  CHECK(mesh_gossip_agent_start_with(options, &start, &agent, NULL) == MESH_GOSSIP_ERR_ARGUMENT);
  start.log_level = 0;
  /* A caller that knows no log yet has none. */
  start.struct_size = offsetof(mesh_gossip_start_options, log);
  CHECK(mesh_gossip_agent_start_with(options, &start, &older, NULL) == MESH_GOSSIP_OK);
  CHECK(listening == 0);
  start.struct_size = sizeof start;
  CHECK(mesh_gossip_agent_start_with(options, &start, &agent, NULL) == MESH_GOSSIP_OK);
  mesh_gossip_options_free(options);
  describe();
  leases();
  renew(argv + 2);
  CHECK(mesh_gossip_agent_free(agent) == MESH_GOSSIP_OK);
  CHECK(listening == 1);
  CHECK(mesh_gossip_agent_free(older) == MESH_GOSSIP_OK);
  puts("all is well");
  return 0;
}
