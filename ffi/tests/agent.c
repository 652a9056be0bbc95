/* Starts an agent from the file of the first argument, walks its snapshot, takes its events, and
 * misuses it in the ways that have to be answered by a code. */
#include "check.h"
#include <sys/wait.h>
#include <unistd.h>

static mesh_gossip_agent *agent = NULL;
static mesh_gossip_result freed_within = MESH_GOSSIP_OK;

static void wake(void *user) {
  (void)user;
  freed_within = mesh_gossip_agent_free(agent);
}

static void wait_for(uint32_t kind) {
  struct pollfd fd = {mesh_gossip_agent_events_fd(agent), POLLIN, 0};
  for (;;) {
    mesh_gossip_events *events = NULL;
    size_t index;
    int found = 0;
    CHECK(poll(&fd, 1, 30000) == 1);
    CHECK(mesh_gossip_agent_take_events(agent, 8, &events, NULL) == MESH_GOSSIP_OK);
    CHECK(mesh_gossip_events_len(events) > 0);
    for (index = 0; index < mesh_gossip_events_len(events); index++) {
      found |= mesh_gossip_events_at(events, index)->kind == kind;
    }
    CHECK(mesh_gossip_events_at(events, index) == NULL);
    mesh_gossip_events_free(events);
    if (found) return;
  }
}

static void misuse_options(const char *file) {
  mesh_gossip_error *err = NULL;
  mesh_gossip_options *options = NULL;
  struct {
    mesh_gossip_start_options known;
    size_t tail;
  } newer;
  CHECK(mesh_gossip_options_from_json(NULL, &options, NULL) == MESH_GOSSIP_ERR_ARGUMENT);
  CHECK(mesh_gossip_options_from_json("\xff", &options, NULL) == MESH_GOSSIP_ERR_UTF8);
  CHECK(mesh_gossip_options_from_json("{\"mesh\":{\"gossip\":{\"fanuot\":4}}}", &options, &err) ==
        MESH_GOSSIP_ERR_CONFIG);
  CHECK(options == NULL && strcmp(mesh_gossip_error_field(err), "mesh:gossip:fanuot") == 0);
  CHECK(mesh_gossip_error_code(err) == MESH_GOSSIP_ERR_CONFIG);
  CHECK(strstr(mesh_gossip_error_message(err), "fanout") != NULL);
  mesh_gossip_error_free(err);
  CHECK(mesh_gossip_options_from_file(file, &options, NULL) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_options_set(options, "interval", "5", NULL) == MESH_GOSSIP_ERR_CONFIG);
  CHECK(mesh_gossip_options_set(options, "region", "eu-1", NULL) == MESH_GOSSIP_OK);
  memset(&newer, 0, sizeof newer);
  CHECK(mesh_gossip_start_options_init(&newer.known, sizeof newer) == MESH_GOSSIP_OK);
  newer.tail = 1;
  CHECK(mesh_gossip_agent_start_with(options, &newer.known, &agent, NULL) ==
        MESH_GOSSIP_ERR_STRUCT_SIZE);
  CHECK(agent == NULL);
  mesh_gossip_options_free(options);
  mesh_gossip_options_free(NULL);
}

int main(int argc, char **argv) {
  mesh_gossip_error *err = NULL;
  mesh_gossip_options *options = NULL;
  mesh_gossip_start_options start;
  const mesh_gossip_snapshot *view;
  const mesh_gossip_member *member;
  mesh_gossip_text *text = NULL;
  size_t len, stride;
  uint32_t health = 0;
  int status = 1;
  pid_t child;
  CHECK(argc >= 2 && mesh_gossip_check_abi() == MESH_GOSSIP_OK);
  misuse_options(argv[1]);
  CHECK(mesh_gossip_options_from_file(argv[1], &options, &err) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_options_set(options, "region", "eu-1", &err) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_start_options_init(&start, sizeof start) == MESH_GOSSIP_OK);
  start.wake = wake;
  if (mesh_gossip_agent_start_with(options, &start, &agent, &err) != MESH_GOSSIP_OK) {
    fprintf(stderr, "%s\n", mesh_gossip_error_message(err));
    return 1;
  }
  mesh_gossip_options_free(options);
  CHECK(mesh_gossip_agent_set_label(agent, "rack", "r7", NULL) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_agent_set_lifecycle(agent, 4, NULL) == MESH_GOSSIP_ERR_ARGUMENT);
  view = mesh_gossip_snapshot_acquire(agent);
  CHECK(mesh_gossip_snapshot_len(view) == 1 && mesh_gossip_snapshot_chunk_count(view) == 1);
  CHECK(mesh_gossip_snapshot_chunk(view, 0, &member, &len, &stride) == MESH_GOSSIP_OK);
  CHECK(len == 1 && stride == sizeof *member && member->status == MESH_GOSSIP_STATUS_ALIVE);
  CHECK(member->flags & MESH_GOSSIP_MEMBER_LOCAL);
  CHECK(member->region.len == 4 && memcmp(member->region.data, "eu-1", 4) == 0);
  CHECK(member->labels_len == 1 && memcmp(member->labels[0].value.data, "r7", 2) == 0);
  CHECK(mesh_gossip_snapshot_chunk(view, 1, &member, &len, &stride) == MESH_GOSSIP_ERR_NOT_FOUND);
  CHECK(mesh_gossip_agent_health(agent, 5000, &health, NULL) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_agent_peers_json(agent, 5000, &text, NULL) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_text_len(text) > 2 && mesh_gossip_text_data(text)[0] == '{');
  mesh_gossip_text_free(text);
  child = fork();
  if (child == 0) {
    int refused = mesh_gossip_agent_stop(agent, NULL) == MESH_GOSSIP_ERR_FORKED &&
                  mesh_gossip_agent_free(agent) == MESH_GOSSIP_ERR_FORKED &&
                  mesh_gossip_snapshot_acquire(agent) == NULL;
    _exit(refused ? 0 : 1);
  }
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(mesh_gossip_agent_stop(agent, NULL) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_agent_stop(agent, NULL) == MESH_GOSSIP_OK);
  CHECK(freed_within == MESH_GOSSIP_ERR_REENTRANT);
  CHECK(mesh_gossip_agent_set_label(agent, "a", "b", NULL) == MESH_GOSSIP_ERR_STOPPED);
  wait_for(MESH_GOSSIP_EVENT_ENDED);
  CHECK(mesh_gossip_agent_free(agent) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_agent_free(NULL) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_agent_stop(NULL, NULL) == MESH_GOSSIP_ERR_ARGUMENT);
  CHECK(mesh_gossip_snapshot_len(view) == 1);
  mesh_gossip_snapshot_release(view);
  mesh_gossip_snapshot_release(NULL);
  puts("all is well");
  return 0;
}
