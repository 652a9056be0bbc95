/* The fake as a host sees it, once with records as the header says them and once with longer ones. */
#include <mesh_gossip.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(holds)                                              \
  do {                                                            \
    if (!(holds)) {                                               \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #holds); \
      exit(1);                                                    \
    }                                                             \
  } while (0)

static int woken;
static mesh_gossip_result stopped_within;

static void wake(void *user) {
  woken++;
  if (*(mesh_gossip_agent **)user == NULL) return;
  stopped_within = mesh_gossip_agent_stop(*(mesh_gossip_agent **)user, NULL);
}

static int is(mesh_gossip_bytes bytes, const char *text) {
  return bytes.len == strlen(text) && memcmp(bytes.data, text, bytes.len) == 0;
}

static const mesh_gossip_label *label(const mesh_gossip_member *member, size_t index) {
  return (const void *)((const char *)member->labels + index * mesh_gossip_labels_stride());
}

static mesh_gossip_agent *start(const char *script, mesh_gossip_agent **user) {
  mesh_gossip_options *options = NULL;
  mesh_gossip_start_options with;
  mesh_gossip_agent *agent = NULL;
  CHECK(setenv("MESH_GOSSIP_FAKE", script, 1) == 0);
  CHECK(mesh_gossip_options_from_json("{\"mesh\":{\"gossip\":{\"nodeId\": \"me\"}}}", &options,
                                      NULL) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_start_options_init(&with, sizeof with) == MESH_GOSSIP_OK);
  with.wake = wake;
  with.wake_user = user;
  CHECK(mesh_gossip_agent_start_with(options, &with, &agent, NULL) == MESH_GOSSIP_OK);
  mesh_gossip_options_free(options);
  return agent;
}

static void walks(void) {
  mesh_gossip_agent *agent = start("members=300;labels=2;churn", &agent);
  const mesh_gossip_snapshot *first = mesh_gossip_snapshot_acquire(agent);
  const mesh_gossip_snapshot *second = mesh_gossip_snapshot_acquire(agent);
  const mesh_gossip_member *member;
  const mesh_gossip_label *labels;
  mesh_gossip_bytes text;
  size_t len, stride, chunk, seen = 0;
  CHECK(mesh_gossip_snapshot_len(first) == 300 && mesh_gossip_snapshot_chunk_count(first) == 3);
  for (chunk = 0; chunk < 3; chunk++) {
    int same = mesh_gossip_snapshot_chunk_generation(first, chunk) ==
               mesh_gossip_snapshot_chunk_generation(second, chunk);
    CHECK(same == (chunk < 2));
    CHECK(mesh_gossip_snapshot_chunk(first, chunk, &member, &len, &stride) == MESH_GOSSIP_OK);
    CHECK(stride == mesh_gossip_members_stride());
    for (size_t at = 0; at < len; at++, seen++) {
      const mesh_gossip_member *next = (const void *)((const char *)member + at * stride);
      CHECK(next->labels_len == 2 && is(label(next, 1)->key, "label-01"));
      CHECK(is(next->role, "worker") && next->status == MESH_GOSSIP_STATUS_ALIVE);
      CHECK(mesh_gossip_snapshot_find(first, next->id) == next);
    }
    CHECK(mesh_gossip_snapshot_chunk_arena(first, chunk, &labels, &len, &text) == MESH_GOSSIP_OK);
    CHECK(member->labels == labels && member->node_id.data == text.data);
  }
  CHECK(seen == 300 && mesh_gossip_snapshot_count(first, MESH_GOSSIP_STATUS_ALIVE) == 300);
  CHECK(is(mesh_gossip_snapshot_local(first)->node_id, "me"));
  CHECK(mesh_gossip_agent_set_label(agent, "a", "b", NULL) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_snapshot_local(first)->labels_len == 2);
  CHECK(mesh_gossip_agent_free(agent) == MESH_GOSSIP_OK);
  mesh_gossip_snapshot_release(first);
  CHECK(mesh_gossip_snapshot_local(second)->labels_len == 2);
  mesh_gossip_snapshot_release(second);
}

static void tells(void) {
  mesh_gossip_agent *agent = NULL;
  mesh_gossip_events *events = NULL;
  const mesh_gossip_snapshot *view;
  const mesh_gossip_event *event;
  struct pollfd fd = {-1, POLLIN, 0};
  woken = 0;
  agent = start("members=3\nevent=3:1\nevent=5:2:0:2\nevent=15:0:7", &agent);
  fd.fd = mesh_gossip_agent_events_fd(agent);
  CHECK(woken == 1 && poll(&fd, 1, 0) == 1);
  CHECK(mesh_gossip_agent_take_events(agent, 2, &events, NULL) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_events_len(events) == 2 && poll(&fd, 1, 0) == 1);
  event = mesh_gossip_events_at(events, 1);
  CHECK(event->kind == MESH_GOSSIP_EVENT_LEFT && event->detail == MESH_GOSSIP_REASON_FAILED);
  CHECK(is(event->member->node_id, "node-0002") &&
        event->member->status == MESH_GOSSIP_STATUS_FAILED);
  CHECK((const char *)event ==
        (const char *)mesh_gossip_events_at(events, 0) + mesh_gossip_events_stride());
  mesh_gossip_events_free(events);
  CHECK(mesh_gossip_agent_take_events(agent, 9, &events, NULL) == MESH_GOSSIP_OK);
  event = mesh_gossip_events_at(events, 0);
  CHECK(event->kind == MESH_GOSSIP_EVENT_OVERFLOW && event->count == 7 && poll(&fd, 1, 0) == 0);
  mesh_gossip_events_free(events);
  view = mesh_gossip_snapshot_acquire(agent);
  CHECK(mesh_gossip_snapshot_count(view, MESH_GOSSIP_STATUS_SUSPECT) == 1);
  CHECK(mesh_gossip_snapshot_count(view, MESH_GOSSIP_STATUS_FAILED) == 1);
  CHECK(mesh_gossip_agent_broadcast(agent, 9, (const uint8_t *)"hi", 2, NULL) == MESH_GOSSIP_OK);
  CHECK(woken == 2 && stopped_within == MESH_GOSSIP_ERR_REENTRANT);
  CHECK(mesh_gossip_agent_stop(agent, NULL) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_agent_take_events(agent, 9, &events, NULL) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_events_len(events) == 2 && is(mesh_gossip_events_at(events, 0)->payload, "hi"));
  CHECK(mesh_gossip_events_at(events, 1)->kind == MESH_GOSSIP_EVENT_ENDED);
  CHECK(mesh_gossip_agent_set_label(agent, "a", "b", NULL) == MESH_GOSSIP_ERR_STOPPED);
  CHECK(mesh_gossip_agent_free(agent) == MESH_GOSSIP_OK);
  mesh_gossip_events_free(events);
  mesh_gossip_snapshot_release(view);
}

static int shows(const mesh_gossip_agent *agent, const char *what) {
  mesh_gossip_text *text = NULL;
  int found;
  CHECK(mesh_gossip_agent_lease_health_json(agent, 1, &text, NULL) == MESH_GOSSIP_OK);
  found = strstr((const char *)mesh_gossip_text_data(text), what) != NULL;
  mesh_gossip_text_free(text);
  return found;
}

static void leases(void) {
  mesh_gossip_agent *none = NULL, *agent = start("members=2", &none);
  CHECK(mesh_gossip_agent_report_leases(agent, "q-1", "{}", NULL) == MESH_GOSSIP_OK && shows(agent, "q-1"));
  CHECK(mesh_gossip_agent_report_leases(agent, "q-2", "[]", NULL) == MESH_GOSSIP_ERR_ARGUMENT);
  CHECK(mesh_gossip_agent_report_leases(agent, NULL, "{}", NULL) == MESH_GOSSIP_ERR_ARGUMENT);
  CHECK(mesh_gossip_agent_report_leases(agent, "q-1", NULL, NULL) == MESH_GOSSIP_OK && !shows(agent, "q-1"));
  CHECK(mesh_gossip_agent_free(agent) == MESH_GOSSIP_OK);
}

static void fails(void) {
  mesh_gossip_error *err = NULL;
  mesh_gossip_agent *none = NULL, *agent = start("fail=agent_reload:6:tls:out of date", &none);
  CHECK(mesh_gossip_agent_reload(agent, &err) == MESH_GOSSIP_ERR_CREDENTIALS);
  CHECK(strcmp(mesh_gossip_error_field(err), "tls") == 0);
  CHECK(strcmp(mesh_gossip_error_message(err), "out of date") == 0);
  mesh_gossip_error_free(err);
  CHECK(mesh_gossip_agent_free(agent) == MESH_GOSSIP_OK);
  CHECK(setenv("MESH_GOSSIP_FAKE", "abi=2", 1) == 0 && mesh_gossip_check_abi() == MESH_GOSSIP_ERR_ABI);
}

int main(int argc, char **argv) {
  if (argc == 1) {
    CHECK(mesh_gossip_members_stride() == sizeof(mesh_gossip_member));
    walks(), tells(), leases(), fails();
    /* Once more, in a process that finds longer records. */
    CHECK(setenv("MESH_GOSSIP_FAKE", "longer=16", 1) == 0);
    execl("/proc/self/exe", argv[0], "longer", (char *)NULL);
    CHECK(!"execl returned");
  }
  CHECK(mesh_gossip_members_stride() == sizeof(mesh_gossip_member) + 16);
  CHECK(mesh_gossip_events_stride() == sizeof(mesh_gossip_event) + 16);
  walks(), tells();
  puts("all is well");
  return 0;
}
