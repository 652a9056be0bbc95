/* What the programs of this directory that build a mesh share. */
#ifndef MESH_H
#define MESH_H

#include "check.h"
#include <time.h>
#include <unistd.h>

/* Whoever waits gives up after so long. */
#define PATIENCE_MS 60000

static inline uint64_t now_ms(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static inline void pause_ms(long ms) {
  struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
  nanosleep(&pause, NULL);
}

static inline int is(mesh_gossip_bytes bytes, const char *text) {
  return bytes.len == strlen(text) && memcmp(bytes.data, text, bytes.len) == 0;
}

/* An agent of DIRECTORY/NODE.json on loopback that may ask `seed`; `more` are keys and values up to
 * a NULL. */
static inline mesh_gossip_agent *start(const char *directory, const char *node, const char *seed,
                                       size_t capacity, const char *const *more) {
  char file[4096];
  mesh_gossip_error *err = NULL;
  mesh_gossip_options *options = NULL;
  mesh_gossip_start_options with;
  mesh_gossip_agent *agent = NULL;
  const char *const always[] = {"bindAddress", "127.0.0.1", "advertiseHost", "127.0.0.1",
                                "port",        "0",         "control:port",  "0",         NULL};
  const char *const seeds[] = {"seedPeers", seed, NULL};
  const char *const *lists[] = {always, seed == NULL ? NULL : seeds, more};
  size_t list;
  snprintf(file, sizeof file, "%s/%s.json", directory, node);
  CHECK(mesh_gossip_options_from_file(file, &options, &err) == MESH_GOSSIP_OK);
  for (list = 0; list < 3; list++) {
    const char *const *pair = lists[list];
    for (; pair != NULL && *pair != NULL; pair += 2) {
      if (mesh_gossip_options_set(options, pair[0], pair[1], &err) != MESH_GOSSIP_OK) {
        fprintf(stderr, "%s\n", mesh_gossip_error_message(err));
        exit(1);
      }
    }
  }
  CHECK(mesh_gossip_start_options_init(&with, sizeof with) == MESH_GOSSIP_OK);
  with.events_capacity = capacity;
  if (mesh_gossip_agent_start_with(options, &with, &agent, &err) != MESH_GOSSIP_OK) {
    fprintf(stderr, "%s: %s\n", node, mesh_gossip_error_message(err));
    exit(1);
  }
  mesh_gossip_options_free(options);
  return agent;
}

/* Copies the record of a name out of the newest view, with the value of one label; 0 where the name
 * is not listed. */
static inline int look(const mesh_gossip_agent *agent, const char *node, mesh_gossip_member *to,
                       const char *label, char *value, size_t room) {
  const mesh_gossip_snapshot *view = mesh_gossip_snapshot_acquire(agent);
  size_t chunk, at, index, len, stride;
  int found = 0;
  CHECK(view != NULL);
  if (value != NULL) value[0] = '\0';
  for (chunk = 0; chunk < mesh_gossip_snapshot_chunk_count(view); chunk++) {
    const mesh_gossip_member *first;
    CHECK(mesh_gossip_snapshot_chunk(view, chunk, &first, &len, &stride) == MESH_GOSSIP_OK);
    for (at = 0; at < len; at++) {
      const mesh_gossip_member *member =
          (const mesh_gossip_member *)(const void *)((const char *)first + at * stride);
      if (!is(member->node_id, node)) continue;
      *to = *member;
      found = 1;
      for (index = 0; label != NULL && index < member->labels_len; index++) {
        const mesh_gossip_label *own =
            (const mesh_gossip_label *)(const void *)((const char *)member->labels +
                                                      index * mesh_gossip_labels_stride());
        if (is(own->key, label) && own->value.len < room) {
          memcpy(value, own->value.data, own->value.len);
          value[own->value.len] = '\0';
        }
      }
    }
  }
  mesh_gossip_snapshot_release(view);
  return found;
}

static inline int sees(const mesh_gossip_agent *agent, const char *node, uint32_t status) {
  mesh_gossip_member member;
  return look(agent, node, &member, NULL, NULL, 0) && member.status == status;
}

#define UNTIL(holds)                                                   \
  do {                                                                 \
    uint64_t begun_ = now_ms(CLOCK_MONOTONIC);                         \
    while (!(holds)) {                                                 \
      if (now_ms(CLOCK_MONOTONIC) - begun_ > PATIENCE_MS) CHECK(holds); \
      pause_ms(5);                                                     \
    }                                                                  \
  } while (0)

#endif
