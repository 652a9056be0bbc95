/* Mistakes of a host that the tools have to find, though the library is not instrumented; that of a
 * reader where it is. Arguments: settings, and which one. */
#include "check.h"
#include <pthread.h>
#include <unistd.h>

static int plain = 0;

static void wake(void *user) { *(int *)user += 1; }

static void late(const char *settings) {
  mesh_gossip_agent *agent = started(settings, NULL);
  const mesh_gossip_snapshot *view = mesh_gossip_snapshot_acquire(agent);
  const mesh_gossip_member *own = mesh_gossip_snapshot_local(view);
  mesh_gossip_agent_free(agent);
  CHECK(own->counter != 77);
  mesh_gossip_snapshot_release(view);
  /* Borrowed from what was given back. */
  CHECK(own->counter != 77);
}

static void leak(const char *settings) {
  mesh_gossip_options *options = NULL;
  WORKS(mesh_gossip_options_from_file(settings, &options, NULL));
  options = NULL;
}

/* Has the agent wake its host again and again, while another thread asks for nothing. */
static void *wakes(void *user) {
  mesh_gossip_agent *agent = (mesh_gossip_agent *)user;
  uint32_t turn;
  for (turn = 0; turn < 50; turn++) {
    mesh_gossip_events *events = NULL;
    WORKS(mesh_gossip_agent_take_events(agent, 100, &events, NULL));
    mesh_gossip_events_free(events);
    WORKS(mesh_gossip_agent_set_lifecycle(agent, turn % 2, NULL));
    usleep(5000);
  }
  return NULL;
}

static void race(const char *settings) {
  mesh_gossip_start_options start;
  mesh_gossip_agent *agent;
  pthread_t thread;
  int turn;
  /* Else an event may come seconds later. */
  CHECK(setenv("MESH__GOSSIP__EVENTS__DELIVERY", "immediate", 1) == 0);
  WORKS(mesh_gossip_start_options_init(&start, sizeof start));
  start.wake = wake;
  start.wake_user = &plain;
  agent = started(settings, &start);
  CHECK(pthread_create(&thread, NULL, wakes, agent) == 0);
  /* Nothing orders a wake and this. */
  for (turn = 0; turn < 500; turn++) {
    plain += 1;
    usleep(1000);
  }
  CHECK(pthread_join(thread, NULL) == 0);
  mesh_gossip_agent_free(agent);
}

static void *read_it(void *view) {
  CHECK(mesh_gossip_snapshot_count((const mesh_gossip_snapshot *)view, MESH_GOSSIP_STATUS_ALIVE) == 1);
  /* A tool forgets what threads did that have ended. */
  usleep(1000000);
  return NULL;
}

/* A view is given back, and nothing says that who reads it is done. The read is the library's. */
static void reader(const char *settings) {
  mesh_gossip_agent *agent = started(settings, NULL);
  const mesh_gossip_snapshot *view = mesh_gossip_snapshot_acquire(agent);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, read_it, (void *)view) == 0);
  /* Nobody else holds it any more. */
  WORKS(mesh_gossip_agent_set_label(agent, "a", "b", NULL));
  mesh_gossip_snapshot_release(mesh_gossip_snapshot_acquire(agent));
  usleep(200000);
  mesh_gossip_snapshot_release(view);
  CHECK(pthread_join(thread, NULL) == 0);
  mesh_gossip_agent_free(agent);
}

int main(int argc, char **argv) {
  CHECK(argc == 3);
  if (strcmp(argv[2], "late") == 0) late(argv[1]);
  if (strcmp(argv[2], "leak") == 0) leak(argv[1]);
  if (strcmp(argv[2], "race") == 0) race(argv[1]);
  if (strcmp(argv[2], "reader") == 0) reader(argv[1]);
  puts("all is well");
  return 0;
}
