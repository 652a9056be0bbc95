/* The events of an agent in an epoll loop, beside whatever else the program waits for: here its
 * standard input, whose end is the end. Argument: settings. */
#include <mesh_gossip.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

static const char *const kinds[] = {
    "none",     "joined",         "recovered",    "suspected",        "unreachable",
    "left",     "updated",        "forgotten",    "leader changed",   "refuted",
    "conflict", "alarm",          "record rejected", "join complete", "leave complete",
    "overflow", "broadcast",      "message",      "missed",           "ended"};

static void walk(const mesh_gossip_agent *agent) {
  const mesh_gossip_snapshot *view = mesh_gossip_snapshot_acquire(agent);
  size_t chunk, index;
  for (chunk = 0; chunk < mesh_gossip_snapshot_chunk_count(view); chunk++) {
    const mesh_gossip_member *member;
    size_t len, stride;
    if (mesh_gossip_snapshot_chunk(view, chunk, &member, &len, &stride)) break;
    for (index = 0; index < len; index++) {
      printf("member %.*s at %.*s\n", (int)member->node_id.len, (const char *)member->node_id.data,
             (int)member->endpoint.len, (const char *)member->endpoint.data);
      /* Records of a later library are longer than ours. */
      member = (const mesh_gossip_member *)(const void *)((const char *)member + stride);
    }
  }
  mesh_gossip_snapshot_release(view);
}

static void take(const mesh_gossip_agent *agent) {
  mesh_gossip_events *events = NULL;
  size_t index;
  if (mesh_gossip_agent_take_events(agent, 64, &events, NULL)) return;
  for (index = 0; index < mesh_gossip_events_len(events); index++) {
    const mesh_gossip_event *event = mesh_gossip_events_at(events, index);
    printf("event %s\n", event->kind < sizeof kinds / sizeof *kinds ? kinds[event->kind] : "new");
    if (event->kind == MESH_GOSSIP_EVENT_OVERFLOW) walk(agent);
  }
  mesh_gossip_events_free(events);
  fflush(stdout);
}

static void watch(int loop, int descriptor) {
  struct epoll_event wanted = {0};
  wanted.events = EPOLLIN;
  wanted.data.fd = descriptor;
  if (epoll_ctl(loop, EPOLL_CTL_ADD, descriptor, &wanted)) {
    perror("epoll_ctl");
    exit(1);
  }
}

int main(int argc, char **argv) {
  mesh_gossip_error *err = NULL;
  mesh_gossip_options *options = NULL;
  mesh_gossip_agent *agent = NULL;
  int loop = epoll_create1(EPOLL_CLOEXEC), open = 1;
  if (loop < 0 || mesh_gossip_check_abi() ||
      mesh_gossip_options_from_file(argc > 1 ? argv[1] : "mesh.json", &options, &err) ||
      mesh_gossip_agent_start(options, &agent, &err)) {
    fprintf(stderr, "%s\n", mesh_gossip_error_message(err));
    return 1;
  }
  mesh_gossip_options_free(options);
  walk(agent);
  fflush(stdout);
  watch(loop, mesh_gossip_agent_events_fd(agent));
  watch(loop, STDIN_FILENO);
  while (open) {
    struct epoll_event ready[8];
    int index, count = epoll_wait(loop, ready, 8, -1);
    for (index = 0; index < count; index++) {
      if (ready[index].data.fd == STDIN_FILENO) {
        char line[256];
        ssize_t len = read(STDIN_FILENO, line, sizeof line);
        if (len > 0) {
          mesh_gossip_agent_broadcast(agent, 1, (const uint8_t *)line, (size_t)len, NULL);
        } else {
          open = 0;
        }
      } else {
        take(agent);
      }
    }
  }
  mesh_gossip_agent_leave(agent, 5000, NULL);
  mesh_gossip_agent_stop(agent, NULL);
  take(agent);
  mesh_gossip_agent_free(agent);
  close(loop);
  return 0;
}
