/* Options and agents. */
#include "fake.h"

#include <stdio.h>
#include <unistd.h>

struct mesh_gossip_options {
  char *node_id;
};

struct mesh_gossip_text {
  char *text;
};

struct mesh_gossip_contacts {
  size_t len;
  char *records;
};

struct mesh_gossip_agent {
  pthread_mutex_t turn;
  pid_t owner;
  bool stopped;
  mesh_gossip_start_options start;
  char *node_id;
  char *reported; /* whose leases were told last */
  crowd crowd;
  uint64_t generation;
  queue queue;
};

/* Whether this thread is within a function of the host's. */
static _Thread_local bool inside;

#define CHECKED(call)                             \
  do {                                            \
    mesh_gossip_result code_ = (call);            \
    if (code_ != MESH_GOSSIP_OK) return code_;    \
  } while (0)

static mesh_gossip_result null(const void *pointer, const char *name, mesh_gossip_error **err) {
  if (pointer != NULL) return MESH_GOSSIP_OK;
  return fail(err, MESH_GOSSIP_ERR_ARGUMENT, name, "is NULL");
}

/* The agent as everybody may change it: who is within has its turn. */
static mesh_gossip_agent *own(const mesh_gossip_agent *agent) { return (mesh_gossip_agent *)agent; }

static mesh_gossip_result usable(const mesh_gossip_agent *agent, const char *function,
                                 mesh_gossip_error **err) {
  CHECKED(null(agent, "handle", err));
  if (agent->owner != getpid()) {
    return fail(err, MESH_GOSSIP_ERR_FORKED, NULL, "this handle was made before a fork");
  }
  return script_failure(function, err);
}

static mesh_gossip_result running(const mesh_gossip_agent *agent, const char *function,
                                  mesh_gossip_error **err) {
  bool stopped;
  CHECKED(usable(agent, function, err));
  pthread_mutex_lock(&own(agent)->turn);
  stopped = agent->stopped;
  pthread_mutex_unlock(&own(agent)->turn);
  if (stopped) return fail(err, MESH_GOSSIP_ERR_STOPPED, NULL, "the agent has been stopped");
  return MESH_GOSSIP_OK;
}

/* Options. */

mesh_gossip_result mesh_gossip_start_options_init(mesh_gossip_start_options *options, size_t size) {
  CHECKED(null(options, "options", NULL));
  if (size < sizeof options->struct_size) return MESH_GOSSIP_ERR_STRUCT_SIZE;
  memset(options, 0, size);
  options->struct_size = size;
  return MESH_GOSSIP_OK;
}

mesh_gossip_result mesh_gossip_options_from_json(const char *json, mesh_gossip_options **out,
                                                 mesh_gossip_error **err) {
  const char *name;
  CHECKED(null(json, "json", err));
  CHECKED(null(out, "out", err));
  CHECKED(script_failure("options_from_json", err));
  *out = need(1, sizeof **out);
  name = strstr(json, "\"nodeId\"");
  name = name == NULL ? NULL : strchr(name + strlen("\"nodeId\""), '"');
  if (name != NULL) {
    size_t len = strcspn(name + 1, "\"");
    (*out)->node_id = need(len + 1, 1);
    memcpy((*out)->node_id, name + 1, len);
  }
  return MESH_GOSSIP_OK;
}

mesh_gossip_result mesh_gossip_options_from_file(const char *path, mesh_gossip_options **out,
                                                 mesh_gossip_error **err) {
  char text[65536];
  size_t len;
  FILE *file;
  CHECKED(null(path, "path", err));
  file = fopen(path, "r");
  if (file == NULL) return fail(err, MESH_GOSSIP_ERR_CONFIG, "path", "cannot be read");
  len = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[len] = '\0';
  return mesh_gossip_options_from_json(text, out, err);
}

mesh_gossip_result mesh_gossip_options_set(mesh_gossip_options *options, const char *key,
                                           const char *value, mesh_gossip_error **err) {
  CHECKED(null(options, "handle", err));
  CHECKED(null(key, "key", err));
  CHECKED(script_failure("options_set", err));
  if (strcmp(key, "nodeId") == 0) {
    free(options->node_id);
    options->node_id = value == NULL ? NULL : copy_text(value);
  }
  return MESH_GOSSIP_OK;
}

void mesh_gossip_options_free(mesh_gossip_options *options) {
  if (options == NULL) return;
  free(options->node_id);
  free(options);
}

/* Events on their way to the host. */

static void tell(mesh_gossip_agent *agent, letter *letter) {
  bool first;
  pthread_mutex_lock(&agent->turn);
  first = queue_put(&agent->queue, letter);
  pthread_mutex_unlock(&agent->turn);
  if (first && agent->start.wake != NULL) {
    inside = true;
    agent->start.wake(agent->start.wake_user);
    inside = false;
  }
}

/* What an event says of its member. */
static void believe(mesh_gossip_agent *agent, uint32_t kind, uint32_t detail, size_t index) {
  uint32_t *status = &agent->crowd.people[index].status;
  switch (kind) {
    case MESH_GOSSIP_EVENT_JOINED:
    case MESH_GOSSIP_EVENT_RECOVERED: *status = MESH_GOSSIP_STATUS_ALIVE; break;
    case MESH_GOSSIP_EVENT_SUSPECTED:
    case MESH_GOSSIP_EVENT_UNREACHABLE: *status = MESH_GOSSIP_STATUS_SUSPECT; break;
    case MESH_GOSSIP_EVENT_LEFT:
      *status = detail == MESH_GOSSIP_REASON_LEFT ? MESH_GOSSIP_STATUS_LEFT
                                                  : MESH_GOSSIP_STATUS_FAILED;
      break;
    default: break;
  }
  crowd_changed(&agent->crowd, index);
  agent->generation++;
}

static bool brings_member(uint32_t kind) {
  return kind <= MESH_GOSSIP_EVENT_UPDATED || kind == MESH_GOSSIP_EVENT_REFUTED;
}

static void play(mesh_gossip_agent *agent) {
  char *text;
  for (size_t n = 0; (text = script_text("event", n)) != NULL; n++) {
    char *rest = text;
    uint64_t numbers[4] = {0, 0, 0, 0};
    letter *next;
    for (size_t part = 0; part < 4 && *rest != '\0'; part++) {
      numbers[part] = strtoull(rest, &rest, 10);
      rest += *rest == ':';
    }
    free(text);
    next = letter_of((uint32_t)numbers[0]);
    next->event.count = numbers[2];
    next->event.detail = (uint32_t)numbers[3];
    if (numbers[1] < agent->crowd.count && next->event.kind != MESH_GOSSIP_EVENT_OVERFLOW &&
        next->event.kind != MESH_GOSSIP_EVENT_MISSED) {
      id_of(numbers[1], next->event.id);
    }
    if (brings_member(next->event.kind) && numbers[1] < agent->crowd.count) {
      believe(agent, next->event.kind, next->event.detail, numbers[1]);
      next->about = crowd_chunk(&agent->crowd, numbers[1], 1);
      next->event.member = (const void *)next->about->records;
    }
    tell(agent, next);
  }
}

/* Life. */

mesh_gossip_result mesh_gossip_agent_start_with(const mesh_gossip_options *options,
                                                const mesh_gossip_start_options *start,
                                                mesh_gossip_agent **out, mesh_gossip_error **err) {
  mesh_gossip_agent *agent;
  CHECKED(null(options, "handle", err));
  CHECKED(null(out, "out", err));
  CHECKED(script_failure("agent_start_with", err));
  agent = need(1, sizeof *agent);
  pthread_mutex_init(&agent->turn, NULL);
  agent->owner = getpid();
  agent->node_id = copy_text(options->node_id == NULL ? "node-0000" : options->node_id);
  agent->generation = 1;
  if (start != NULL) {
    size_t known = sizeof agent->start;
    memcpy(&agent->start, start, start->struct_size < known ? start->struct_size : known);
  }
  if (!queue_open(&agent->queue)) abort();
  crowd_open(&agent->crowd, agent->node_id);
  play(agent);
  if (agent->start.log != NULL) {
    inside = true;
    agent->start.log(agent->start.log_user, MESH_GOSSIP_LOG_INFO, "gossip listens", "{\"EventId\":1}");
    inside = false;
  }
  *out = agent;
  return MESH_GOSSIP_OK;
}

mesh_gossip_result mesh_gossip_agent_start(const mesh_gossip_options *options,
                                           mesh_gossip_agent **out, mesh_gossip_error **err) {
  return mesh_gossip_agent_start_with(options, NULL, out, err);
}

mesh_gossip_result mesh_gossip_agent_leave(const mesh_gossip_agent *agent, uint64_t timeout_ms,
                                           mesh_gossip_error **err) {
  letter *done;
  (void)timeout_ms;
  CHECKED(running(agent, "agent_leave", err));
  done = letter_of(MESH_GOSSIP_EVENT_LEAVE_COMPLETE);
  done->event.count = agent->crowd.count == 0 ? 0 : agent->crowd.count - 1;
  tell(own(agent), done);
  return MESH_GOSSIP_OK;
}

mesh_gossip_result mesh_gossip_agent_stop(const mesh_gossip_agent *agent, mesh_gossip_error **err) {
  bool first;
  CHECKED(usable(agent, "agent_stop", err));
  if (inside) return fail(err, MESH_GOSSIP_ERR_REENTRANT, NULL, "called within a callback");
  pthread_mutex_lock(&own(agent)->turn);
  first = !agent->stopped;
  own(agent)->stopped = true;
  pthread_mutex_unlock(&own(agent)->turn);
  if (first) tell(own(agent), letter_of(MESH_GOSSIP_EVENT_ENDED));
  return MESH_GOSSIP_OK;
}

mesh_gossip_result mesh_gossip_agent_free(mesh_gossip_agent *agent) {
  if (agent == NULL) return MESH_GOSSIP_OK;
  CHECKED(mesh_gossip_agent_stop(agent, NULL));
  crowd_close(&agent->crowd);
  queue_close(&agent->queue);
  pthread_mutex_destroy(&agent->turn);
  free(agent->node_id);
  free(agent->reported);
  free(agent);
  return MESH_GOSSIP_OK;
}

const char *mesh_gossip_agent_node_id(const mesh_gossip_agent *agent) {
  return agent == NULL ? "" : agent->node_id;
}

const char *mesh_gossip_agent_address(const mesh_gossip_agent *agent) {
  return agent == NULL ? "" : "127.0.0.1:17421";
}

mesh_gossip_result mesh_gossip_snapshot_try_acquire(const mesh_gossip_agent *agent,
                                                    const mesh_gossip_snapshot **out,
                                                    mesh_gossip_error **err) {
  mesh_gossip_agent *holder = own(agent);
  CHECKED(usable(agent, "snapshot_try_acquire", err));
  CHECKED(null(out, "out", err));
  pthread_mutex_lock(&holder->turn);
  if (script_has("churn") && holder->crowd.count > 0) {
    holder->crowd.people[holder->crowd.count - 1].version++;
    crowd_changed(&holder->crowd, holder->crowd.count - 1);
    holder->generation++;
  }
  *out = snapshot_of(&holder->crowd, holder->generation);
  pthread_mutex_unlock(&holder->turn);
  return MESH_GOSSIP_OK;
}

const mesh_gossip_snapshot *mesh_gossip_snapshot_acquire(const mesh_gossip_agent *agent) {
  const mesh_gossip_snapshot *snapshot = NULL;
  mesh_gossip_snapshot_try_acquire(agent, &snapshot, NULL);
  return snapshot;
}

int mesh_gossip_agent_events_fd(const mesh_gossip_agent *agent) {
  return agent == NULL || agent->owner != getpid() ? -1 : agent->queue.descriptor;
}

mesh_gossip_result mesh_gossip_agent_take_events(const mesh_gossip_agent *agent, size_t max,
                                                 mesh_gossip_events **out, mesh_gossip_error **err) {
  CHECKED(usable(agent, "agent_take_events", err));
  CHECKED(null(out, "out", err));
  pthread_mutex_lock(&own(agent)->turn);
  *out = queue_take(&own(agent)->queue, max);
  pthread_mutex_unlock(&own(agent)->turn);
  return MESH_GOSSIP_OK;
}

/* Commands. */

static void changed(mesh_gossip_agent *agent) {
  agent->crowd.people[0].version++;
  agent->crowd.people[0].counter++;
  crowd_changed(&agent->crowd, 0);
  agent->generation++;
}

mesh_gossip_result mesh_gossip_agent_set_label(const mesh_gossip_agent *agent, const char *key,
                                               const char *value, mesh_gossip_error **err) {
  bool fits;
  CHECKED(running(agent, "agent_set_label", err));
  CHECKED(null(key, "key", err));
  pthread_mutex_lock(&own(agent)->turn);
  fits = agent->crowd.count > 0 && set_label(&agent->crowd.people[0], key, value);
  if (fits) changed(own(agent));
  pthread_mutex_unlock(&own(agent)->turn);
  return fits ? MESH_GOSSIP_OK : fail(err, MESH_GOSSIP_ERR_TOO_LARGE, "key", "no room for a label");
}

mesh_gossip_result mesh_gossip_agent_set_lifecycle(const mesh_gossip_agent *agent,
                                                   uint32_t lifecycle, mesh_gossip_error **err) {
  CHECKED(running(agent, "agent_set_lifecycle", err));
  if (lifecycle > MESH_GOSSIP_LIFECYCLE_DRAINED || agent->crowd.count == 0) {
    return fail(err, MESH_GOSSIP_ERR_ARGUMENT, "lifecycle", "is none that can be set");
  }
  pthread_mutex_lock(&own(agent)->turn);
  agent->crowd.people[0].lifecycle = lifecycle;
  changed(own(agent));
  pthread_mutex_unlock(&own(agent)->turn);
  return MESH_GOSSIP_OK;
}

mesh_gossip_result mesh_gossip_agent_join(const mesh_gossip_agent *agent, const char *const *seeds,
                                          size_t count, mesh_gossip_error **err) {
  CHECKED(running(agent, "agent_join", err));
  if (count > 0) CHECKED(null(seeds, "seeds", err));
  tell(own(agent), letter_of(MESH_GOSSIP_EVENT_JOIN_COMPLETE));
  return MESH_GOSSIP_OK;
}

mesh_gossip_result mesh_gossip_agent_force_leave(const mesh_gossip_agent *agent,
                                                 const uint8_t *order, size_t len,
                                                 mesh_gossip_error **err) {
  CHECKED(running(agent, "agent_force_leave", err));
  if (len > 0) CHECKED(null(order, "order", err));
  return fail(err, MESH_GOSSIP_ERR_REFUSED, "order", "nobody has signed it");
}

mesh_gossip_result mesh_gossip_agent_reload(const mesh_gossip_agent *agent,
                                            mesh_gossip_error **err) {
  return running(agent, "agent_reload", err);
}

mesh_gossip_result mesh_gossip_agent_add_revocation_lists(const mesh_gossip_agent *agent,
                                                          const uint8_t *lists, size_t len,
                                                          mesh_gossip_error **err) {
  CHECKED(running(agent, "agent_add_revocation_lists", err));
  return len == 0 ? MESH_GOSSIP_OK : null(lists, "lists", err);
}

mesh_gossip_result mesh_gossip_agent_set_metadata(const mesh_gossip_agent *agent, const char *json,
                                                  mesh_gossip_error **err) {
  CHECKED(running(agent, "agent_set_metadata", err));
  CHECKED(null(json, "json", err));
  if (json[0] != '{') return fail(err, MESH_GOSSIP_ERR_ARGUMENT, "json", "is no object");
  pthread_mutex_lock(&own(agent)->turn);
  if (agent->crowd.count > 0) changed(own(agent));
  pthread_mutex_unlock(&own(agent)->turn);
  return MESH_GOSSIP_OK;
}

/* Of one peer at a time; nothing is done with it but to show it. */
mesh_gossip_result mesh_gossip_agent_report_leases(const mesh_gossip_agent *agent,
                                                   const char *node_id, const char *json,
                                                   mesh_gossip_error **err) {
  mesh_gossip_agent *mine = own(agent);
  CHECKED(running(agent, "agent_report_leases", err));
  CHECKED(null(node_id, "node_id", err));
  if (json != NULL && json[0] != '{') return fail(err, MESH_GOSSIP_ERR_ARGUMENT, "json", "is no object");
  pthread_mutex_lock(&mine->turn);
  free(mine->reported);
  mine->reported = json == NULL ? NULL : copy_text(node_id);
  pthread_mutex_unlock(&mine->turn);
  return MESH_GOSSIP_OK;
}

mesh_gossip_result mesh_gossip_agent_reload_certificates(
    const mesh_gossip_agent *agent, const uint8_t *certificate, size_t certificate_len,
    const uint8_t *key, size_t key_len, const uint8_t *ca, size_t ca_len, const char *password,
    mesh_gossip_error **err) {
  (void)key, (void)key_len, (void)ca, (void)ca_len, (void)password;
  CHECKED(running(agent, "agent_reload_certificates", err));
  CHECKED(null(certificate, "certificate", err));
  if (certificate_len > 0) return MESH_GOSSIP_OK;
  return fail(err, MESH_GOSSIP_ERR_ARGUMENT, "certificate", "is empty");
}

static mesh_gossip_result say(const mesh_gossip_agent *agent, uint32_t kind, uint16_t topic,
                              const uint8_t *data, size_t len, mesh_gossip_error **err) {
  letter *answer;
  if (len > 0) CHECKED(null(data, "data", err));
  if (len > 1024) return fail(err, MESH_GOSSIP_ERR_TOO_LARGE, "data", "is longer than 1024 bytes");
  if (agent->crowd.count < 2) return MESH_GOSSIP_OK;
  answer = letter_of(kind);
  id_of(1, answer->event.id);
  answer->event.topic = topic;
  if (len > 0) {
    answer->payload = need(len, 1);
    memcpy(answer->payload, data, len);
    answer->event.payload.data = answer->payload;
    answer->event.payload.len = len;
  }
  tell(own(agent), answer);
  return MESH_GOSSIP_OK;
}

mesh_gossip_result mesh_gossip_agent_broadcast(const mesh_gossip_agent *agent, uint16_t topic,
                                               const uint8_t *data, size_t len,
                                               mesh_gossip_error **err) {
  CHECKED(running(agent, "agent_broadcast", err));
  return say(agent, MESH_GOSSIP_EVENT_BROADCAST, topic, data, len, err);
}

mesh_gossip_result mesh_gossip_agent_broadcast_latest(const mesh_gossip_agent *agent,
                                                      uint16_t topic, uint64_t key,
                                                      const uint8_t *data, size_t len,
                                                      mesh_gossip_error **err) {
  (void)key;
  CHECKED(running(agent, "agent_broadcast_latest", err));
  return say(agent, MESH_GOSSIP_EVENT_BROADCAST, topic, data, len, err);
}

mesh_gossip_result mesh_gossip_agent_send_to(const mesh_gossip_agent *agent, const uint8_t *id,
                                             uint16_t topic, const uint8_t *data, size_t len,
                                             mesh_gossip_error **err) {
  CHECKED(running(agent, "agent_send_to", err));
  CHECKED(null(id, "id", err));
  if (index_of(&agent->crowd, id) == agent->crowd.count) {
    return fail(err, MESH_GOSSIP_ERR_NOT_FOUND, "id", "no such member");
  }
  return say(agent, MESH_GOSSIP_EVENT_MESSAGE, topic, data, len, err);
}

/* Documents. */

static mesh_gossip_result hand_out(char *text, mesh_gossip_text **out) {
  *out = need(1, sizeof **out);
  (*out)->text = text;
  return MESH_GOSSIP_OK;
}

mesh_gossip_result mesh_gossip_agent_peers_json(const mesh_gossip_agent *agent, uint64_t timeout_ms,
                                                mesh_gossip_text **out, mesh_gossip_error **err) {
  static const char form[] =
      "{\"schemaVersion\":\"v1\",\"generatedAt\":\"2024-05-01T12:00:00.250+00:00\","
      "\"localNodeId\":\"%s\",\"peers\":[]}";
  size_t room;
  char *text;
  (void)timeout_ms;
  CHECKED(running(agent, "agent_peers_json", err));
  CHECKED(null(out, "out", err));
  room = sizeof form + strlen(agent->node_id);
  text = need(room, 1);
  snprintf(text, room, form, agent->node_id);
  return hand_out(text, out);
}

mesh_gossip_result mesh_gossip_agent_leaders_json(const mesh_gossip_agent *agent, const char *scope,
                                                  uint64_t timeout_ms, mesh_gossip_text **out,
                                                  mesh_gossip_error **err) {
  (void)timeout_ms;
  CHECKED(running(agent, "agent_leaders_json", err));
  CHECKED(null(out, "out", err));
  if (scope != NULL) return fail(err, MESH_GOSSIP_ERR_NOT_FOUND, "scope", "no such scope");
  return hand_out(copy_text("{\"tokens\":[]}"), out);
}

mesh_gossip_result mesh_gossip_agent_lease_health_json(const mesh_gossip_agent *agent,
                                                       uint64_t timeout_ms, mesh_gossip_text **out,
                                                       mesh_gossip_error **err) {
  static const char form[] = "{\"peers\":[{\"peerId\":\"%s\"}],\"summary\":{}}";
  size_t room;
  char *text;
  (void)timeout_ms;
  CHECKED(running(agent, "agent_lease_health_json", err));
  CHECKED(null(out, "out", err));
  pthread_mutex_lock(&own(agent)->turn);
  room = sizeof form + (agent->reported == NULL ? 0 : strlen(agent->reported));
  text = need(room, 1);
  if (agent->reported == NULL) snprintf(text, room, "{\"peers\":[],\"summary\":{}}");
  if (agent->reported != NULL) snprintf(text, room, form, agent->reported);
  pthread_mutex_unlock(&own(agent)->turn);
  return hand_out(text, out);
}

mesh_gossip_result mesh_gossip_agent_metrics_text(const mesh_gossip_agent *agent,
                                                  uint64_t timeout_ms, mesh_gossip_text **out,
                                                  mesh_gossip_error **err) {
  char text[64];
  (void)timeout_ms;
  CHECKED(running(agent, "agent_metrics_text", err));
  CHECKED(null(out, "out", err));
  snprintf(text, sizeof text, "mesh_gossip_members %zu\n", agent->crowd.count);
  return hand_out(copy_text(text), out);
}

mesh_gossip_result mesh_gossip_agent_health(const mesh_gossip_agent *agent, uint64_t timeout_ms,
                                            uint32_t *out, mesh_gossip_error **err) {
  uint32_t lifecycle;
  (void)timeout_ms;
  CHECKED(running(agent, "agent_health", err));
  CHECKED(null(out, "out", err));
  lifecycle = agent->crowd.count == 0 ? 0 : agent->crowd.people[0].lifecycle;
  *out = lifecycle < MESH_GOSSIP_LIFECYCLE_DRAINING
             ? MESH_GOSSIP_HEALTH_JOINED | MESH_GOSSIP_HEALTH_READY
             : MESH_GOSSIP_HEALTH_JOINED | MESH_GOSSIP_HEALTH_DRAINING;
  return MESH_GOSSIP_OK;
}

const uint8_t *mesh_gossip_text_data(const mesh_gossip_text *text) {
  return text == NULL ? NULL : (const uint8_t *)text->text;
}

size_t mesh_gossip_text_len(const mesh_gossip_text *text) {
  return text == NULL ? 0 : strlen(text->text);
}

void mesh_gossip_text_free(mesh_gossip_text *text) {
  if (text == NULL) return;
  free(text->text);
  free(text);
}

mesh_gossip_result mesh_gossip_agent_contacts(const mesh_gossip_agent *agent, uint64_t timeout_ms,
                                              mesh_gossip_contacts **out, mesh_gossip_error **err) {
  size_t apart = mesh_gossip_contacts_stride();
  (void)timeout_ms;
  CHECKED(running(agent, "agent_contacts", err));
  CHECKED(null(out, "out", err));
  *out = need(1, sizeof **out);
  (*out)->len = agent->crowd.count == 0 ? 0 : agent->crowd.count - 1;
  (*out)->records = need((*out)->len + 1, apart + sizeof(mesh_gossip_contact));
  for (size_t at = 0; at < (*out)->len; at++) {
    mesh_gossip_contact *contact = (void *)((*out)->records + at * apart);
    id_of(at + 1, contact->id);
    contact->last_unix_ms = unix_ms();
    /* Of every other member none was measured. */
    contact->rtt_us = at % 2 == 0 ? 250 : 0;
  }
  return MESH_GOSSIP_OK;
}

size_t mesh_gossip_contacts_len(const mesh_gossip_contacts *contacts) {
  return contacts == NULL ? 0 : contacts->len;
}

const mesh_gossip_contact *mesh_gossip_contacts_at(const mesh_gossip_contacts *contacts,
                                                   size_t index) {
  if (contacts == NULL || index >= contacts->len) return NULL;
  return (const void *)(contacts->records + index * mesh_gossip_contacts_stride());
}

void mesh_gossip_contacts_free(mesh_gossip_contacts *contacts) {
  if (contacts == NULL) return;
  free(contacts->records);
  free(contacts);
}
