/* Does with the C ABI what the lines of its input say; the driver describes them. */
#include <mesh_gossip.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST 64

static const char *const codes[] = {
    "OK",      "ABI",  "ARGUMENT",  "UTF8",    "TOO_LARGE", "CONFIG",    "CREDENTIALS",
    "IO",      "STOPPED", "TIMEOUT", "BUSY",   "NOT_FOUND", "REFUSED",   "REENTRANT",
    "FORKED",  "PANIC", "POISONED", "STRUCT_SIZE", "DISABLED",
};
static const char *const statuses[] = {"unknown", "alive", "suspect", "failed", "left"};
static const char *const lifecycles[] = {"active", "cordoned", "draining", "drained", "leaving"};
static const char *const reasons[] = {"unknown", "left", "failed", "revoked"};
static const char *const kinds[] = {
    "unknown", "joined",    "recovered", "suspected", "unreachable", "left", "updated", "forgotten",
    "leader-changed", "refuted", "conflict", "alarm", "record-rejected", "join-complete",
    "leave-complete", "overflow", "broadcast", "message", "missed", "ended",
};

/* Things by name: options, agents and snapshots. */
static struct thing {
  char kind, name[32];
  void *held;
} things[MOST];

static void **held(char kind, const char *name) {
  for (size_t at = 0; at < MOST; at++) {
    struct thing *thing = &things[at];
    if (thing->kind == kind && strcmp(thing->name, name) == 0) return &thing->held;
    if (thing->kind != 0) continue;
    thing->kind = kind;
    snprintf(thing->name, sizeof thing->name, "%s", name);
    return &thing->held;
  }
  abort();
}

static mesh_gossip_agent *agent_of(const char *name) { return *held('a', name); }

static void answer(const char *form, ...) {
  va_list values;
  va_start(values, form);
  vprintf(form, values);
  va_end(values);
  putchar('\n');
}

/* Answers for a call, and frees its error; by a pointer, since the call itself writes it. */
static bool done(mesh_gossip_result code, mesh_gossip_error **error) {
  mesh_gossip_error *err = error == NULL ? NULL : *error;
  const char *field = mesh_gossip_error_field(err);
  if (code != MESH_GOSSIP_OK) answer("error\t%s\t%s", codes[code], field == NULL ? "-" : field);
  mesh_gossip_error_free(err);
  return code == MESH_GOSSIP_OK;
}

static void plain(mesh_gossip_result code, mesh_gossip_error **error) {
  if (done(code, error)) answer("ok");
}

static uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static const mesh_gossip_member *member_at(const mesh_gossip_member *first, size_t at,
                                           size_t stride) {
  return (const void *)((const char *)first + at * stride);
}

static int by_text(const void *left, const void *right) {
  return strcmp(*(char *const *)left, *(char *const *)right);
}

static char *words_of(const mesh_gossip_member *member) {
  char *words = NULL;
  size_t size;
  FILE *out = open_memstream(&words, &size);
  fprintf(out, "%.*s:%s:%s", (int)member->node_id.len, (const char *)member->node_id.data,
          statuses[member->status], lifecycles[member->lifecycle]);
  for (size_t at = 0; at < member->labels_len; at++) {
    const mesh_gossip_label *label =
        (const void *)((const char *)member->labels + at * mesh_gossip_labels_stride());
    fprintf(out, ":%.*s=%.*s", (int)label->key.len, (const char *)label->key.data,
            (int)label->value.len, (const char *)label->value.data);
  }
  fclose(out);
  return words;
}

static void members(const mesh_gossip_snapshot *view, const char *status) {
  char *words[4096];
  size_t count = 0, len, stride;
  const mesh_gossip_member *first;
  for (size_t chunk = 0; chunk < mesh_gossip_snapshot_chunk_count(view); chunk++) {
    if (mesh_gossip_snapshot_chunk(view, chunk, &first, &len, &stride) != MESH_GOSSIP_OK) abort();
    for (size_t at = 0; at < len && count < 4096; at++) {
      const mesh_gossip_member *member = member_at(first, at, stride);
      if (status == NULL || strcmp(statuses[member->status], status) == 0) {
        words[count++] = words_of(member);
      }
    }
  }
  qsort(words, count, sizeof *words, by_text);
  printf("ok");
  for (size_t at = 0; at < count; at++) {
    printf("\t%s", words[at]);
    free(words[at]);
  }
  putchar('\n');
}

/* What is told of an event, whether it is this kind, and what it counts. */
static void event_words(const mesh_gossip_event *event, char *words, size_t room) {
  const char *kind = kinds[event->kind];
  const mesh_gossip_member *member = event->member;
  if (event->kind == MESH_GOSSIP_EVENT_BROADCAST || event->kind == MESH_GOSSIP_EVENT_MESSAGE) {
    snprintf(words, room, "%s\t%u\t%.*s", kind, (unsigned)event->topic, (int)event->payload.len,
             (const char *)event->payload.data);
  } else if (event->kind == MESH_GOSSIP_EVENT_OVERFLOW ||
             event->kind == MESH_GOSSIP_EVENT_MISSED) {
    snprintf(words, room, "%s\t%llu", kind, (unsigned long long)event->count);
  } else if (member != NULL) {
    const char *more = event->kind == MESH_GOSSIP_EVENT_LEFT ? reasons[event->detail] : "";
    snprintf(words, room, "%s\t%.*s%s%s", kind, (int)member->node_id.len,
             (const char *)member->node_id.data, more[0] == '\0' ? "" : "\t", more);
  } else {
    snprintf(words, room, "%s", kind);
  }
}

/* The next event, waiting for it; false where none comes in time. */
static bool take(mesh_gossip_agent *agent, uint64_t until, mesh_gossip_event *event, char *words,
                 size_t room) {
  struct pollfd fd = {mesh_gossip_agent_events_fd(agent), POLLIN, 0};
  mesh_gossip_events *events = NULL;
  uint64_t now = now_ms();
  bool found;
  if (poll(&fd, 1, until > now ? (int)(until - now) : 0) < 1) return false;
  if (mesh_gossip_agent_take_events(agent, 1, &events, NULL) != MESH_GOSSIP_OK) return false;
  found = mesh_gossip_events_len(events) == 1;
  if (found) {
    *event = *mesh_gossip_events_at(events, 0);
    event_words(event, words, room);
  }
  mesh_gossip_events_free(events);
  return found;
}

/* await AGENT KIND MS: the first event of a kind. */
static void await_event(char **with) {
  uint64_t until = now_ms() + strtoull(with[3], NULL, 10);
  mesh_gossip_event event;
  char words[2048];
  while (take(agent_of(with[1]), until, &event, words, sizeof words)) {
    if (strcmp(kinds[event.kind], with[2]) == 0) {
      answer("ok\t%s", words);
      return;
    }
  }
  answer("error\tTIMEOUT\t-");
}

/* tally AGENT COUNT MS: broadcasts and missed ones, until there are so many. */
static void tally(char **with) {
  uint64_t until = now_ms() + strtoull(with[3], NULL, 10), wanted = strtoull(with[2], NULL, 10);
  uint64_t taken = 0, missed = 0;
  mesh_gossip_event event;
  char words[2048];
  while (taken + missed < wanted && take(agent_of(with[1]), until, &event, words, sizeof words)) {
    taken += event.kind == MESH_GOSSIP_EVENT_BROADCAST;
    missed += event.kind == MESH_GOSSIP_EVENT_MISSED ? event.count : 0;
  }
  answer("ok\t%llu\t%s", (unsigned long long)(taken + missed), missed > 0 ? "marked" : "whole");
}

static void forked(mesh_gossip_agent *agent) {
  pid_t child;
  int status;
  fflush(stdout);
  child = fork();
  if (child == 0) {
    mesh_gossip_error *err = NULL;
    plain(mesh_gossip_agent_set_label(agent, "a", "b", &err), &err);
    fflush(stdout);
    _exit(0);
  }
  waitpid(child, &status, 0);
}

static void with_options(char **with) {
  mesh_gossip_error *err = NULL;
  mesh_gossip_options **options = (mesh_gossip_options **)held('o', with[1]);
  bool is_file = strcmp(with[2], "file") == 0;
  mesh_gossip_options_free(*options);
  *options = NULL;
  plain(is_file ? mesh_gossip_options_from_file(with[3], options, &err)
                : mesh_gossip_options_from_json(with[3], options, &err),
        &err);
}

static void start(char **with) {
  mesh_gossip_error *err = NULL;
  mesh_gossip_start_options start;
  mesh_gossip_start_options_init(&start, sizeof start);
  start.events_capacity = strtoull(with[3], NULL, 10);
  plain(mesh_gossip_agent_start_with(*held('o', with[2]), &start,
                                     (mesh_gossip_agent **)held('a', with[1]), &err),
        &err);
}

/* A string within a JSON text: enough for one whose keys are known. */
static void local_node(const mesh_gossip_text *text) {
  const char *key = "\"localNodeId\":\"";
  char *copy = strndup((const char *)mesh_gossip_text_data(text), mesh_gossip_text_len(text));
  char *found = strstr(copy, key);
  if (found == NULL) abort();
  found += strlen(key);
  found[strcspn(found, "\"")] = '\0';
  answer("ok\t%s", found);
  free(copy);
}

static void documents(char **with, mesh_gossip_agent *agent) {
  mesh_gossip_error *err = NULL;
  mesh_gossip_text *text = NULL;
  uint32_t health = 0;
  if (strcmp(with[0], "peers") == 0) {
    if (done(mesh_gossip_agent_peers_json(agent, 5000, &text, &err), &err)) local_node(text);
  } else if (strcmp(with[0], "leaders") == 0) {
    plain(mesh_gossip_agent_leaders_json(agent, with[2], 5000, &text, &err), &err);
  } else if (strcmp(with[0], "health") == 0) {
    if (!done(mesh_gossip_agent_health(agent, 5000, &health, &err), &err)) return;
    answer("ok\t%s\t%s", health & MESH_GOSSIP_HEALTH_READY ? "ready" : "not ready",
           health & MESH_GOSSIP_HEALTH_DRAINING ? "draining" : "not draining");
  } else {
    mesh_gossip_contacts *contacts = NULL;
    if (!done(mesh_gossip_agent_contacts(agent, 5000, &contacts, &err), &err)) return;
    answer("ok\t%zu", mesh_gossip_contacts_len(contacts));
    mesh_gossip_contacts_free(contacts);
  }
  mesh_gossip_text_free(text);
}

static void say(char **with, mesh_gossip_agent *agent) {
  mesh_gossip_error *err = NULL;
  uint8_t nobody[16] = {0};
  const uint8_t *said = (const uint8_t *)with[3];
  uint16_t topic = (uint16_t)strtoul(with[2], NULL, 10);
  if (strcmp(with[0], "latest") == 0) {
    uint64_t key = strtoull(with[3], NULL, 10);
    said = (const uint8_t *)with[4];
    plain(mesh_gossip_agent_broadcast_latest(agent, topic, key, said, strlen(with[4]), &err), &err);
  } else if (strcmp(with[0], "broadcast") == 0) {
    plain(mesh_gossip_agent_broadcast(agent, topic, said, strlen(with[3]), &err), &err);
  } else {
    plain(mesh_gossip_agent_send_to(agent, nobody, topic, said, strlen(with[3]), &err), &err);
  }
}

static void look(char **with, mesh_gossip_agent *agent) {
  mesh_gossip_error *err = NULL;
  if (strcmp(with[0], "snapshot") == 0) {
    const mesh_gossip_snapshot **view = (const mesh_gossip_snapshot **)held('s', with[2]);
    mesh_gossip_snapshot_release(*view);
    *view = NULL;
    plain(mesh_gossip_snapshot_try_acquire(agent, view, &err), &err);
  } else {
    const mesh_gossip_snapshot *view = NULL;
    if (!done(mesh_gossip_snapshot_try_acquire(agent, &view, &err), &err)) return;
    members(view, with[2]);
    mesh_gossip_snapshot_release(view);
  }
}

static void certificates(char **with, mesh_gossip_agent *agent) {
  static uint8_t contents[3][65536];
  size_t lengths[3];
  mesh_gossip_error *err = NULL;
  for (size_t at = 0; at < 3; at++) {
    FILE *file = fopen(with[2 + at], "rb");
    if (file == NULL) abort();
    lengths[at] = fread(contents[at], 1, sizeof contents[at], file);
    fclose(file);
  }
  plain(mesh_gossip_agent_reload_certificates(agent, contents[0], lengths[0], contents[1],
                                              lengths[1], contents[2], lengths[2], NULL, &err),
        &err);
}

static void command(char **with, mesh_gossip_agent *agent) {
  const char *what = with[0];
  mesh_gossip_error *err = NULL;
  if (strcmp(what, "label") == 0) {
    plain(mesh_gossip_agent_set_label(agent, with[2], with[3], &err), &err);
  } else if (strcmp(what, "lifecycle") == 0) {
    uint32_t number = 0;
    while (strcmp(lifecycles[number], with[2]) != 0) number++;
    plain(mesh_gossip_agent_set_lifecycle(agent, number, &err), &err);
  } else if (strcmp(what, "metadata") == 0) {
    char json[512];
    snprintf(json, sizeof json, "{\"region\":\"%s\",\"labels\":{\"%s\":\"%s\"}}", with[2], with[3],
             with[4]);
    plain(mesh_gossip_agent_set_metadata(agent, json, &err), &err);
  } else if (strcmp(what, "certificates") == 0) {
    certificates(with, agent);
  } else if (strcmp(what, "reload") == 0) {
    plain(mesh_gossip_agent_reload(agent, &err), &err);
  } else if (strcmp(what, "leave") == 0) {
    plain(mesh_gossip_agent_leave(agent, 5000, &err), &err);
  } else if (strcmp(what, "stop") == 0) {
    plain(mesh_gossip_agent_stop(agent, &err), &err);
  } else if (strcmp(what, "fork") == 0) {
    forked(agent);
  } else if (strcmp(what, "address") == 0) {
    answer("ok\t%s", mesh_gossip_agent_address(agent));
  } else if (strcmp(what, "node") == 0) {
    answer("ok\t%s", mesh_gossip_agent_node_id(agent));
  } else if (strcmp(what, "await") == 0) {
    await_event(with);
  } else if (strcmp(what, "tally") == 0) {
    tally(with);
  } else if (strcmp(what, "snapshot") == 0 || strcmp(what, "view") == 0) {
    look(with, agent);
  } else if (strcmp(what, "broadcast") == 0 || strcmp(what, "latest") == 0 ||
             strcmp(what, "send") == 0) {
    say(with, agent);
  } else {
    documents(with, agent);
  }
}

static void act(char **with) {
  mesh_gossip_error *err = NULL;
  if (strcmp(with[0], "load") == 0) {
    plain(mesh_gossip_check_abi(), NULL);
  } else if (strcmp(with[0], "options") == 0) {
    with_options(with);
  } else if (strcmp(with[0], "set") == 0) {
    plain(mesh_gossip_options_set(*held('o', with[1]), with[2], with[3], &err), &err);
  } else if (strcmp(with[0], "start") == 0) {
    start(with);
  } else if (strcmp(with[0], "close") == 0) {
    /* NULL again, so that a second time is a free of NULL. */
    mesh_gossip_result code = mesh_gossip_agent_free(agent_of(with[1]));
    *held('a', with[1]) = NULL;
    plain(code, NULL);
  } else if (strcmp(with[0], "members") == 0) {
    members(*held('s', with[1]), NULL);
  } else {
    command(with, agent_of(with[1]));
  }
}

/* Half of a surrogate pair in the place of its mark: three bytes that are no UTF-8. */
static void spoil(char *text) {
  char *mark;
  while ((mark = strstr(text, "<half>")) != NULL) {
    memcpy(mark, "\xed\xa0\x80", 3);
    memmove(mark + 3, mark + 6, strlen(mark + 6) + 1);
  }
}

int main(void) {
  char *line = NULL;
  size_t room = 0;
  while (getline(&line, &room, stdin) > 0) {
    char *with[7] = {NULL}, *rest = line;
    line[strcspn(line, "\n")] = '\0';
    spoil(line);
    for (size_t at = 0; at < 6 && rest != NULL; at++) with[at] = strsep(&rest, "\t");
    act(with);
    fflush(stdout);
  }
  free(line);
  return 0;
}
