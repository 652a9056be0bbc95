/* What a host can learn without a guess: how far apart records stand, why there is no view, how it
 * is in touch with others, that events were lost, and when all ended. Argument: the directory of
 * a.json and b.json. */
#include "mesh.h"

#include <sys/wait.h>

static void strides(const mesh_gossip_agent *agent) {
  const mesh_gossip_snapshot *view = mesh_gossip_snapshot_acquire(agent);
  const mesh_gossip_member *first;
  size_t len, stride;
  CHECK(mesh_gossip_snapshot_chunk(view, 0, &first, &len, &stride) == MESH_GOSSIP_OK);
  CHECK(stride == mesh_gossip_members_stride() && stride >= sizeof(mesh_gossip_member));
  CHECK(mesh_gossip_labels_stride() >= sizeof(mesh_gossip_label));
  CHECK(mesh_gossip_events_stride() >= sizeof(mesh_gossip_event));
  CHECK(mesh_gossip_contacts_stride() >= sizeof(mesh_gossip_contact));
  mesh_gossip_snapshot_release(view);
}

static void arena(const mesh_gossip_agent *agent) {
  const mesh_gossip_snapshot *view;
  const mesh_gossip_member *own;
  const mesh_gossip_label *labels;
  mesh_gossip_bytes text;
  size_t len, stride;
  CHECK(mesh_gossip_agent_set_label(agent, "rack", "r7", NULL) == MESH_GOSSIP_OK);
  view = mesh_gossip_snapshot_acquire(agent);
  CHECK(mesh_gossip_snapshot_chunk(view, 0, &own, &len, &stride) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_snapshot_chunk_arena(view, 0, &labels, &len, &text) == MESH_GOSSIP_OK);
  own = mesh_gossip_snapshot_local(view);
  CHECK(len == 1 && own->labels == labels && is(labels->key, "rack"));
  CHECK(own->node_id.data >= text.data && labels->value.data > own->node_id.data);
  CHECK(labels->value.data + labels->value.len <= text.data + text.len);
  CHECK(mesh_gossip_snapshot_chunk_arena(view, 99, &labels, &len, &text) ==
        MESH_GOSSIP_ERR_NOT_FOUND);
  CHECK(mesh_gossip_snapshot_chunk_arena(view, 0, NULL, &len, &text) == MESH_GOSSIP_ERR_ARGUMENT);
  CHECK(mesh_gossip_snapshot_chunk_arena(NULL, 0, &labels, &len, &text) ==
        MESH_GOSSIP_ERR_ARGUMENT);
  mesh_gossip_snapshot_release(view);
}

/* What a thread was handed last is no answer about another agent, nor about this one after a change. */
static void each_tells_of_itself(const mesh_gossip_agent *one, const mesh_gossip_agent *other) {
  char value[16];
  int turn;
  for (turn = 0; turn < 20; turn++) {
    const mesh_gossip_snapshot *first = mesh_gossip_snapshot_acquire(one), *second, *again;
    const mesh_gossip_member *own;
    sprintf(value, "v%d", turn);
    CHECK(mesh_gossip_agent_set_label(other, "turn", value, NULL) == MESH_GOSSIP_OK);
    second = mesh_gossip_snapshot_acquire(other);
    again = mesh_gossip_snapshot_acquire(one);
    own = mesh_gossip_snapshot_local(second);
    CHECK(memcmp(mesh_gossip_snapshot_local_id(first), mesh_gossip_snapshot_local_id(second), 16) != 0);
    CHECK(memcmp(mesh_gossip_snapshot_local_id(first), mesh_gossip_snapshot_local_id(again), 16) == 0);
    CHECK(own->labels_len == 1 && is(own->labels[0].value, value));
    mesh_gossip_snapshot_release(again);
    mesh_gossip_snapshot_release(first);
    mesh_gossip_snapshot_release(second);
    mesh_gossip_snapshot_release(mesh_gossip_snapshot_acquire(other));
  }
  CHECK(mesh_gossip_agent_set_label(other, "turn", NULL, NULL) == MESH_GOSSIP_OK);
}

static void why_there_is_no_view(const mesh_gossip_agent *agent) {
  const mesh_gossip_snapshot *view = NULL, *same = mesh_gossip_snapshot_acquire(agent);
  int status = 1;
  pid_t child;
  CHECK(mesh_gossip_snapshot_try_acquire(agent, &view, NULL) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_snapshot_generation(view) >= mesh_gossip_snapshot_generation(same));
  mesh_gossip_snapshot_release(view);
  mesh_gossip_snapshot_release(same);
  CHECK(mesh_gossip_snapshot_try_acquire(agent, NULL, NULL) == MESH_GOSSIP_ERR_ARGUMENT);
  child = fork();
  if (child == 0) {
    mesh_gossip_error *err = NULL;
    view = NULL;
    CHECK(mesh_gossip_snapshot_acquire(agent) == NULL);
    CHECK(mesh_gossip_snapshot_try_acquire(agent, &view, &err) == MESH_GOSSIP_ERR_FORKED);
    CHECK(view == NULL && strstr(mesh_gossip_error_message(err), "fork") != NULL);
    _exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* Whether a contact with `id` has a round-trip time. */
static int measured(const mesh_gossip_agent *agent, const uint8_t *id) {
  mesh_gossip_contacts *contacts = NULL;
  size_t index;
  int found = 0;
  CHECK(mesh_gossip_agent_contacts(agent, 5000, &contacts, NULL) == MESH_GOSSIP_OK);
  for (index = 0; index < mesh_gossip_contacts_len(contacts); index++) {
    const mesh_gossip_contact *contact = mesh_gossip_contacts_at(contacts, index);
    if (memcmp(contact->id, id, 16) != 0 || contact->rtt_us == 0) continue;
    CHECK(contact->rtt_us < PATIENCE_MS * 1000ull);
    CHECK(contact->last_unix_ms <= now_ms(CLOCK_REALTIME) + 1000);
    CHECK(contact->last_unix_ms + PATIENCE_MS > now_ms(CLOCK_REALTIME));
    found = 1;
  }
  CHECK(mesh_gossip_contacts_at(contacts, index) == NULL);
  mesh_gossip_contacts_free(contacts);
  return found;
}

static void contacts(const mesh_gossip_agent *agent, const char *other) {
  mesh_gossip_member member;
  CHECK(look(agent, other, &member, NULL, NULL, 0));
  UNTIL(measured(agent, member.id));
  CHECK(mesh_gossip_agent_contacts(agent, 5000, NULL, NULL) == MESH_GOSSIP_ERR_ARGUMENT);
  CHECK(mesh_gossip_contacts_len(NULL) == 0 && mesh_gossip_contacts_at(NULL, 0) == NULL);
  mesh_gossip_contacts_free(NULL);
}

/* Takes one event, waiting for it. */
static mesh_gossip_event take(const mesh_gossip_agent *agent) {
  struct pollfd fd = {mesh_gossip_agent_events_fd(agent), POLLIN, 0};
  mesh_gossip_events *events = NULL;
  mesh_gossip_event event;
  CHECK(poll(&fd, 1, PATIENCE_MS) == 1);
  CHECK(mesh_gossip_agent_take_events(agent, 1, &events, NULL) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_events_len(events) == 1);
  event = *mesh_gossip_events_at(events, 0);
  mesh_gossip_events_free(events);
  event.member = NULL;
  return event;
}

/* With a queue of one event, and nothing that happens once it has lost some. */
static void a_loss_is_told(const mesh_gossip_agent *speaker, const mesh_gossip_agent *slow) {
  mesh_gossip_member member;
  mesh_gossip_event event;
  char step[16], value[16];
  int number;
  for (number = 0; number < 6; number++) {
    snprintf(step, sizeof step, "%d", number);
    CHECK(mesh_gossip_agent_set_label(speaker, "step", step, NULL) == MESH_GOSSIP_OK);
    UNTIL(look(slow, "a", &member, "step", value, sizeof value) && strcmp(value, step) == 0);
  }
  do event = take(slow);
  while (event.kind != MESH_GOSSIP_EVENT_OVERFLOW);
  CHECK(event.count > 0 && event.at_unix_ms + PATIENCE_MS > now_ms(CLOCK_REALTIME));
}

int main(int argc, char **argv) {
  const char *const smallest[] = {"limits:events", "1", "events:delivery", "immediate", NULL};
  mesh_gossip_agent *a, *b;
  mesh_gossip_event event;
  CHECK(argc == 2 && mesh_gossip_check_abi() == MESH_GOSSIP_OK);
  a = start(argv[1], "a", NULL, 0, NULL);
  b = start(argv[1], "b", mesh_gossip_agent_address(a), 1, smallest);
  UNTIL(sees(a, "b", MESH_GOSSIP_STATUS_ALIVE) && sees(b, "a", MESH_GOSSIP_STATUS_ALIVE));
  strides(a);
  arena(a);
  why_there_is_no_view(a);
  contacts(a, "b");
  a_loss_is_told(a, b);
  each_tells_of_itself(a, b);
  CHECK(mesh_gossip_agent_stop(a, NULL) == MESH_GOSSIP_OK);
  do event = take(a);
  while (event.kind != MESH_GOSSIP_EVENT_ENDED);
  CHECK(event.at_unix_ms <= now_ms(CLOCK_REALTIME) + 1000);
  CHECK(event.at_unix_ms + PATIENCE_MS > now_ms(CLOCK_REALTIME));
  CHECK(mesh_gossip_agent_free(a) == MESH_GOSSIP_OK && mesh_gossip_agent_free(b) == MESH_GOSSIP_OK);
  puts("all is well");
  return 0;
}
