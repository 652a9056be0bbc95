/* What a look at the members costs. Arguments: settings, slices. Prints medians of slices: a pair of
 * acquire and release, a walk over all members of a view, and a memcpy of their records as a measure of the
 * machine. */
#define _GNU_SOURCE
#include <mesh_gossip.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAIRS 100000
#define WALKS 200
#define MOST_SLICES 1001

static double now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int ascending(const void *a, const void *b) {
  double first = *(const double *)a, second = *(const double *)b;
  return (first > second) - (first < second);
}

static double median(double *slices, size_t count) {
  qsort(slices, count, sizeof *slices, ascending);
  return slices[count / 2];
}

static void pairs(const mesh_gossip_agent *agent) {
  int pair;
  for (pair = 0; pair < PAIRS; pair++) {
    mesh_gossip_snapshot_release(mesh_gossip_snapshot_acquire(agent));
  }
}

typedef struct {
  size_t members, alive, text;
} seen;

/* Chunks, and what a host decides by of each member. */
static seen walk(const mesh_gossip_snapshot *view) {
  size_t chunks = mesh_gossip_snapshot_chunk_count(view), chunk, index;
  seen all = {0, 0, 0};
  for (chunk = 0; chunk < chunks; chunk++) {
    const mesh_gossip_member *member;
    size_t len, stride;
    mesh_gossip_snapshot_chunk(view, chunk, &member, &len, &stride);
    for (index = 0; index < len; index++) {
      all.alive += member->status == MESH_GOSSIP_STATUS_ALIVE;
      all.text += member->node_id.len;
      member = (const mesh_gossip_member *)(const void *)((const char *)member + stride);
    }
    all.members += len;
  }
  return all;
}

static size_t copy(const mesh_gossip_snapshot *view, char *into) {
  size_t chunks = mesh_gossip_snapshot_chunk_count(view), chunk, size = 0;
  for (chunk = 0; chunk < chunks; chunk++) {
    const mesh_gossip_member *member;
    size_t len, stride;
    mesh_gossip_snapshot_chunk(view, chunk, &member, &len, &stride);
    memcpy(into + size, member, len * stride);
    size += len * stride;
  }
  return size;
}

int main(int argc, char **argv) {
  static double pair_ns[MOST_SLICES], walk_ns[MOST_SLICES], copy_ns[MOST_SLICES];
  mesh_gossip_error *err = NULL;
  mesh_gossip_options *options = NULL;
  mesh_gossip_agent *agent = NULL;
  const mesh_gossip_snapshot *view;
  seen all = {0, 0, 0};
  size_t slices = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : 101, slice, size = 0, sum = 0;
  char *into;
  double pair, walked, copied;
  if (argc < 2 || slices == 0 || slices > MOST_SLICES ||
      mesh_gossip_options_from_file(argv[1], &options, &err) ||
      mesh_gossip_agent_start(options, &agent, &err)) {
    fprintf(stderr, "%s\n", mesh_gossip_error_message(err));
    return 1;
  }
  mesh_gossip_options_free(options);
  view = mesh_gossip_snapshot_acquire(agent);
  into = (char *)malloc(mesh_gossip_snapshot_len(view) * mesh_gossip_members_stride());
  if (into == NULL) return 1;
  /* In turn, so that a busy moment of the machine meets all three. */
  for (slice = 0; slice < slices; slice++) {
    double start = now_ns();
    int turn;
    pairs(agent);
    pair_ns[slice] = (now_ns() - start) / PAIRS;
    start = now_ns();
    for (turn = 0; turn < WALKS; turn++) {
      all = walk(view);
      sum += all.text;
    }
    walk_ns[slice] = (now_ns() - start) / WALKS;
    start = now_ns();
    for (turn = 0; turn < WALKS; turn++) {
      size = copy(view, into);
      sum += (size_t)(unsigned char)into[size / 2];
    }
    copy_ns[slice] = (now_ns() - start) / WALKS;
  }
  mesh_gossip_snapshot_release(view);
  mesh_gossip_agent_free(agent);
  free(into);
  pair = median(pair_ns, slices);
  walked = median(walk_ns, slices);
  copied = median(copy_ns, slices);
  printf("%zu members, %zu alive, %zu bytes of records\n", all.members, all.alive, size);
  printf("acquire + release %.1f ns, %.4f of a memcpy of the records\n", pair, pair / copied);
  printf("walk %.0f ns, %.3f of a memcpy of the records (%.0f ns)\n", walked, walked / copied, copied);
  return sum == 0;
}
